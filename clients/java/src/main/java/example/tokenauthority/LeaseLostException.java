package example.tokenauthority;

/** The lease is not ours any more, or may not be: whatever it protects must be left alone. */
public final class LeaseLostException extends Exception {
  private static final long serialVersionUID = 1L;

  LeaseLostException(String tokenId) {
    super("the lease of " + tokenId + " is lost");
  }
}
