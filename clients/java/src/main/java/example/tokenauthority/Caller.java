package example.tokenauthority;

import io.grpc.Context;
import tokenauthority.v1.Token;

/**
 * Who makes a call that was let through.
 *
 * @param token the public facts of its token
 * @param validationId name of the judgement, for logs and for Report
 */
public record Caller(Token token, String validationId) {
  /** Holds the caller while a guarded call is handled, and null elsewhere. */
  public static final Context.Key<Caller> KEY = Context.key("token-authority-caller");
}
