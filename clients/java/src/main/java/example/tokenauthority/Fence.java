package example.tokenauthority;

import java.util.HashMap;
import java.util.Map;

/** What a protected resource keeps of each token: the greatest fence that it has seen. */
public final class Fence {
  private final Map<String, Long> greatest = new HashMap<>();

  /** Lets a write pass, unless a greater fence of the token came before. Fences are unsigned. */
  public synchronized void admit(String tokenId, long fence) throws StaleException {
    long seen = greatest.getOrDefault(tokenId, 0L);
    if (Long.compareUnsigned(fence, seen) < 0) {
      throw new StaleException(
          "fence " + Long.toUnsignedString(fence) + " of " + tokenId + " is older than "
              + Long.toUnsignedString(seen));
    }
    greatest.put(tokenId, fence);
  }

  /** A newer lease of the token was seen here: whoever comes with this fence is too late. */
  public static final class StaleException extends Exception {
    private static final long serialVersionUID = 1L;

    StaleException(String message) {
      super(message);
    }
  }
}
