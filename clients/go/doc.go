// Package tokenauthority guards gRPC servers with the token authority, and holds leases of pooled
// tokens.
//
// A [Guard] judges each incoming call before its handler runs: the secret in the call's metadata,
// the full method as the path, and the address of the peer. It fails closed: where no verdict is to
// be had within its timeout, the call ends with UNAVAILABLE.
//
//	connection, err := grpc.NewClient(target, grpc.WithTransportCredentials(tls),
//		grpc.WithPerRPCCredentials(tokenauthority.Bearer(secret)),
//		grpc.WithDefaultServiceConfig(tokenauthority.ServiceConfig))
//	guard := tokenauthority.NewGuard(pb.NewTokenServiceClient(connection))
//	go guard.Watch(ctx)
//	server := grpc.NewServer(grpc.UnaryInterceptor(guard.UnaryServerInterceptor()),
//		grpc.StreamInterceptor(guard.StreamServerInterceptor()))
//
// A [Lease] is held by beats until it is released or lost; a [Gate] lets a protected resource refuse
// those who lost theirs.
//
// The stubs are generated: see the directive below, and clients/README.md.
package tokenauthority

//go:generate sh -c "cd ../.. && buf generate --template clients/go/buf.gen.yaml"
