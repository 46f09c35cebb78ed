package example.tokenauthority;

import com.google.protobuf.util.Durations;
import java.nio.ByteBuffer;
import java.util.HashMap;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.function.LongSupplier;
import tokenauthority.v1.ValidateResponse;
import tokenauthority.v1.Verdict;

/**
 * Answers that the authority allowed to be repeated: bounded, timed, and dropped with their token.
 *
 * <p>Only valid answers with a {@code cache_ttl} are kept, and none is repeated beyond that, counted from when it was
 * asked for. Each event of a token drops the answers about it. While no events come, since the Watch broke, answers
 * still end with their {@code cache_ttl}.
 */
final class AnswerCache {
  private final int entriesMax;
  private final LongSupplier nanos;
  private final LinkedHashMap<ByteBuffer, Kept> kept = new LinkedHashMap<>(16, 0.75f, true);
  private final Map<String, Set<ByteBuffer>> byToken = new HashMap<>();
  private long events;

  AnswerCache(int entriesMax, LongSupplier nanos) {
    this.entriesMax = entriesMax;
    this.nanos = nanos;
  }

  /** When a question was asked, and after how many events. */
  record Asked(long nanos, long events) {}

  private record Kept(ValidateResponse answer, long begun, long ttl) {}

  synchronized int size() {
    return kept.size();
  }

  /** The answer to a question, as long as it may be repeated, or null. */
  synchronized ValidateResponse get(ByteBuffer key) {
    Kept found = kept.get(key);
    if (found == null) {
      return null;
    }
    if (nanos.getAsLong() - found.begun >= found.ttl) {
      forget(key);
      return null;
    }
    return found.answer;
  }

  /** To be called before a question is asked, and handed to {@link #keep} with its answer. */
  synchronized Asked asking() {
    return new Asked(nanos.getAsLong(), events);
  }

  /**
   * Keeps an answer, if it may be kept, and nothing was told since it was asked for: an event that overtakes the answer
   * it makes void would drop nothing.
   */
  synchronized void keep(ByteBuffer key, ValidateResponse answer, Asked asked) {
    long ttl = Durations.toNanos(answer.getCacheTtl());
    boolean valid = answer.getValid() && answer.getVerdict() == Verdict.VERDICT_VALID;
    if (!valid || ttl <= 0 || entriesMax == 0 || asked.events != events) {
      return;
    }
    forget(key);
    while (kept.size() >= entriesMax) {
      forget(kept.keySet().iterator().next());
    }
    kept.put(key, new Kept(answer, asked.nanos, ttl));
    byToken.computeIfAbsent(answer.getToken().getTokenId(), id -> new HashSet<>()).add(key);
  }

  /** Forgets what was answered about a token, of which something was told. */
  synchronized void drop(String tokenId) {
    events++;
    Set.copyOf(byToken.getOrDefault(tokenId, Set.of())).forEach(this::forget);
  }

  /** Forgets everything, since events may have been missed. */
  synchronized void clear() {
    events++;
    kept.clear();
    byToken.clear();
  }

  private void forget(ByteBuffer key) {
    Kept forgotten = kept.remove(key);
    if (forgotten != null) {
      byToken.computeIfPresent(
          forgotten.answer.getToken().getTokenId(),
          (id, keys) -> {
            keys.remove(key);
            return keys.isEmpty() ? null : keys;
          });
    }
  }
}
