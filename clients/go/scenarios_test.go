package tokenauthority_test

import (
	"context"
	"errors"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	tokenauthority "tokenauthority.example/go"
	pb "tokenauthority.example/go/gen/tokenauthority/v1"
)

// TestScenarios runs what every client shows, by the names of clients/README.md.
func TestScenarios(t *testing.T) {
	t.Run("valid", valid)
	t.Run("revoked", revoked)
	t.Run("scope_denied", scopeDenied)
	t.Run("rate_limited", rateLimited)
	t.Run("authority_down", authorityDown)
	t.Run("lease_lost", leaseLost)
	t.Run("cached", cached)
	t.Run("dropped_on_watch", droppedOnWatch)
	t.Run("deadline", deadline)
	t.Run("retried", retried)
}

const healthCheck = "/grpc.health.v1.Health/Check"

// call is one of a caller with this secret: its error and its trailer.
func call(t *testing.T, service grpc_health_v1.HealthClient, secret string) (error, metadata.MD) {
	t.Helper()
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "Bearer "+secret)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	var trailer metadata.MD
	_, err := service.Check(ctx, &grpc_health_v1.HealthCheckRequest{}, grpc.Trailer(&trailer))
	return err, trailer
}

// expect holds an error to a code and an ErrorInfo's reason, and answers the RetryInfo.
func expect(t *testing.T, err error, code codes.Code, reason string) *errdetails.RetryInfo {
	t.Helper()
	refused := status.Convert(err)
	if refused.Code() != code {
		t.Fatalf("%v instead of %v", err, code)
	}
	var info *errdetails.ErrorInfo
	var retry *errdetails.RetryInfo
	for _, detail := range refused.Details() {
		switch detail := detail.(type) {
		case *errdetails.ErrorInfo:
			info = detail
		case *errdetails.RetryInfo:
			retry = detail
		}
	}
	if info.GetReason() != reason || info.GetDomain() != "tokenauthority" {
		t.Fatalf("%v instead of the reason %s", info, reason)
	}
	return retry
}

func valid(t *testing.T) {
	server := serve(t, "")
	client, _ := server.guardian(t)
	var path string
	seen := func(method string) []string { path = method; return []string{"orders:read"} }
	service := guarded(t, tokenauthority.NewGuard(client, tokenauthority.WithScopes(seen)))
	_, secret := server.token(t, &pb.CreateRequest{
		Scopes: []string{"orders:*"}, AllowedCidrs: []string{"127.0.0.1/32"}, AllowedEndpoints: []string{healthCheck},
	})
	err, _ := call(t, service, secret)
	must(t, err)
	if path != healthCheck {
		t.Fatalf("scopes were asked for of %q", path)
	}

	ctx := metadata.AppendToOutgoingContext(t.Context(), "x-api-key", secret)
	_, err = service.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
	must(t, err)
	stream, err := service.Watch(ctx, &grpc_health_v1.HealthCheckRequest{})
	must(t, err)
	_, err = stream.Recv()
	expect(t, err, codes.PermissionDenied, "VERDICT_ENDPOINT_DENIED")

	err, _ = call(t, service, "")
	expect(t, err, codes.Unauthenticated, "ERROR_REASON_CREDENTIAL_INVALID")
	err, _ = call(t, service, strings.Repeat("x", 513))
	expect(t, err, codes.Unauthenticated, "VERDICT_MALFORMED")
	both := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer another")
	_, err = service.Check(both, &grpc_health_v1.HealthCheckRequest{})
	expect(t, err, codes.Unauthenticated, "ERROR_REASON_CREDENTIAL_INVALID")
}

func revoked(t *testing.T) {
	server := serve(t, "")
	client, _ := server.guardian(t)
	service := guarded(t, tokenauthority.NewGuard(client))
	id, secret := server.token(t, &pb.CreateRequest{})
	err, _ := call(t, service, secret)
	must(t, err)
	server.revoke(t, id)
	err, _ = call(t, service, secret)
	expect(t, err, codes.Unauthenticated, "VERDICT_REVOKED")
	if strings.Contains(err.Error(), secret) {
		t.Fatal("the refusal tells the secret")
	}
}

func (a *authority) revoke(t *testing.T, id string) {
	t.Helper()
	_, err := a.client.Revoke(t.Context(), &pb.RevokeRequest{Target: &pb.RevokeRequest_TokenId{TokenId: id}})
	must(t, err)
}

