package tokenauthority_test

import (
	"context"
	"log"
	"net"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/protobuf/types/known/durationpb"
	tokenauthority "tokenauthority.example/go"
	pb "tokenauthority.example/go/gen/tokenauthority/v1"
)

// A server whose every call is judged, but for its health.
func Example() {
	authority, err := grpc.NewClient("authority.example.com:50051",
		grpc.WithTransportCredentials(credentials.NewTLS(nil)),
		grpc.WithPerRPCCredentials(tokenauthority.Bearer(os.Getenv("TOKEN"))),
		grpc.WithDefaultServiceConfig(tokenauthority.ServiceConfig))
	if err != nil {
		log.Fatal(err)
	}
	guard := tokenauthority.NewGuard(pb.NewTokenServiceClient(authority),
		tokenauthority.WithTimeout(500*time.Millisecond),
		tokenauthority.WithPublicMethods("/grpc.health.v1.Health/Check"),
		tokenauthority.WithScopes(func(fullMethod string) []string {
			if fullMethod == "/shop.Orders/Refund" {
				return []string{"refunds:pay"}
			}
			return []string{"orders:read"}
		}))
	go func() { log.Print(guard.Watch(context.Background())) }()
	server := grpc.NewServer(
		grpc.UnaryInterceptor(guard.UnaryServerInterceptor()),
		grpc.StreamInterceptor(guard.StreamServerInterceptor()))
	listener, err := net.Listen("tcp", ":8443")
	if err != nil {
		log.Fatal(err)
	}
	log.Fatal(server.Serve(listener))
}

// A worker that works while it holds a token of a pool, and no longer.
func ExampleHold() {
	var authority pb.TokenServiceClient // as in the other example
	lease, err := tokenauthority.Hold(context.Background(), authority, &pb.AcquireRequest{
		Pool: "gpu", Holder: "worker-1", Wait: durationpb.New(time.Minute),
	})
	if err != nil {
		log.Fatal(err)
	}
	defer func() { _ = lease.Release(context.Background()) }()
	for step := range 3 {
		if err := lease.Check(); err != nil {
			log.Fatal(err)
		}
		log.Printf("step %d with token %s, fence %d", step, lease.Token().GetTokenId(), lease.Fence())
	}
}
