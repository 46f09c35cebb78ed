package example.tokenauthority;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;

import com.google.protobuf.util.Durations;
import io.grpc.Status;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import org.junit.jupiter.api.Test;
import tokenauthority.v1.Token;
import tokenauthority.v1.ValidateRequest;
import tokenauthority.v1.ValidateResponse;
import tokenauthority.v1.Verdict;

/** What needs no server: keys, addresses, the bounds of the cache, and events that overtake answers. */
class PartsTest {
  private static final long SECOND = 1_000_000_000L;
  private static final ByteBuffer ONE = ByteBuffer.wrap(new byte[] {1});
  private static final ByteBuffer TWO = ByteBuffer.wrap(new byte[] {2});

  private long now;
  private final AnswerCache cache = new AnswerCache(2, () -> now);

  private static ValidateResponse.Builder answer(String tokenId) {
    return ValidateResponse.newBuilder()
        .setValid(true)
        .setVerdict(Verdict.VERDICT_VALID)
        .setToken(Token.newBuilder().setTokenId(tokenId))
        .setCacheTtl(Durations.fromSeconds(10));
  }

  private void keep(ByteBuffer key, ValidateResponse.Builder answer) {
    cache.keep(key, answer.build(), cache.asking());
  }

  @Test
  void theCacheIsBoundedAndForgetsWhatWasNotAskedForLongest() {
    keep(ONE, answer("a"));
    keep(TWO, answer("b"));
    assertNotNull(cache.get(ONE));
    keep(ByteBuffer.wrap(new byte[] {3}), answer("c"));
    assertEquals(2, cache.size());
    assertNull(cache.get(TWO));
  }

  @Test
  void noAnswerIsRepeatedOnceItsTimeIsOver() {
    AnswerCache.Asked asked = cache.asking();
    now = 9 * SECOND;
    cache.keep(ONE, answer("a").build(), asked);
    now = 10 * SECOND - 1;
    assertNotNull(cache.get(ONE));
    now = 10 * SECOND;
    assertNull(cache.get(ONE));
  }

  @Test
  void anAnswerWithoutATtlOrThatRefusesIsNotKept() {
    keep(ONE, answer("a").clearCacheTtl());
    keep(TWO, answer("a").setValid(false).setVerdict(Verdict.VERDICT_REVOKED));
    assertEquals(0, cache.size());
  }

  @Test
  void anAnswerThatAnEventOvertookIsNotKept() {
    AnswerCache.Asked asked = cache.asking();
    cache.drop("a");
    cache.keep(ONE, answer("a").build(), asked);
    assertNull(cache.get(ONE));
  }

  @Test
  void anEventDropsAllAnswersAboutItsTokenAndNoOther() {
    keep(ONE, answer("a"));
    keep(TWO, answer("b"));
    cache.drop("a");
    assertNull(cache.get(ONE));
    assertNotNull(cache.get(TWO));
  }

  @Test
  void whateverIsJudgedMakesAnotherKey() {
    var asked = ValidateRequest.newBuilder().setSecret("s").setNamespace("n").setPath("p").build();
    Set<ByteBuffer> keys = new HashSet<>();
    List<ValidateRequest> questions =
        List.of(
            asked,
            asked.toBuilder().setSecret("other").build(),
            asked.toBuilder().setSecret("").setNamespace("sn").build(),
            asked.toBuilder().setOwner("other").build(),
            asked.toBuilder().setMethod("other").build(),
            asked.toBuilder().setPath("other").build(),
            asked.toBuilder().setClientIp("other").build(),
            asked.toBuilder().addRequiredScopes("x").build(),
            asked.toBuilder().addRequiredScopes("x").addRequiredScopes("y").build(),
            asked.toBuilder().addRequiredScopes("xy").build());
    questions.forEach(question -> keys.add(Question.keyOf(question)));
    assertEquals(questions.size(), keys.size());
  }

  @Test
  void anAddressIsReadWithoutItsScopeAndIsEmptyForWhatHasNone() throws Exception {
    assertEquals("192.0.2.1", Question.clientIp(new InetSocketAddress("192.0.2.1", 80)));
    InetAddress scoped = java.net.Inet6Address.getByAddress(null, new byte[] {(byte) 0xfe, (byte) 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 1);
    assertEquals("fe80:0:0:0:0:0:0:1", Question.clientIp(new InetSocketAddress(scoped, 80)));
    assertEquals("", Question.clientIp(null));
  }

  @Test
  void aVerdictThatIsYetToComeRefuses() {
    ValidateResponse odd = ValidateResponse.newBuilder().setValid(true).setVerdictValue(99).build();
    Refusal refusal = assertThrows(Refusal.class, () -> Refusal.unless(odd));
    assertEquals(Status.Code.PERMISSION_DENIED, refusal.status().getCode());
  }

  @Test
  void aLimitThatNoUseWillEverPassEndsTheAttempts() {
    var never = ValidateResponse.newBuilder().setVerdict(Verdict.VERDICT_RATE_LIMITED).build();
    Refusal refusal = assertThrows(Refusal.class, () -> Refusal.unless(never));
    assertEquals("-1", refusal.trailers().get(Refusal.PUSHBACK));
  }
}