func scopeDenied(t *testing.T) {
	server := serve(t, "")
	client, _ := server.guardian(t)
	needs := tokenauthority.WithScopes(func(string) []string { return []string{"refunds:pay"} })
	service := guarded(t, tokenauthority.NewGuard(client, needs))
	_, secret := server.token(t, &pb.CreateRequest{Scopes: []string{"orders:*"}})
	err, _ := call(t, service, secret)
	expect(t, err, codes.PermissionDenied, "VERDICT_SCOPE_DENIED")
}

func rateLimited(t *testing.T) {
	server := serve(t, "")
	client, _ := server.guardian(t)
	service := guarded(t, tokenauthority.NewGuard(client))
	_, secret := server.token(t, &pb.CreateRequest{RateLimits: []*pb.RateLimit{{Requests: 2, Burst: 1}}})
	err, _ := call(t, service, secret)
	must(t, err)
	err, trailer := call(t, service, secret)
	retry := expect(t, err, codes.ResourceExhausted, "VERDICT_RATE_LIMITED")
	if after := retry.GetRetryDelay().AsDuration(); after <= 20*time.Second || after > 30*time.Second {
		t.Fatalf("to be tried again after %v", after)
	}
	if pushback := trailer.Get("grpc-retry-pushback-ms"); len(pushback) != 1 || len(pushback[0]) != len("30000") {
		t.Fatalf("pushback is %v", pushback)
	}
}

func authorityDown(t *testing.T) {
	server := serve(t, "")
	client, _ := server.guardian(t)
	service := guarded(t, tokenauthority.NewGuard(client))
	_, secret := server.token(t, &pb.CreateRequest{})
	err, _ := call(t, service, secret)
	must(t, err)
	server.stop()
	err, _ = call(t, service, secret)
	expect(t, err, codes.Unavailable, tokenauthority.ReasonUnavailable)
}

func leaseLost(t *testing.T) {
	server := serve(t, "")
	id, _ := server.token(t, &pb.CreateRequest{Pool: "gpu"})
	wanted := &pb.AcquireRequest{Pool: "gpu", Holder: "worker", LeaseDuration: durationpb.New(1500 * time.Millisecond)}
	first, err := tokenauthority.Hold(t.Context(), server.client, wanted)
	must(t, err)
	begun := time.Now()
	until(t, "beats outlive the lease's first term", func() bool {
		must(t, first.Check())
		return time.Since(begun) > 2*time.Second
	})
	var gate tokenauthority.Gate
	must(t, gate.Admit(id, first.Fence()))

	_, err = server.client.Release(t.Context(), &pb.ReleaseRequest{Target: &pb.ReleaseRequest_TokenId{TokenId: id}, Force: true})
	must(t, err)
	second, err := tokenauthority.Hold(t.Context(), server.client, wanted)
	must(t, err)
	must(t, gate.Admit(id, second.Fence()))
	if err := gate.Admit(id, first.Fence()); !errors.Is(err, tokenauthority.ErrFenced) {
		t.Fatalf("the first is let through: %v", err)
	}
	select {
	case <-first.Context().Done():
	case <-time.After(patience):
		t.Fatal("the loss is not noticed")
	}
	// A beat was told so; it did not wait for its time to pass.
	if err := first.Check(); !errors.Is(err, tokenauthority.ErrLeaseLost) || status.Code(err) != codes.FailedPrecondition {
		t.Fatalf("lost, and says %v", err)
	}
	must(t, first.Release(t.Context()))
	must(t, second.Check())
	must(t, second.Release(t.Context()))

	third, err := tokenauthority.Hold(t.Context(), server.client, wanted)
	must(t, err)
	server.stop()
	lost := time.Now()
	<-third.Context().Done()
	if !errors.Is(context.Cause(third.Context()), tokenauthority.ErrLeaseLost) || time.Since(lost) > 1500*time.Millisecond {
		t.Fatalf("without an authority, lost after %v: %v", time.Since(lost), context.Cause(third.Context()))
	}
}

