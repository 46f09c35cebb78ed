package example.tokenauthority;

import io.grpc.Status;
import io.grpc.StatusRuntimeException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.Executors;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.TimeUnit;
import tokenauthority.v1.AcquireResponse;
import tokenauthority.v1.Token;

/** The exclusive use of one token. Ask {@link #check} before each step that needs it. */
public final class HeldLease implements AutoCloseable {
  private static final System.Logger LOG = System.getLogger("token_authority");
  private static final long PAUSE_NANOS = TimeUnit.MILLISECONDS.toNanos(200);

  private final Worker worker;
  private final AcquireResponse acquired;
  private final ScheduledExecutorService beats =
      Executors.newSingleThreadScheduledExecutor(Threads.daemon("token-authority-beats"));
  private final CompletableFuture<Void> lost = new CompletableFuture<>();
  private volatile long over;
  private volatile boolean released;

  HeldLease(Worker worker, AcquireResponse acquired) {
    this.worker = worker;
    this.acquired = acquired;
    // How long the answer was under way nobody knows; this beat tells how long the lease lasts.
    try {
      Worker.Beat first = worker.beat(acquired.getLease().getLeaseId(), Long.MAX_VALUE);
      over = first.over();
      next(first.due());
    } catch (StatusRuntimeException error) {
      close();
      throw error;
    }
  }

  /** The leased token. */
  public Token token() {
    return acquired.getToken();
  }

  /** A secret that is valid for exactly this lease. */
  public String secret() {
    return acquired.getSecret();
  }

  /** Greater than that of every earlier lease of the token, unsigned: send it along with each write. */
  public long fence() {
    return acquired.getLease().getFence();
  }

  /** Completes as soon as the lease is known to be lost. */
  public CompletableFuture<Void> lost() {
    return lost.copy();
  }

  /** The fence, as long as the lease is ours for sure. */
  public long check() throws LeaseLostException {
    if (released || lost.isDone() || System.nanoTime() - over >= 0) {
      throw new LeaseLostException(token().getTokenId());
    }
    return fence();
  }

  /** Ends the lease; where the authority does not answer, its time does. */
  @Override
  public void close() {
    released = true;
    beats.shutdownNow();
    try {
      worker.release(acquired.getLease().getLeaseId());
    } catch (StatusRuntimeException error) {
      LOG.log(System.Logger.Level.WARNING, "a lease was not released: {0}", error.getStatus().getCode());
    }
  }

  private void next(long due) {
    long at = due - over < 0 ? due : over;
    if (!released) {
      beats.schedule(this::beat, at - System.nanoTime(), TimeUnit.NANOSECONDS);
    }
  }

  private void beat() {
    long left = over - System.nanoTime();
    if (left <= 0) {
      lost.complete(null);
      return;
    }
    try {
      Worker.Beat beat = worker.beat(acquired.getLease().getLeaseId(), left);
      over = beat.over();
      next(beat.due());
    } catch (StatusRuntimeException error) {
      if (released) {
        return;
      }
      Status.Code code = error.getStatus().getCode();
      LOG.log(System.Logger.Level.WARNING, "a beat failed: {0}", code);
      // After these it will never be ours again; after others its time decides.
      if (code == Status.Code.FAILED_PRECONDITION || code == Status.Code.NOT_FOUND) {
        lost.complete(null);
      } else {
        next(System.nanoTime() + PAUSE_NANOS);
      }
    }
  }
}
