package example.tokenauthority;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.google.protobuf.util.Durations;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.function.BooleanSupplier;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.extension.ExtendWith;
import org.junit.jupiter.api.function.Executable;
import tokenauthority.v1.AcquireRequest;
import tokenauthority.v1.CreateRequest;
import tokenauthority.v1.CreateResponse;
import tokenauthority.v1.RateLimit;
import tokenauthority.v1.ReleaseRequest;

/** The scenarios that every client passes against the real authority. */
@ExtendWith(Told.class)
class ScenariosTest {
  private static final long MILLIS_MAX = 20_000;

  /** A small part of how long the answer could have been repeated. */
  private static final long WATCH_MILLIS_MAX = 10_000;

  private static final String UNAVAILABLE = "UNAVAILABLE AUTHORITY_UNAVAILABLE";

  private Authority authority;

  @BeforeEach
  void begin() throws Exception {
    authority = new Authority();
  }

  @AfterEach
  void end() throws Exception {
    authority.close();
  }

  private Shop guarded(Policy policy) throws Exception {
    return new Shop(authority.address, authority.credential, policy);
  }

  @Test
  void valid() throws Exception {
    Policy policy = Policy.DEFAULT.withScopes(Map.of(Shop.GET, Set.of("orders:read"), Shop.TAIL, Set.<String>of())::get);
    try (Shop shop = guarded(policy)) {
      CreateResponse made =
          authority.create(
              CreateRequest.newBuilder()
                  .addScopes("orders:*")
                  .addAllowedCidrs("127.0.0.1")
                  .addAllowedEndpoints("POST /shop.Orders/*"));
      String who = id(made);
      assertEquals(who, shop.get(made.getSecret()));
      assertEquals(List.of(who, who), shop.tail(made.getSecret()));
      assertEquals(who, shop.get(Shop.headers("x-api-key", made.getSecret()), MILLIS_MAX));
      Metadata two = Shop.headers("x-api-key", made.getSecret(), "authorization", "bearer x");
      for (Metadata nothing : List.of(new Metadata(), Shop.headers("authorization", "Basic eDp5"), two)) {
        assertEquals("UNAUTHENTICATED ERROR_REASON_CREDENTIAL_INVALID", refused(() -> shop.get(nothing, MILLIS_MAX)));
      }
      for (String malformed : List.of("nonsense", "x".repeat(513))) {
        assertEquals("UNAUTHENTICATED VERDICT_MALFORMED", refused(() -> shop.get(malformed)));
        assertEquals("UNAUTHENTICATED VERDICT_MALFORMED", refused(() -> shop.tail(malformed)));
      }
      CreateResponse elsewhere =
          authority.create(CreateRequest.newBuilder().addScopes("orders:*").addAllowedCidrs("192.0.2.0/24"));
      assertEquals("PERMISSION_DENIED VERDICT_ADDRESS_DENIED", refused(() -> shop.get(elsewhere.getSecret())));
      assertEquals(3, shop.runs.get());
    }
    try (Shop open = guarded(Policy.DEFAULT.withUnguarded(Set.of(Shop.GET)))) {
      assertEquals("nobody", open.get(new Metadata(), MILLIS_MAX));
    }
  }

  @Test
  void revoked() throws Exception {
    try (Shop shop = guarded(Policy.DEFAULT)) {
      CreateResponse made = authority.create(CreateRequest.newBuilder());
      assertEquals(id(made), shop.get(made.getSecret()));
      authority.revoke(made);
      assertEquals("UNAUTHENTICATED VERDICT_REVOKED", refused(() -> shop.get(made.getSecret())));
      assertEquals(1, shop.runs.get());
    }
  }

  @Test
  void scope_denied() throws Exception {
    try (Shop shop = guarded(Policy.DEFAULT.withScopes(Map.of(Shop.GET, Set.of("orders:write"))::get))) {
      CreateResponse made = authority.create(CreateRequest.newBuilder().addScopes("orders:read"));
      assertEquals("PERMISSION_DENIED VERDICT_SCOPE_DENIED", refused(() -> shop.get(made.getSecret())));
      // What the policy does not list, it gives to nobody.
      assertEquals("PERMISSION_DENIED VERDICT_SCOPE_DENIED", refused(() -> shop.tail(made.getSecret())));
      assertEquals(0, shop.runs.get());
    }
  }

