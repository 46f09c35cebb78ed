package example.tokenauthority;

import io.grpc.ChannelCredentials;
import io.grpc.Grpc;
import io.grpc.ManagedChannel;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/** Channels to the authority: which calls they try again, and when they notice that it is gone. */
public final class AuthorityChannels {
  private static final String SERVICE = "tokenauthority.v1.TokenService";

  /**
   * Calls that may be repeated after UNAVAILABLE. {@code Validate} may count twice then, where the first answer was
   * lost; {@code Acquire} is in it since {@link Worker} names each of its requests. Create, BatchCreate, Rotate,
   * Update and Delete are not: whoever repeats those decides it for itself.
   */
  private static final List<String> REPEATABLE =
      List.of(
          "Validate", "BatchValidate", "Acquire", "KeepAlive", "Release", "Get", "List", "ListPools",
          "ListNamespaces", "ResetLimits", "Revoke", "Usage", "Overview", "WhoAmI");

  /**
   * The service config (gRFC A6): at most 4 attempts, 50 ms to 1 s apart, or as the authority says by {@code
   * grpc-retry-pushback-ms}; none once the throttle sees that most attempts fail.
   */
  public static final Map<String, ?> SERVICE_CONFIG =
      Map.of(
          "methodConfig",
          List.of(
              Map.of(
                  "name",
                  REPEATABLE.stream().map(m -> Map.of("service", SERVICE, "method", m)).toList(),
                  "retryPolicy",
                  Map.of(
                      "maxAttempts", 4.0,
                      "initialBackoff", "0.05s",
                      "maxBackoff", "1s",
                      "backoffMultiplier", 3.0,
                      "retryableStatusCodes", List.of("UNAVAILABLE")))),
          "retryThrottling",
          Map.of("maxTokens", 100.0, "tokenRatio", 0.5));

  private AuthorityChannels() {}

  /**
   * A channel to the authority: {@code TlsChannelCredentials} are for the network, {@code InsecureChannelCredentials}
   * for loopback. Pings find a connection that died without a word. Close it with {@code shutdown}.
   */
  public static ManagedChannel connect(String target, ChannelCredentials credentials) {
    return Grpc.newChannelBuilder(target, credentials)
        .enableRetry()
        .defaultServiceConfig(SERVICE_CONFIG)
        .keepAliveTime(30, TimeUnit.SECONDS)
        .keepAliveTimeout(10, TimeUnit.SECONDS)
        .build();
  }
}
