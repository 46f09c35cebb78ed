package tokenauthority

import (
	"context"

	"google.golang.org/grpc"
	pb "tokenauthority.example/go/gen/tokenauthority/v1"
)

type answerKey struct{}

// FromContext answers what let the call of a handler pass: its token, without its secret, is
// GetToken. Absent for public methods. It is shared, so it must not be changed.
func FromContext(ctx context.Context) (*pb.ValidateResponse, bool) {
	answer, found := ctx.Value(answerKey{}).(*pb.ValidateResponse)
	return answer, found
}

// UnaryServerInterceptor judges each call before its handler runs.
func (g *Guard) UnaryServerInterceptor() grpc.UnaryServerInterceptor {
	return func(ctx context.Context, request any, info *grpc.UnaryServerInfo, handle grpc.UnaryHandler) (any, error) {
		if g.isPublic(info.FullMethod) {
			return handle(ctx, request)
		}
		answer, no := g.judge(ctx, info.FullMethod)
		if no != nil {
			// It fails only outside of a call.
			_ = grpc.SetTrailer(ctx, no.trailer)
			return nil, no.status.Err()
		}
		return handle(context.WithValue(ctx, answerKey{}, answer), request)
	}
}

// StreamServerInterceptor judges each stream once, when it is opened; a stream that was let through is
// not ended when its token is.
func (g *Guard) StreamServerInterceptor() grpc.StreamServerInterceptor {
	return func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handle grpc.StreamHandler) error {
		if g.isPublic(info.FullMethod) {
			return handle(server, stream)
		}
		answer, no := g.judge(stream.Context(), info.FullMethod)
		if no != nil {
			stream.SetTrailer(no.trailer)
			return no.status.Err()
		}
		judged := context.WithValue(stream.Context(), answerKey{}, answer)
		return handle(server, &judgedStream{stream, judged})
	}
}

func (g *Guard) isPublic(fullMethod string) bool {
	_, public := g.public[fullMethod]
	return public
}

type judgedStream struct {
	grpc.ServerStream
	ctx context.Context
}

func (s *judgedStream) Context() context.Context { return s.ctx }
