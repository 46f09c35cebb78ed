package example.tokenauthority;

import java.time.Duration;
import java.util.Collection;
import java.util.List;
import java.util.Objects;
import java.util.Set;
import java.util.function.Function;

/**
 * What a guard asks of each call, and how long it waits for the answer.
 *
 * @param namespace namespace that tokens must live in; empty: that of the guard's own credential, {@code -}: any
 * @param scopes the scopes that a full method ({@code shop.Orders/Get}) needs; null refuses the method to everybody,
 *     so that the {@code get} of a map refuses those it does not list
 * @param unguarded full methods that need no token, such as {@code grpc.health.v1.Health/Check}
 * @param deadline longest wait for a judgement, further attempts included; also no longer than the judged call may
 *     take. Beyond it the call is refused
 * @param cacheEntries most answers to keep, where the authority allows it by {@code cache_ttl}; 0 keeps none, and
 *     watches nothing
 */
public record Policy(
    String namespace,
    Function<String, ? extends Collection<String>> scopes,
    Set<String> unguarded,
    Duration deadline,
    int cacheEntries) {

  /** Asks for a valid token that may call the method, within a second; keeps 10 000 answers. */
  public static final Policy DEFAULT =
      new Policy("", method -> List.of(), Set.of(), Duration.ofSeconds(1), 10_000);

  public Policy {
    Objects.requireNonNull(namespace, "namespace");
    Objects.requireNonNull(scopes, "scopes");
    unguarded = Set.copyOf(unguarded);
    if (deadline.isNegative() || deadline.isZero()) {
      throw new IllegalArgumentException("deadline must be more than 0, not " + deadline);
    }
    if (cacheEntries < 0) {
      throw new IllegalArgumentException("cacheEntries must not be negative, as " + cacheEntries + " is");
    }
  }

  public Policy withNamespace(String namespace) {
    return new Policy(namespace, scopes, unguarded, deadline, cacheEntries);
  }

  public Policy withScopes(Function<String, ? extends Collection<String>> scopes) {
    return new Policy(namespace, scopes, unguarded, deadline, cacheEntries);
  }

  public Policy withUnguarded(Set<String> unguarded) {
    return new Policy(namespace, scopes, unguarded, deadline, cacheEntries);
  }

  public Policy withDeadline(Duration deadline) {
    return new Policy(namespace, scopes, unguarded, deadline, cacheEntries);
  }

  public Policy withCacheEntries(int cacheEntries) {
    return new Policy(namespace, scopes, unguarded, deadline, cacheEntries);
  }
}
