package example.tokenauthority;

import io.grpc.CallOptions;
import io.grpc.Channel;
import io.grpc.ClientCall;
import io.grpc.Context;
import io.grpc.Metadata;
import io.grpc.Status;
import java.util.concurrent.Executors;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.ScheduledExecutorService;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import tokenauthority.v1.TokenServiceGrpc;
import tokenauthority.v1.WatchRequest;
import tokenauthority.v1.WatchResponse;

/** Drops cached answers of tokens that something happens to; begins again where it broke off. */
final class Watch implements AutoCloseable {
  private static final System.Logger LOG = System.getLogger("token_authority");
  private static final long PAUSE_MILLIS_MIN = 100;
  private static final long PAUSE_MILLIS_MAX = 5_000;
  private static final Metadata.Key<String> CURSOR =
      Metadata.Key.of("watch-cursor", Metadata.ASCII_STRING_MARSHALLER);

  private final Channel authority;
  private final String namespace;
  private final AnswerCache cache;
  private final ScheduledExecutorService again =
      Executors.newSingleThreadScheduledExecutor(Threads.daemon("token-authority-watch"));
  private ClientCall<WatchRequest, WatchResponse> call;
  private String cursor = "";
  private long pause = PAUSE_MILLIS_MIN;
  private boolean closed;
  private volatile boolean told;

  Watch(Channel authority, String namespace, AnswerCache cache) {
    this.authority = authority;
    this.namespace = namespace;
    this.cache = cache;
    begin();
  }

  /** Whether events are being told. */
  boolean told() {
    return told;
  }

  @Override
  public synchronized void close() {
    closed = true;
    again.shutdownNow();
    call.cancel("closed", null);
  }

  private synchronized void begin() {
    if (closed) {
      return;
    }
    // It outlives whatever call the guard was made in.
    Context.ROOT.run(
        () -> {
          call = authority.newCall(TokenServiceGrpc.getWatchMethod(), CallOptions.DEFAULT);
          call.start(new Events(), new Metadata());
          call.sendMessage(
              WatchRequest.newBuilder().setNamespace(namespace).setCursor(cursor).build());
          call.halfClose();
          call.request(1);
        });
  }

  private synchronized void broke(Status status) {
    told = false;
    if (closed) {
      return;
    }
    LOG.log(System.Logger.Level.WARNING, "the watch of events broke: {0}", status.getCode());
    if (status.getCode() == Status.Code.OUT_OF_RANGE) {
      cursor = "";
      cache.clear();
    }
    long jittered = (long) (pause * ThreadLocalRandom.current().nextDouble(0.8, 1.2));
    pause = Math.min(pause * 2, PAUSE_MILLIS_MAX);
    try {
      again.schedule(this::begin, jittered, TimeUnit.MILLISECONDS);
    } catch (RejectedExecutionException e) {
      LOG.log(System.Logger.Level.DEBUG, "closed meanwhile");
    }
  }

  private final class Events extends ClientCall.Listener<WatchResponse> {
    @Override
    public void onHeaders(Metadata headers) {
      synchronized (Watch.this) {
        String begun = headers.get(CURSOR);
        if (cursor.isEmpty() && begun != null) {
          // Of what happened before, nothing is told.
          cache.clear();
          cursor = begun;
        }
        told = true;
      }
    }

    @Override
    public void onMessage(WatchResponse event) {
      synchronized (Watch.this) {
        pause = PAUSE_MILLIS_MIN;
        cursor = event.getCursor();
        if (event.hasToken()) {
          cache.drop(event.getToken().getTokenId());
        }
        call.request(1);
      }
    }

    @Override
    public void onClose(Status status, Metadata trailers) {
      broke(status);
    }
  }
}