  @Test
  void rate_limited() throws Exception {
    try (Shop shop = guarded(Policy.DEFAULT)) {
      RateLimit once = RateLimit.newBuilder().setRequests(1).build();
      CreateResponse made = authority.create(CreateRequest.newBuilder().addRateLimits(once));
      assertEquals(id(made), shop.get(made.getSecret()));
      StatusRuntimeException error =
          assertThrows(StatusRuntimeException.class, () -> shop.get(made.getSecret()));
      assertEquals("RESOURCE_EXHAUSTED VERDICT_RATE_LIMITED", told(error));
      var retry = Refusal.detail(StatusProto.fromThrowable(error), RetryInfo.class).orElseThrow();
      double hint = Durations.toNanos(retry.getRetryDelay()) / 1e9;
      assertTrue(50 < hint && hint <= 60, () -> "retry after " + hint);
      double pushback = Double.parseDouble(error.getTrailers().get(Refusal.PUSHBACK));
      assertEquals(hint * 1000, pushback, 1);
    }
  }

  @Test
  void authority_down() throws Exception {
    try (Shop shop = guarded(Policy.DEFAULT)) {
      CreateResponse made = authority.create(CreateRequest.newBuilder());
      assertEquals(id(made), shop.get(made.getSecret()));
      authority.stop();
      assertEquals(UNAVAILABLE, refused(() -> shop.get(made.getSecret())));
      assertEquals(1, shop.runs.get());
    }
    // Nor does a guard pass on that its own credential is refused.
    try (Authority other = new Authority();
        Shop shop = new Shop(other.address, "not-a-credential", Policy.DEFAULT)) {
      CreateResponse made = other.create(CreateRequest.newBuilder());
      assertEquals(UNAVAILABLE, refused(() -> shop.get(made.getSecret())));
      assertEquals(0, shop.runs.get());
    }
  }

  @Test
  void cached() throws Exception {
    try (Shop shop = guarded(Policy.DEFAULT.withNamespace("brief"))) {
      CreateResponse made = authority.create(CreateRequest.newBuilder().setNamespace("brief"));
      CreateResponse fresh = authority.create(CreateRequest.newBuilder().setNamespace("brief"));
      long over = untilCached(shop, made) + TimeUnit.SECONDS.toNanos(Authority.BRIEF_SECONDS);
      authority.stop();
      assertEquals(id(made), shop.get(made.getSecret()));
      // Neither another's secret nor another method is the same question.
      assertEquals(UNAVAILABLE, refused(() -> shop.get(fresh.getSecret())));
      assertEquals(UNAVAILABLE, refused(() -> shop.tail(made.getSecret())));
      String passed = id(made);
      for (long asked = System.nanoTime(); passed.equals(id(made)); asked = System.nanoTime()) {
        try {
          passed = shop.get(made.getSecret());
          assertTrue(asked - over < 0, "repeated beyond its time");
        } catch (StatusRuntimeException error) {
          passed = told(error);
        }
      }
      assertEquals(UNAVAILABLE, passed);
    }
  }

  @Test
  void dropped_on_watch() throws Exception {
    try (Shop shop = guarded(Policy.DEFAULT.withNamespace("long"))) {
      CreateResponse made = authority.create(CreateRequest.newBuilder().setNamespace("long"));
      untilCached(shop, made);
      authority.revoke(made);
      until(() -> !passes(shop, made), WATCH_MILLIS_MAX);
      assertEquals("UNAUTHENTICATED VERDICT_REVOKED", refused(() -> shop.get(made.getSecret())));
    }
  }

  @Test
  void deadline() throws Exception {
    try (Shop shop = guarded(Policy.DEFAULT.withDeadline(Duration.ofMillis(500)))) {
      CreateResponse made = authority.create(CreateRequest.newBuilder());
      assertEquals(id(made), shop.get(made.getSecret()));
      authority.hanging(
          () -> {
            long begun = System.nanoTime();
            assertEquals(UNAVAILABLE, refused(() -> shop.get(made.getSecret())));
            assertTrue(System.nanoTime() - begun < TimeUnit.SECONDS.toNanos(3));
            // No longer than the judged call may take.
            StatusRuntimeException late =
                assertThrows(
                    StatusRuntimeException.class, () -> shop.get(Shop.bearer(made.getSecret()), 200));
            assertEquals(Status.Code.DEADLINE_EXCEEDED, late.getStatus().getCode());
          });
      assertEquals(1, shop.runs.get());
    }
  }

