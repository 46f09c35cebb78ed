package tokenauthority

import (
	"context"

	"google.golang.org/grpc/credentials"
)

type bearer struct {
	header    string
	plaintext bool
}

// Bearer sends secret with each call to the authority, over TLS only.
func Bearer(secret string) credentials.PerRPCCredentials {
	return bearer{header: "Bearer " + secret}
}

// PlaintextBearer is Bearer for connections without TLS: within this machine, or where something
// else protects what crosses the network.
func PlaintextBearer(secret string) credentials.PerRPCCredentials {
	return bearer{header: "Bearer " + secret, plaintext: true}
}

func (b bearer) GetRequestMetadata(context.Context, ...string) (map[string]string, error) {
	return map[string]string{"authorization": b.header}, nil
}

func (b bearer) RequireTransportSecurity() bool { return !b.plaintext }

// String keeps the secret out of what is printed.
func (b bearer) String() string { return "Bearer …" }
