package example.tokenauthority;

import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.InsecureServerCredentials;
import io.grpc.Metadata;
import io.grpc.Server;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.net.InetSocketAddress;
import java.util.List;
import java.util.concurrent.CopyOnWriteArrayList;
import java.util.concurrent.TimeUnit;
import tokenauthority.v1.TokenServiceGrpc;
import tokenauthority.v1.ValidateRequest;
import tokenauthority.v1.ValidateResponse;

/** An authority that is UNAVAILABLE for every first attempt, and passes on the next. */
final class Flaky implements AutoCloseable {
  private static final Metadata.Key<String> BEFORE =
      Metadata.Key.of("grpc-previous-rpc-attempts", Metadata.ASCII_STRING_MARSHALLER);

  /** What an attempt said of those before it, and how much time it had left. */
  record Attempt(String before, long secondsLeft) {}

  final List<Attempt> attempts = new CopyOnWriteArrayList<>();
  final String address;
  private final Server server;

  Flaky(Authority real) throws Exception {
    TokenServiceGrpc.TokenServiceImplBase passing =
        new TokenServiceGrpc.TokenServiceImplBase() {
          @Override
          public void validate(ValidateRequest request, StreamObserver<ValidateResponse> answers) {
            answers.onNext(real.call().validate(request));
            answers.onCompleted();
          }
        };
    server =
        io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder.forAddress(
                new InetSocketAddress("127.0.0.1", 0), InsecureServerCredentials.create())
            .intercept(new First())
            .addService(passing)
            .build()
            .start();
    address = "127.0.0.1:" + server.getPort();
  }

  private final class First implements ServerInterceptor {
    @Override
    public <Q, A> ServerCall.Listener<Q> interceptCall(
        ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
      Deadline deadline = Context.current().getDeadline();
      long left = deadline == null ? Long.MAX_VALUE : deadline.timeRemaining(TimeUnit.SECONDS);
      attempts.add(new Attempt(headers.get(BEFORE), left));
      if (headers.containsKey(BEFORE)) {
        return next.startCall(call, headers);
      }
      Metadata trailers = new Metadata();
      trailers.put(Refusal.PUSHBACK, "20");
      call.close(Status.UNAVAILABLE.withDescription("not now"), trailers);
      return new ServerCall.Listener<>() {};
    }
  }

  @Override
  public void close() throws Exception {
    server.shutdownNow().awaitTermination();
  }
}