func cached(t *testing.T) {
	server := serve(t, "[namespaces.default]\ncache_ttl = \"1s\"\n")
	client, asked := server.guardian(t)
	service := guarded(t, tokenauthority.NewGuard(client))
	_, secret := server.token(t, &pb.CreateRequest{})
	_, other := server.token(t, &pb.CreateRequest{})
	before := time.Now()
	for range 5 {
		err, _ := call(t, service, secret)
		must(t, err)
	}
	if took := time.Since(before); asked.Load() != 1 && took < time.Second {
		t.Fatalf("asked %d times within %v", asked.Load(), took)
	}
	soFar := asked.Load()
	err, _ := call(t, service, other)
	must(t, err)
	if asked.Load() != soFar+1 {
		t.Fatal("another secret was answered as the first")
	}
	time.Sleep(time.Until(before.Add(1100 * time.Millisecond)))
	soFar = asked.Load()
	err, _ = call(t, service, secret)
	must(t, err)
	if asked.Load() != soFar+1 {
		t.Fatal("an answer was repeated beyond its cache_ttl")
	}
	err, _ = call(t, service, secret[:len(secret)-1]+"0")
	expect(t, err, codes.Unauthenticated, "VERDICT_MALFORMED")
	soFar = asked.Load()
	_, _ = call(t, service, secret[:len(secret)-1]+"0")
	if asked.Load() != soFar+1 {
		t.Fatal("a refusal was remembered")
	}
}

func droppedOnWatch(t *testing.T) {
	server := serve(t, cacheAllowed)
	client, asked := server.guardian(t)
	guard := tokenauthority.NewGuard(client)
	service := guarded(t, guard)
	id, secret := server.token(t, &pb.CreateRequest{})
	asks := func() bool {
		soFar := asked.Load()
		err, _ := call(t, service, secret)
		must(t, err)
		return asked.Load() > soFar
	}
	if !asks() || asks() {
		t.Fatal("the answer is not remembered")
	}
	watched := make(chan error, 1)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() { watched <- guard.Watch(ctx) }()
	until(t, "a Watch that begins forgets what was known before it", asks)
	until(t, "an answer is remembered again", func() bool { return !asks() })
	server.revoke(t, id)
	begun := time.Now()
	until(t, "the revocation shows", func() bool {
		err, _ := call(t, service, secret)
		return status.Code(err) == codes.Unauthenticated
	})
	if took := time.Since(begun); took > 5*time.Second {
		t.Fatalf("a revocation shows after %v", took)
	}
	cancel()
	if err := <-watched; !errors.Is(err, context.Canceled) {
		t.Fatalf("Watch ended with %v", err)
	}
}

// deadline asks an authority that takes connections and never answers.
func deadline(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { _ = listener.Close() })
	client := connect(t, listener.Addr().String(), "never-seen")
	service := guarded(t, tokenauthority.NewGuard(client, tokenauthority.WithTimeout(200*time.Millisecond)))
	begun := time.Now()
	err, _ = call(t, service, "any")
	expect(t, err, codes.Unavailable, tokenauthority.ReasonUnavailable)
	if took := time.Since(begun); took > 2*time.Second {
		t.Fatalf("answered after %v", took)
	}
}

// flaky is UNAVAILABLE so many times before it answers.
type flaky struct {
	pb.UnimplementedTokenServiceServer
	left     atomic.Int64
	attempts atomic.Int64
	deadline atomic.Bool
}

func (f *flaky) Validate(ctx context.Context, asked *pb.ValidateRequest) (*pb.ValidateResponse, error) {
	f.attempts.Add(1)
	_, has := ctx.Deadline()
	f.deadline.Store(has)
	headers, _ := metadata.FromIncomingContext(ctx)
	if !slices.Equal(headers.Get("authorization"), []string{"Bearer guard"}) {
		return nil, status.Error(codes.Unauthenticated, "not the guard")
	}
	if f.left.Add(-1) >= 0 {
		return nil, status.Error(codes.Unavailable, "not yet")
	}
	return &pb.ValidateResponse{Valid: true, Verdict: pb.Verdict_VERDICT_VALID}, nil
}

func retried(t *testing.T) {
	authority := &flaky{}
	authority.left.Store(2)
	server := grpc.NewServer()
	pb.RegisterTokenServiceServer(server, authority)
	client := connect(t, listenAndConnect(t, server).Target(), "guard")
	service := guarded(t, tokenauthority.NewGuard(client))
	err, _ := call(t, service, "any")
	must(t, err)
	if attempts := authority.attempts.Load(); attempts != 3 || !authority.deadline.Load() {
		t.Fatalf("%d attempts, with a deadline: %v", attempts, authority.deadline.Load())
	}
	authority.left.Store(100)
	err, _ = call(t, service, "any")
	expect(t, err, codes.Unavailable, tokenauthority.ReasonUnavailable)
	if attempts := authority.attempts.Load(); attempts != 3+4 {
		t.Fatalf("%d attempts where all fail", attempts-3)
	}
}
