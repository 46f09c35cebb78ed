package example.tokenauthority;

import io.grpc.Metadata;
import java.net.InetSocketAddress;
import java.net.SocketAddress;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Collection;
import java.util.HashSet;
import java.util.Locale;
import java.util.Set;
import java.util.stream.Stream;
import tokenauthority.v1.ValidateRequest;

/** From an incoming call to the question that is asked about it; nothing here speaks to anybody. */
final class Question {
  private static final int SECRET_BYTES_MAX = 512;
  private static final int USER_AGENT_BYTES_MAX = 512;
  private static final Metadata.Key<String> AUTHORIZATION = key("authorization");
  private static final Metadata.Key<String> API_KEY = key("x-api-key");
  private static final Metadata.Key<String> USER_AGENT = key("user-agent");

  private Question() {}

  /** The question about a call of a full method, or why none need be asked. */
  static ValidateRequest about(String method, Metadata headers, SocketAddress peer, Policy policy)
      throws Refusal {
    Collection<String> scopes = policy.scopes().apply(method);
    if (scopes == null) {
      throw Refusal.scopeDenied();
    }
    Set<String> secrets = secrets(headers);
    if (secrets.size() != 1) {
      throw Refusal.noCredential();
    }
    String secret = secrets.iterator().next();
    if (secret.getBytes(StandardCharsets.UTF_8).length > SECRET_BYTES_MAX) {
      throw Refusal.malformed();
    }
    String agent = headers.containsKey(USER_AGENT) ? headers.get(USER_AGENT) : "";
    return ValidateRequest.newBuilder()
        .setSecret(secret)
        .setNamespace(policy.namespace())
        .addAllRequiredScopes(scopes)
        .setMethod("POST")
        .setPath("/" + method)
        .setClientIp(clientIp(peer))
        .setUserAgent(agent.substring(0, Math.min(agent.length(), USER_AGENT_BYTES_MAX)))
        .build();
  }

  /** SHA-256 of the secret and of everything that is judged, each part with its length before it. */
  static ByteBuffer keyOf(ValidateRequest question) {
    MessageDigest digest = sha256();
    Stream.concat(
            Stream.of(
                question.getSecret(), question.getNamespace(), question.getOwner(), question.getMethod(),
                question.getPath(), question.getClientIp()),
            question.getRequiredScopesList().stream())
        .map(part -> part.getBytes(StandardCharsets.UTF_8))
        .forEach(
            part -> {
              digest.update(ByteBuffer.allocate(Integer.BYTES).putInt(0, part.length));
              digest.update(part);
            });
    return ByteBuffer.wrap(digest.digest()).asReadOnlyBuffer();
  }

  /** The peer's address; empty, which tokens bound to networks do not pass with, where it has none. */
  static String clientIp(SocketAddress peer) {
    if (peer instanceof InetSocketAddress inet && inet.getAddress() != null) {
      return inet.getAddress().getHostAddress().replaceFirst("%.*", "");
    }
    return "";
  }

  private static Set<String> secrets(Metadata headers) {
    Set<String> secrets = new HashSet<>();
    Iterable<String> keys = headers.getAll(API_KEY);
    if (keys != null) {
      keys.forEach(key -> secrets.add(key.strip()));
    }
    Iterable<String> authorizations = headers.getAll(AUTHORIZATION);
    if (authorizations != null) {
      for (String authorization : authorizations) {
        String[] parts = authorization.strip().split(" ", 2);
        if (parts[0].toLowerCase(Locale.ROOT).equals("bearer")) {
          secrets.add(parts.length == 2 ? parts[1].strip() : "");
        }
      }
    }
    return secrets;
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java has SHA-256", e);
    }
  }

  private static Metadata.Key<String> key(String name) {
    return Metadata.Key.of(name, Metadata.ASCII_STRING_MARSHALLER);
  }
}
