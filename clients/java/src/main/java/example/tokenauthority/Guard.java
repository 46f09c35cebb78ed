package example.tokenauthority;

import io.grpc.Channel;
import io.grpc.Context;
import io.grpc.Contexts;
import io.grpc.Grpc;
import io.grpc.Metadata;
import io.grpc.ServerCall;
import io.grpc.ServerCallHandler;
import io.grpc.ServerInterceptor;
import io.grpc.Status;
import io.grpc.stub.StreamObserver;
import java.nio.ByteBuffer;
import java.util.concurrent.TimeUnit;
import java.util.function.Consumer;
import tokenauthority.v1.TokenServiceGrpc;
import tokenauthority.v1.ValidateRequest;
import tokenauthority.v1.ValidateResponse;

/**
 * An interceptor that lets through what the authority calls valid, and nothing else. No thread waits for the answer.
 *
 * <p>{@link Caller#KEY} tells handlers who calls. The credential needs the permission {@code validate}, and {@code read}
 * for the events that drop cached answers. Close the guard when the server has stopped; the channel stays the caller's.
 */
public final class Guard implements ServerInterceptor, AutoCloseable {
  private static final System.Logger LOG = System.getLogger("token_authority");

  private final Policy policy;
  private final TokenServiceGrpc.TokenServiceStub authority;
  private final AnswerCache cache;
  private final Watch watch;

  /** Guards by the authority at the other end of a channel; see {@link AuthorityChannels#connect}. */
  public Guard(Channel channel, String credential, Policy policy) {
    this.policy = policy;
    Channel known = Bearer.on(channel, credential);
    authority = TokenServiceGrpc.newStub(known);
    cache = new AnswerCache(policy.cacheEntries(), System::nanoTime);
    watch = policy.cacheEntries() == 0 ? null : new Watch(known, policy.namespace(), cache);
  }

  /** Whether events are being told, so that whatever happens to a token drops its answers. */
  public boolean watching() {
    return watch != null && watch.told();
  }

  @Override
  public void close() {
    if (watch != null) {
      watch.close();
    }
  }

  @Override
  public <Q, A> ServerCall.Listener<Q> interceptCall(
      ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
    String method = call.getMethodDescriptor().getFullMethodName();
    if (policy.unguarded().contains(method)) {
      return next.startCall(call, headers);
    }
    var peer = call.getAttributes().get(Grpc.TRANSPORT_ATTR_REMOTE_ADDR);
    try {
      ValidateRequest question = Question.about(method, headers, peer, policy);
      ByteBuffer key = Question.keyOf(question);
      ValidateResponse kept = cache.get(key);
      if (kept != null) {
        return start(kept, call, headers, next);
      }
      Judged<Q> judged = new Judged<>();
      ask(
          question,
          key,
          answer -> judged.become(() -> start(answer, call, headers, next)),
          refusal -> judged.become(() -> refuse(refusal, call)));
      return judged;
    } catch (Refusal refusal) {
      return refuse(refusal, call);
    }
  }

  private void ask(
      ValidateRequest question, ByteBuffer key, Consumer<ValidateResponse> pass, Consumer<Refusal> refuse) {
    AnswerCache.Asked asked = cache.asking();
    // The judged call's own deadline and its cancellation go along with the context.
    authority
        .withDeadlineAfter(policy.deadline().toNanos(), TimeUnit.NANOSECONDS)
        .validate(
            question,
            new StreamObserver<>() {
              private ValidateResponse answer;

              @Override
              public void onNext(ValidateResponse value) {
                answer = value;
              }

              @Override
              public void onError(Throwable error) {
                LOG.log(
                    System.Logger.Level.WARNING,
                    "a call was not judged: {0}",
                    Status.fromThrowable(error).getCode());
                refuse.accept(Refusal.ofError(error));
              }

              @Override
              public void onCompleted() {
                try {
                  Refusal.unless(answer);
                } catch (Refusal refusal) {
                  refuse.accept(refusal);
                  return;
                }
                cache.keep(key, answer, asked);
                pass.accept(answer);
              }
            });
  }

  private static <Q, A> ServerCall.Listener<Q> start(
      ValidateResponse answer, ServerCall<Q, A> call, Metadata headers, ServerCallHandler<Q, A> next) {
    Caller caller = new Caller(answer.getToken(), answer.getValidationId());
    Context context = Context.current().withValue(Caller.KEY, caller);
    return Contexts.interceptCall(context, call, headers, next);
  }

  private static <Q, A> ServerCall.Listener<Q> refuse(Refusal refusal, ServerCall<Q, A> call) {
    call.close(refusal.status(), refusal.trailers());
    return new ServerCall.Listener<>() {};
  }
}