  @Test
  void retried() throws Exception {
    Policy policy = Policy.DEFAULT.withDeadline(Duration.ofSeconds(60)).withCacheEntries(0);
    CreateResponse made = authority.create(CreateRequest.newBuilder());
    try (Flaky flaky = new Flaky(authority);
        Shop shop = new Shop(flaky.address, authority.credential, policy)) {
      assertEquals(id(made), shop.get(made.getSecret()));
      assertEquals(2, flaky.attempts.size());
      assertEquals("1", flaky.attempts.get(1).before());
      // The deadline of the judged call is that of the question, too.
      assertTrue(flaky.attempts.stream().allMatch(attempt -> attempt.secondsLeft() <= MILLIS_MAX / 1000 + 1));
    }
  }

  @Test
  void lease_lost() throws Exception {
    authority.create(CreateRequest.newBuilder().setPool("seats"));
    Worker worker = new Worker(authority.channel, authority.credential, Duration.ofSeconds(5));
    Fence fence = new Fence();
    // Kept alive beyond its first end.
    HeldLease kept = worker.acquire(seats(3));
    try (kept) {
      long ends = System.nanoTime() + TimeUnit.SECONDS.toNanos(4);
      while (System.nanoTime() - ends < 0) {
        fence.admit(kept.token().getTokenId(), kept.check());
        Thread.sleep(20);
      }
    }
    // Taken by force: known with the next beat, long before its time.
    HeldLease first = worker.acquire(seats(6));
    try (first) {
      assertTrue(first.fence() > kept.fence());
      fence.admit(first.token().getTokenId(), first.check());
      authority.call().release(
              ReleaseRequest.newBuilder().setTokenId(first.token().getTokenId()).setForce(true).build());
      first.lost().get(3_500, TimeUnit.MILLISECONDS);
      assertThrows(LeaseLostException.class, first::check);
    }
    try (HeldLease second = worker.acquire(seats(3).toBuilder().setWait(Durations.fromSeconds(10)).build())) {
      fence.admit(second.token().getTokenId(), second.check());
      // Who did not notice is too late.
      assertThrows(
          Fence.StaleException.class, () -> fence.admit(first.token().getTokenId(), first.fence()));
      // Of an authority that says nothing, the lease's own time tells.
      authority.hanging(
          () -> {
            long begun = System.nanoTime();
            until(() -> lost(second), MILLIS_MAX);
            assertTrue(System.nanoTime() - begun < TimeUnit.MILLISECONDS.toNanos(3_100));
            second.lost().get(2, TimeUnit.SECONDS);
          });
    }
  }

  /**
   * Asks until an answer stays, which the end of the token's creation may still drop; answers when it was there.
   */
  private long untilCached(Shop shop, CreateResponse made) throws Exception {
    until(shop.guard::watching, MILLIS_MAX);
    for (int i = 0; i < 5; i++) {
      assertEquals(id(made), shop.get(made.getSecret()));
      long answered = System.nanoTime();
      boolean[] kept = {false};
      authority.hanging(() -> kept[0] = passes(shop, made));
      if (kept[0]) {
        return answered;
      }
    }
    throw new AssertionError("no answer is kept");
  }

  private static AcquireRequest seats(int seconds) {
    return AcquireRequest.newBuilder()
        .setPool("seats")
        .setHolder("worker")
        .setLeaseDuration(Durations.fromSeconds(seconds))
        .build();
  }

  private static boolean lost(HeldLease lease) {
    try {
      lease.check();
      return false;
    } catch (LeaseLostException e) {
      return true;
    }
  }

  private static boolean passes(Shop shop, CreateResponse made) {
    try {
      return shop.get(made.getSecret()).equals(id(made));
    } catch (StatusRuntimeException e) {
      return false;
    }
  }

  private static String id(CreateResponse made) {
    return made.getToken().getTokenId();
  }

  private static String refused(Executable call) {
    return told(assertThrows(StatusRuntimeException.class, call));
  }

  /** Code and reason of an error. */
  private static String told(StatusRuntimeException error) {
    ErrorInfo info = Refusal.detail(StatusProto.fromThrowable(error), ErrorInfo.class).orElseThrow();
    assertEquals("tokenauthority", info.getDomain());
    return error.getStatus().getCode() + " " + info.getReason();
  }

  private static void until(BooleanSupplier met, long millis) throws InterruptedException {
    long begun = System.nanoTime();
    while (!met.getAsBoolean()) {
      assertTrue(System.nanoTime() - begun < TimeUnit.MILLISECONDS.toNanos(millis), "not within " + millis + " ms");
      Thread.sleep(20);
    }
  }
}
