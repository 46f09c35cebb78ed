package example.tokenauthority;

import static java.nio.charset.StandardCharsets.UTF_8;

import com.google.protobuf.ByteString;
import com.google.protobuf.BytesValue;
import com.google.protobuf.StringValue;
import io.grpc.CallOptions;
import io.grpc.ClientInterceptors;
import io.grpc.Grpc;
import io.grpc.InsecureChannelCredentials;
import io.grpc.InsecureServerCredentials;
import io.grpc.ManagedChannel;
import io.grpc.Metadata;
import io.grpc.MethodDescriptor;
import io.grpc.Server;
import io.grpc.ServerServiceDefinition;
import io.grpc.protobuf.ProtoUtils;
import io.grpc.stub.ClientCalls;
import io.grpc.stub.MetadataUtils;
import io.grpc.stub.ServerCalls;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;

/** A guarded service whose answers are who called, how often its handlers ran, and a client of it. */
final class Shop implements AutoCloseable {
  static final String GET = "shop.Orders/Get";
  static final String TAIL = "shop.Orders/Tail";

  final AtomicInteger runs = new AtomicInteger();
  final Guard guard;
  private final ManagedChannel authority;
  private final Server server;
  private final ManagedChannel channel;

  private static final MethodDescriptor<BytesValue, StringValue> UNARY =
      method(GET, MethodDescriptor.MethodType.UNARY);
  private static final MethodDescriptor<BytesValue, StringValue> STREAMED =
      method(TAIL, MethodDescriptor.MethodType.SERVER_STREAMING);

  Shop(String address, String credential, Policy policy) throws Exception {
    authority = Authority.connect(address);
    guard = new Guard(authority, credential, policy);
    server =
        io.grpc.netty.shaded.io.grpc.netty.NettyServerBuilder.forAddress(
                new InetSocketAddress("127.0.0.1", 0), InsecureServerCredentials.create())
            .intercept(guard)
            .addService(service())
            .build()
            .start();
    channel =
        Grpc.newChannelBuilder("127.0.0.1:" + server.getPort(), InsecureChannelCredentials.create())
            .disableRetry()
            .build();
  }

  private ServerServiceDefinition service() {
    return ServerServiceDefinition.builder("shop.Orders")
        .addMethod(
            UNARY,
            ServerCalls.asyncUnaryCall(
                (request, answers) -> {
                  answers.onNext(caller());
                  answers.onCompleted();
                }))
        .addMethod(
            STREAMED,
            ServerCalls.asyncServerStreamingCall(
                (request, answers) -> {
                  StringValue caller = caller();
                  answers.onNext(caller);
                  answers.onNext(caller);
                  answers.onCompleted();
                }))
        .build();
  }

  private StringValue caller() {
    runs.incrementAndGet();
    Caller caller = Caller.KEY.get();
    return StringValue.of(caller == null ? "nobody" : caller.token().getTokenId());
  }

  /** Who the service says calls it with a secret. */
  String get(String secret) {
    return get(bearer(secret), 20_000);
  }

  String get(Metadata headers, long millis) {
    return ClientCalls.blockingUnaryCall(
            ClientInterceptors.intercept(channel, MetadataUtils.newAttachHeadersInterceptor(headers)),
            UNARY,
            CallOptions.DEFAULT.withDeadlineAfter(millis, TimeUnit.MILLISECONDS),
            request())
        .getValue();
  }

  List<String> tail(String secret) {
    List<String> answers = new ArrayList<>();
    ClientCalls.blockingServerStreamingCall(
            ClientInterceptors.intercept(
                channel, MetadataUtils.newAttachHeadersInterceptor(bearer(secret))),
            STREAMED,
            CallOptions.DEFAULT.withDeadlineAfter(20, TimeUnit.SECONDS),
            request())
        .forEachRemaining(answer -> answers.add(answer.getValue()));
    return answers;
  }

  static Metadata bearer(String secret) {
    return headers("authorization", "Bearer " + secret);
  }

  static Metadata headers(String... pairs) {
    Metadata headers = new Metadata();
    for (int i = 0; i < pairs.length; i += 2) {
      headers.put(Metadata.Key.of(pairs[i], Metadata.ASCII_STRING_MARSHALLER), pairs[i + 1]);
    }
    return headers;
  }

  @Override
  public void close() throws Exception {
    channel.shutdownNow();
    server.shutdownNow().awaitTermination();
    guard.close();
    authority.shutdownNow();
  }

  private static BytesValue request() {
    return BytesValue.of(ByteString.copyFrom("which?", UTF_8));
  }

  private static MethodDescriptor<BytesValue, StringValue> method(
      String name, MethodDescriptor.MethodType type) {
    return MethodDescriptor.<BytesValue, StringValue>newBuilder()
        .setFullMethodName(name)
        .setType(type)
        .setRequestMarshaller(ProtoUtils.marshaller(BytesValue.getDefaultInstance()))
        .setResponseMarshaller(ProtoUtils.marshaller(StringValue.getDefaultInstance()))
        .build();
  }
}
