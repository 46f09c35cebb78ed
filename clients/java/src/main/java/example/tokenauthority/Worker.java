package example.tokenauthority;

import com.google.protobuf.util.Durations;
import io.grpc.Channel;
import io.grpc.StatusRuntimeException;
import java.time.Duration;
import java.util.UUID;
import java.util.concurrent.TimeUnit;
import tokenauthority.v1.AcquireRequest;
import tokenauthority.v1.AcquireResponse;
import tokenauthority.v1.KeepAliveRequest;
import tokenauthority.v1.ReleaseRequest;
import tokenauthority.v1.TokenServiceGrpc;

/** Takes leases of pooled tokens, with a credential that has the permission {@code lease}. */
public final class Worker {
  private final TokenServiceGrpc.TokenServiceBlockingStub authority;
  private final Duration deadline;

  /** Each call takes at most {@code deadline}. */
  public Worker(Channel channel, String credential, Duration deadline) {
    authority = TokenServiceGrpc.newBlockingStub(Bearer.on(channel, credential));
    this.deadline = deadline;
  }

  /**
   * Leases a token of {@code request.pool}, and keeps it alive from now on; use it in a {@code try}. The request is
   * given a {@code request_id} where it has none, so that attempts are safe to repeat.
   *
   * @throws StatusRuntimeException where none is to be had: RESOURCE_EXHAUSTED after {@code request.wait}
   */
  public HeldLease acquire(AcquireRequest request) {
    AcquireRequest named =
        request.getRequestId().isEmpty()
            ? request.toBuilder().setRequestId(UUID.randomUUID().toString()).build()
            : request;
    AcquireResponse acquired =
        within(deadline.toNanos() + Durations.toNanos(request.getWait())).acquire(named);
    return new HeldLease(this, acquired);
  }

  /**
   * Keeps a lease alive that has {@code left} nanoseconds; answers when that is due again, and when it will be over, in {@link System#nanoTime}. Counted
   * from before the call, it is never over earlier.
   */
  Beat beat(String leaseId, long left) {
    long begun = System.nanoTime();
    var request = KeepAliveRequest.newBuilder().setLeaseId(leaseId).build();
    var kept = within(Math.min(deadline.toNanos(), left)).keepAlive(request);
    long third = Durations.toNanos(kept.getNextBeatAfter());
    return new Beat(begun + third, begun + 3 * third);
  }

  record Beat(long due, long over) {}

  /** Gives the token back. */
  void release(String leaseId) {
    within(deadline.toNanos()).release(ReleaseRequest.newBuilder().setLeaseId(leaseId).build());
  }

  private TokenServiceGrpc.TokenServiceBlockingStub within(long nanos) {
    return authority.withDeadlineAfter(nanos, TimeUnit.NANOSECONDS);
  }
}
