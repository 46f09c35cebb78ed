package tokenauthority_test

import (
	"bufio"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	tokenauthority "tokenauthority.example/go"
	pb "tokenauthority.example/go/gen/tokenauthority/v1"
)

const (
	startTimeout = 30 * time.Second
	patience     = 10 * time.Second
	cacheAllowed = "[namespaces.default]\ncache_ttl = \"10m\"\n"
)

// authority is a real server on a store of its own, and a client of it that is root.
type authority struct {
	address string
	root    string
	client  pb.TokenServiceClient
	process *exec.Cmd
	ended   chan struct{}
}

func binary(t *testing.T) string {
	t.Helper()
	named := os.Getenv("TOKEN_AUTHORITY_TEST_BINARY")
	if named == "" {
		named = "../../target/debug/token-authority"
	}
	path, err := filepath.Abs(named)
	must(t, err)
	return path
}

// serve starts the authority with a configuration, and ends it with the test.
func serve(t *testing.T, config string) *authority {
	t.Helper()
	home := t.TempDir()
	file, rootFile := filepath.Join(home, "config.toml"), filepath.Join(home, "root-token")
	must(t, os.WriteFile(file, []byte(config), 0o600))
	process := exec.Command(binary(t), "serve", "--config", file, "--listen", "127.0.0.1:0",
		"--store", "sqlite:"+filepath.Join(home, "store.db"), "--root-token-file", rootFile)
	log, err := os.Create(filepath.Join(home, "log"))
	must(t, err)
	defer log.Close()
	process.Env, process.Dir, process.Stderr = cleanEnvironment(home), home, log
	stdout, err := process.StdoutPipe()
	must(t, err)
	must(t, process.Start())
	started := &authority{process: process, ended: make(chan struct{})}
	t.Cleanup(started.stop)
	listening := make(chan string, 1)
	go func() {
		defer close(started.ended)
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if address, is := strings.CutPrefix(lines.Text(), "listening on "); is {
				listening <- address
			}
		}
		_ = process.Wait()
	}()
	select {
	case started.address = <-listening:
	case <-started.ended:
		t.Fatal("the server ended before it listened")
	case <-time.After(startTimeout):
		t.Fatal("the server did not listen in time")
	}
	root, err := os.ReadFile(rootFile)
	must(t, err)
	started.root = strings.TrimSpace(string(root))
	started.client = connect(t, started.address, started.root)
	return started
}

// stop ends the server, and waits for it.
func (a *authority) stop() {
	_ = a.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-a.ended:
	case <-time.After(patience):
		_ = a.process.Process.Kill()
		<-a.ended
	}
}

func cleanEnvironment(home string) []string {
	environment := []string{"HOME=" + home}
	for _, variable := range os.Environ() {
		name, _, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, "TOKEN_AUTHORITY_") && name != "HOME" && name != "XDG_CONFIG_HOME" {
			environment = append(environment, variable)
		}
	}
	return environment
}

func connect(t *testing.T, address, secret string, options ...grpc.DialOption) pb.TokenServiceClient {
	t.Helper()
	options = append(options,
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithPerRPCCredentials(tokenauthority.PlaintextBearer(secret)),
		grpc.WithDefaultServiceConfig(tokenauthority.ServiceConfig))
	connection, err := grpc.NewClient(address, options...)
	must(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	return pb.NewTokenServiceClient(connection)
}

// token is a new one with these scopes: its id and its secret.
func (a *authority) token(t *testing.T, wanted *pb.CreateRequest) (string, string) {
	t.Helper()
	created, err := a.client.Create(t.Context(), wanted)
	must(t, err)
	return created.GetToken().GetTokenId(), created.GetSecret()
}

// guardian connects as a token that may judge and watch, and nothing else, and counts what it asks.
func (a *authority) guardian(t *testing.T) (pb.TokenServiceClient, *atomic.Int64) {
	t.Helper()
	scopes := []string{"authority:validate", "authority:read"}
	_, secret := a.token(t, &pb.CreateRequest{Name: "guard", Scopes: scopes})
	asked := &atomic.Int64{}
	counting := func(ctx context.Context, method string, request, answer any, connection *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
		asked.Add(1)
		return invoke(ctx, method, request, answer, connection, options...)
	}
	return connect(t, a.address, secret, grpc.WithUnaryInterceptor(counting)), asked
}

// guarded serves health behind a guard, as a service of somebody's own would be, and answers a caller
// of it by its secret.
func guarded(t *testing.T, guard *tokenauthority.Guard) grpc_health_v1.HealthClient {
	t.Helper()
	server := grpc.NewServer(
		grpc.UnaryInterceptor(guard.UnaryServerInterceptor()),
		grpc.StreamInterceptor(guard.StreamServerInterceptor()))
	grpc_health_v1.RegisterHealthServer(server, health.NewServer())
	return grpc_health_v1.NewHealthClient(listenAndConnect(t, server))
}

func listenAndConnect(t *testing.T, server *grpc.Server) *grpc.ClientConn {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	connection, err := grpc.NewClient(listener.Addr().String(),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	must(t, err)
	t.Cleanup(func() { _ = connection.Close() })
	return connection
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// until waits for a condition.
func until(t *testing.T, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
