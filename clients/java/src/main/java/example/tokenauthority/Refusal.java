package example.tokenauthority;

import com.google.protobuf.Any;
import com.google.protobuf.Duration;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.util.Durations;
import com.google.rpc.ErrorInfo;
import com.google.rpc.RetryInfo;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import io.grpc.protobuf.StatusProto;
import java.util.Optional;
import tokenauthority.v1.ErrorReason;
import tokenauthority.v1.RateLimitStatus;
import tokenauthority.v1.ValidateResponse;
import tokenauthority.v1.Verdict;

/** Why a call is refused, as the status that its client gets: the table that stands at {@code Verdict}. */
final class Refusal extends Exception {
  static final String DOMAIN = "tokenauthority";

  /** The reason of refusals for want of an answer; the authority itself never gives it. */
  static final String AUTHORITY_UNAVAILABLE = "AUTHORITY_UNAVAILABLE";

  static final Metadata.Key<String> PUSHBACK =
      Metadata.Key.of("grpc-retry-pushback-ms", Metadata.ASCII_STRING_MARSHALLER);

  private static final long serialVersionUID = 1L;

  private final transient StatusRuntimeException status;

  private Refusal(Status.Code code, String message, String reason, Duration retryAfter, boolean pushback) {
    super(message, null, false, false);
    var details =
        com.google.rpc.Status.newBuilder()
            .setCode(code.value())
            .setMessage(message)
            .addDetails(Any.pack(ErrorInfo.newBuilder().setReason(reason).setDomain(DOMAIN).build()));
    Metadata trailers = new Metadata();
    if (retryAfter != null) {
      details.addDetails(Any.pack(RetryInfo.newBuilder().setRetryDelay(retryAfter).build()));
    }
    if (pushback) {
      // -1: no attempt will ever pass.
      long millis = retryAfter == null ? -1 : (Durations.toNanos(retryAfter) + 999_999) / 1_000_000;
      trailers.put(PUSHBACK, Long.toString(millis));
    }
    status = StatusProto.toStatusRuntimeException(details.build(), trailers);
  }

  Status status() {
    return status.getStatus();
  }

  /** {@code google.rpc} details, and how long gRPC's own retries have to wait. */
  Metadata trailers() {
    return status.getTrailers();
  }

  /**
   * Lets an answer of VERDICT_VALID pass, and none else. Verdicts that are yet to come refuse with PERMISSION_DENIED.
   */
  static ValidateResponse unless(ValidateResponse answer) throws Refusal {
    if (answer.getValid() && answer.getVerdict() == Verdict.VERDICT_VALID) {
      return answer;
    }
    boolean limited = answer.getVerdict() == Verdict.VERDICT_RATE_LIMITED;
    throw new Refusal(
        codeOf(answer.getVerdict()),
        "the token does not allow this call",
        nameOf(answer),
        limited ? longestWait(answer) : null,
        limited);
  }

  /**
   * Why a call is refused that the authority did not judge. Never because of what the authority says about the guard
   * itself: that its credential is not in force, or that it asks too much, is no news for the client, who may try again.
   */
  static Refusal ofError(Throwable error) {
    var details = Optional.ofNullable(StatusProto.fromThrowable(error));
    String guessed = ErrorReason.ERROR_REASON_FAILURES_LIMITED.name();
    Duration retryAfter =
        details.flatMap(d -> detail(d, RetryInfo.class)).map(RetryInfo::getRetryDelay).orElse(null);
    boolean limited =
        details
            .flatMap(d -> detail(d, ErrorInfo.class))
            .filter(info -> info.getDomain().equals(DOMAIN) && info.getReason().equals(guessed))
            .isPresent();
    return limited
        ? new Refusal(
            Status.Code.RESOURCE_EXHAUSTED,
            "too many unknown secrets came from this address",
            guessed,
            retryAfter,
            retryAfter != null)
        : new Refusal(
            Status.Code.UNAVAILABLE,
            "the call could not be judged",
            AUTHORITY_UNAVAILABLE,
            retryAfter,
            false);
  }

  /** None was presented, or two different ones. */
  static Refusal noCredential() {
    return new Refusal(
        Status.Code.UNAUTHENTICATED,
        "present one token, in `authorization` (`Bearer <secret>`) or in `x-api-key`",
        ErrorReason.ERROR_REASON_CREDENTIAL_INVALID.name(),
        null,
        false);
  }

  /** Longer than any secret. */
  static Refusal malformed() {
    return new Refusal(
        Status.Code.UNAUTHENTICATED,
        "the token does not allow this call",
        Verdict.VERDICT_MALFORMED.name(),
        null,
        false);
  }

  /** The policy gives the method to nobody. */
  static Refusal scopeDenied() {
    return new Refusal(
        Status.Code.PERMISSION_DENIED,
        "no token allows this call",
        Verdict.VERDICT_SCOPE_DENIED.name(),
        null,
        false);
  }

  private static Status.Code codeOf(Verdict verdict) {
    return switch (verdict) {
      case VERDICT_MALFORMED, VERDICT_NOT_FOUND, VERDICT_REVOKED, VERDICT_DISABLED, VERDICT_EXPIRED,
              VERDICT_SUPERSEDED, VERDICT_LEASE_ENDED ->
          Status.Code.UNAUTHENTICATED;
      case VERDICT_RATE_LIMITED, VERDICT_QUOTA_EXHAUSTED -> Status.Code.RESOURCE_EXHAUSTED;
      default -> Status.Code.PERMISSION_DENIED;
    };
  }

  private static String nameOf(ValidateResponse answer) {
    return answer.getVerdict() == Verdict.UNRECOGNIZED
        ? "VERDICT_" + answer.getVerdictValue()
        : answer.getVerdict().name();
  }

  private static Duration longestWait(ValidateResponse answer) {
    return answer.getRateLimitsList().stream()
        .filter(RateLimitStatus::hasRetryAfter)
        .map(RateLimitStatus::getRetryAfter)
        .max(Durations.comparator())
        .orElse(null);
  }

  static <T extends com.google.protobuf.Message> Optional<T> detail(
      com.google.rpc.Status status, Class<T> kind) {
    return status.getDetailsList().stream()
        .filter(detail -> detail.is(kind))
        .findFirst()
        .flatMap(
            detail -> {
              try {
                return Optional.of(detail.unpack(kind));
              } catch (InvalidProtocolBufferException e) {
                return Optional.empty();
              }
            });
  }
}
