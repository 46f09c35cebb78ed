package tokenauthority

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	pb "tokenauthority.example/go/gen/tokenauthority/v1"
)

// ErrLeaseLost is the cause that ends a lost lease's context.
var ErrLeaseLost = errors.New("the lease is lost")

const (
	beatPauseMin = 50 * time.Millisecond
	beatTimeout  = 5 * time.Second
)

// Lease is a token of a pool that nobody else holds, kept by beats until Release, or until it is lost.
//
// It counts as held for two thirds of what the authority last said was left, by this machine's own
// monotonic clock and from before the beat was sent: so its holder stops before another can begin.
type Lease struct {
	authority pb.TokenServiceClient
	acquired  *pb.AcquireResponse
	ctx       context.Context
	end       context.CancelCauseFunc
	stopped   chan struct{}

	mu    sync.Mutex
	until time.Time
}

// Hold acquires a lease and keeps it. The request is named where it has no request_id, so that it may be
// repeated. ctx ends the beats and the lease's context, not the lease: that is what Release is for.
func Hold(ctx context.Context, authority pb.TokenServiceClient, wanted *pb.AcquireRequest) (*Lease, error) {
	if wanted.GetRequestId() == "" {
		wanted = proto.Clone(wanted).(*pb.AcquireRequest)
		wanted.RequestId = rand.Text()
	}
	acquired, err := authority.Acquire(ctx, wanted)
	if err != nil {
		return nil, err
	}
	held, end := context.WithCancelCause(ctx)
	lease := &Lease{authority: authority, acquired: acquired, ctx: held, end: end, stopped: make(chan struct{})}
	// How long it waited in Acquire is not known, so that only a beat says how long it may be used.
	due, err := lease.beat(beatTimeout)
	if err != nil {
		end(err)
		close(lease.stopped)
		return nil, errors.Join(err, lease.giveBack(context.WithoutCancel(ctx)))
	}
	go lease.keep(due)
	return lease, nil
}

// Token is the leased token.
func (l *Lease) Token() *pb.Token { return l.acquired.GetToken() }

// Secret is valid for exactly this lease.
func (l *Lease) Secret() string { return l.acquired.GetSecret() }

// Fence is greater than that of every lease of the token before: show it to a [Gate].
func (l *Lease) Fence() uint64 { return l.acquired.GetLease().GetFence() }

// Context ends when the lease is lost, with the cause ErrLeaseLost, or released. Work under it.
func (l *Lease) Context() context.Context { return l.ctx }

// Check is nil while the lease is held. Ask before each step that must not be done twice.
func (l *Lease) Check() error {
	if l.ctx.Err() != nil {
		return context.Cause(l.ctx)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if !time.Now().Before(l.until) {
		return ErrLeaseLost
	}
	return nil
}

// Release ends the beats, then the lease. Releasing a lost one does nothing.
func (l *Lease) Release(ctx context.Context) error {
	l.end(context.Canceled)
	<-l.stopped
	return l.giveBack(ctx)
}

func (l *Lease) giveBack(ctx context.Context) error {
	bounded, cancel := context.WithTimeout(ctx, beatTimeout)
	defer cancel()
	target := &pb.ReleaseRequest_LeaseId{LeaseId: l.acquired.GetLease().GetLeaseId()}
	_, err := l.authority.Release(bounded, &pb.ReleaseRequest{Target: target})
	return err
}

// keep beats until the lease's context ends, and ends it when the lease is lost.
func (l *Lease) keep(due time.Duration) {
	defer close(l.stopped)
	for {
		select {
		case <-l.ctx.Done():
			return
		case <-time.After(due):
		}
		left := l.left()
		if left <= 0 {
			l.end(ErrLeaseLost)
			return
		}
		next, err := l.beat(min(left, beatTimeout))
		switch status.Code(err) {
		case codes.OK:
			due = next
		case codes.FailedPrecondition, codes.NotFound:
			l.end(fmt.Errorf("%w: %w", ErrLeaseLost, err))
			return
		default:
			// The outcome is unknown: again, until it would be too late.
			due = min(max(l.left()/4, beatPauseMin), max(l.left(), 0))
		}
	}
}

func (l *Lease) left() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Until(l.until)
}

// beat answers when to beat again.
func (l *Lease) beat(timeout time.Duration) (time.Duration, error) {
	bounded, cancel := context.WithTimeout(l.ctx, timeout)
	defer cancel()
	asked := time.Now()
	target := &pb.KeepAliveRequest_LeaseId{LeaseId: l.acquired.GetLease().GetLeaseId()}
	kept, err := l.authority.KeepAlive(bounded, &pb.KeepAliveRequest{Target: target})
	if err != nil {
		return 0, err
	}
	third := kept.GetNextBeatAfter().AsDuration()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = asked.Add(2 * third)
	return time.Until(asked.Add(third)), nil
}
