package example.tokenauthority;

import io.grpc.InsecureChannelCredentials;
import io.grpc.ManagedChannel;
import java.io.BufferedReader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.stream.Stream;
import tokenauthority.v1.CreateRequest;
import tokenauthority.v1.CreateResponse;
import tokenauthority.v1.RevokeRequest;
import tokenauthority.v1.TokenServiceGrpc;

/** The real server on a store of its own, and its management by the root credential. */
final class Authority implements AutoCloseable {
  /** How long answers may be repeated in the namespace {@code brief}. */
  static final int BRIEF_SECONDS = 3;

  private static final int SECONDS_MAX = 30;
  private static final String LISTENING = "listening on ";

  final String address;
  final String credential;
  final ManagedChannel channel;
  private final Path home;
  private final Process process;

  Authority() throws Exception {
    home = Files.createTempDirectory("token-authority-");
    Path root = home.resolve("root-token");
    ProcessBuilder builder =
        new ProcessBuilder(
            Path.of(binary()).toAbsolutePath().toString(),
            "serve",
            "--listen", "127.0.0.1:0",
            "--store", "sqlite:" + home.resolve("authority.db"),
            "--root-token-file", root.toString(),
            "--set", "namespaces.brief.cache_ttl=" + BRIEF_SECONDS + "s",
            "--set", "namespaces.long.cache_ttl=300s");
    builder.environment().keySet().removeIf(name -> name.startsWith("TOKEN_AUTHORITY_") || name.equals("XDG_CONFIG_HOME"));
    builder.environment().put("HOME", home.toString());
    Path log = home.resolve("log");
    process = builder.directory(home.toFile()).redirectError(log.toFile()).start();
    try {
      address = CompletableFuture.supplyAsync(() -> listening(process.inputReader())).get(SECONDS_MAX, TimeUnit.SECONDS);
    } catch (Exception e) {
      process.destroyForcibly();
      throw new IllegalStateException("the server does not listen:\n" + Files.readString(log), e);
    }
    credential = Files.readString(root).strip();
    channel = connect(address);
  }

  static ManagedChannel connect(String address) {
    return AuthorityChannels.connect(address, InsecureChannelCredentials.create());
  }

  TokenServiceGrpc.TokenServiceBlockingStub call() {
    return TokenServiceGrpc.newBlockingStub(Bearer.on(channel, credential))
        .withDeadlineAfter(SECONDS_MAX, TimeUnit.SECONDS);
  }

  CreateResponse create(CreateRequest.Builder asked) {
    return call().create(asked.build());
  }

  void revoke(CreateResponse created) {
    call().revoke(RevokeRequest.newBuilder().setTokenId(created.getToken().getTokenId()).build());
  }

  void stop() throws InterruptedException {
    process.destroy();
    if (!process.waitFor(SECONDS_MAX, TimeUnit.SECONDS)) {
      process.destroyForcibly().waitFor();
    }
  }

  /** Lets the server answer nothing while something runs. */
  void hanging(Body body) throws Exception {
    signal("STOP");
    try {
      while (!stopped()) {
        Thread.sleep(5);
      }
      body.run();
    } finally {
      signal("CONT");
    }
  }

  interface Body {
    void run() throws Exception;
  }

  @Override
  public void close() throws Exception {
    channel.shutdownNow();
    stop();
    try (Stream<Path> files = Files.walk(home)) {
      for (Path file : files.sorted(Comparator.reverseOrder()).toList()) {
        Files.deleteIfExists(file);
      }
    }
  }

  /** Whether all threads of the server have. */
  private boolean stopped() throws IOException {
    try (Stream<Path> threads = Files.list(Path.of("/proc/" + process.pid() + "/task"))) {
      for (Path thread : threads.toList()) {
        String stat = Files.readString(thread.resolve("stat"));
        if (stat.charAt(stat.lastIndexOf(')') + 2) != 'T') {
          return false;
        }
      }
      return true;
    }
  }

  private void signal(String name) throws Exception {
    String command = "kill -" + name + " " + process.pid();
    if (new ProcessBuilder(List.of("sh", "-c", command)).start().waitFor() != 0) {
      throw new IOException(command);
    }
  }

  private static String listening(BufferedReader out) {
    return out.lines()
        .filter(line -> line.startsWith(LISTENING))
        .findFirst()
        .orElseThrow()
        .substring(LISTENING.length())
        .strip();
  }

  private static String binary() {
    String named = System.getenv("TOKEN_AUTHORITY_TEST_BINARY");
    return named != null ? named : "../../target/debug/token-authority";
  }
}
