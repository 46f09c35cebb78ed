package example.tokenauthority;

import java.util.logging.Level;
import java.util.logging.Logger;
import org.junit.jupiter.api.extension.ExtensionContext;
import org.junit.jupiter.api.extension.TestWatcher;

/** Prints the name of each scenario, and how it ended. */
final class Told implements TestWatcher {
  /** Guards warn of what the scenarios do to them. */
  private static final Logger QUIET = Logger.getLogger("token_authority");

  static {
    QUIET.setLevel(Level.OFF);
  }

  @Override
  public void testSuccessful(ExtensionContext context) {
    tell(context, "ok");
  }

  @Override
  public void testFailed(ExtensionContext context, Throwable cause) {
    tell(context, "FAILED");
  }

  private static void tell(ExtensionContext context, String ended) {
    System.out.println(context.getRequiredTestMethod().getName() + " ... " + ended);
  }
}
