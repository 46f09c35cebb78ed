package tokenauthority

import (
	"context"
	"math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	pb "tokenauthority.example/go/gen/tokenauthority/v1"
)

const (
	cursorKey       = "watch-cursor"
	watchPauseMin   = 100 * time.Millisecond
	watchPauseMax   = 10 * time.Second
	watchPauseTimes = 2
)

// Watch follows what happens to tokens, and forgets at once what is remembered of a token that
// something happened to. It goes on, behind the last event, until ctx ends or the authority says that
// this caller may not watch, and answers which. Run it in a goroutine of its own.
//
// Without it, or while it cannot reach the authority, remembered answers live on for the rest of their
// cache_ttl, and a revocation shows late by at most that, as the operator allowed.
func (g *Guard) Watch(ctx context.Context) error {
	cursor, pause := "", watchPauseMin
	for {
		heard, err := g.follow(ctx, &cursor)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		switch status.Code(err) {
		case codes.PermissionDenied, codes.Unauthenticated, codes.Unimplemented, codes.InvalidArgument:
			return err
		case codes.OutOfRange:
			// What happened meanwhile is not told.
			cursor = ""
			g.cache.clear()
		}
		if heard {
			pause = watchPauseMin
		}
		g.log.WarnContext(ctx, "events are not heard, and asked for again", "error", err, "pause", pause)
		jittered := pause/2 + rand.N(pause)
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(jittered):
		}
		pause = min(pause*watchPauseTimes, watchPauseMax)
	}
}

// follow reads one stream to its end, and answers whether it began.
func (g *Guard) follow(ctx context.Context, cursor *string) (bool, error) {
	fresh := *cursor == ""
	stream, err := g.authority.Watch(ctx, &pb.WatchRequest{Namespace: g.namespace, Cursor: *cursor})
	if err != nil {
		return false, err
	}
	header, err := stream.Header()
	if err != nil {
		return false, err
	}
	if begins := header.Get(cursorKey); len(begins) > 0 {
		*cursor = begins[0]
		if fresh {
			// What was remembered before the stream began may have changed unheard.
			g.cache.clear()
		}
	}
	for heard := len(header.Get(cursorKey)) > 0; ; heard = true {
		event, err := stream.Recv()
		if err != nil {
			return heard, err
		}
		*cursor = event.GetCursor()
		if token := event.GetToken().GetTokenId(); token != "" {
			g.cache.drop(token)
		}
	}
}
