package tokenauthority

import (
	"context"
	"errors"
	"strconv"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
	pb "tokenauthority.example/go/gen/tokenauthority/v1"
)

const (
	// Domain is that of the ErrorInfo in each refusal.
	Domain = "tokenauthority"

	// ReasonUnavailable is the ErrorInfo's reason where no verdict was to be had; else the reason is
	// the name of the verdict.
	ReasonUnavailable = "AUTHORITY_UNAVAILABLE"

	// pushbackKey tells gRPC clients with a retry policy when to try again (gRFC A6).
	pushbackKey = "grpc-retry-pushback-ms"
)

// refusal is why a call is not let through: the status that it ends with, and its trailer.
type refusal struct {
	status  *status.Status
	trailer metadata.MD
}

// Code answers the gRPC code that stands for a verdict, as the comments of Verdict say. A verdict that
// is not known here is a refusal.
func Code(verdict pb.Verdict) codes.Code {
	switch verdict {
	case pb.Verdict_VERDICT_VALID:
		return codes.OK
	case pb.Verdict_VERDICT_MALFORMED, pb.Verdict_VERDICT_NOT_FOUND, pb.Verdict_VERDICT_REVOKED,
		pb.Verdict_VERDICT_DISABLED, pb.Verdict_VERDICT_EXPIRED, pb.Verdict_VERDICT_SUPERSEDED,
		pb.Verdict_VERDICT_LEASE_ENDED:
		return codes.Unauthenticated
	case pb.Verdict_VERDICT_RATE_LIMITED, pb.Verdict_VERDICT_QUOTA_EXHAUSTED:
		return codes.ResourceExhausted
	default:
		return codes.PermissionDenied
	}
}

// refused is nil where the answer lets the call through.
func refused(answer *pb.ValidateResponse) *refusal {
	verdict := answer.GetVerdict()
	code := Code(verdict)
	if code == codes.OK && answer.GetValid() {
		return nil
	}
	if code == codes.OK {
		code = codes.PermissionDenied
	}
	details := []protoadapt.MessageV1{errorInfo(verdict.String())}
	var trailer metadata.MD
	if verdict == pb.Verdict_VERDICT_RATE_LIMITED {
		// -1 keeps clients from trying again: the cost is above a burst, and never passes.
		pushback := "-1"
		if after, ever := retryAfter(answer.GetRateLimits()); ever {
			details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
			milliseconds := (after + time.Millisecond - 1) / time.Millisecond
			pushback = strconv.FormatInt(int64(milliseconds), 10)
		}
		trailer = metadata.Pairs(pushbackKey, pushback)
	}
	return &refusal{with(status.New(code, "the token may not do this: "+verdict.String()), details), trailer}
}

// retryAfter is when all limits that refused would let the call pass, and whether they ever will.
func retryAfter(limits []*pb.RateLimitStatus) (time.Duration, bool) {
	var longest time.Duration
	ever := false
	for _, limit := range limits {
		if limit.GetRetryAfter() != nil {
			longest, ever = max(longest, limit.GetRetryAfter().AsDuration()), true
		}
	}
	return longest, ever
}

// unanswered is what a call ends with that could not be judged. Whatever the authority said of this
// server, such as that its own credential is not in force, is not the caller's affair.
func unanswered(ctx context.Context, err error) *refusal {
	if cause := ctx.Err(); cause != nil && errors.Is(cause, context.Canceled) {
		return &refusal{status: status.FromContextError(cause)}
	}
	details := []protoadapt.MessageV1{errorInfo(ReasonUnavailable)}
	for _, detail := range status.Convert(err).Details() {
		if retry, is := detail.(*errdetails.RetryInfo); is {
			details = append(details, retry)
		}
	}
	return &refusal{status: with(status.New(codes.Unavailable, "the token cannot be judged now"), details)}
}

func errorInfo(reason string) *errdetails.ErrorInfo {
	return &errdetails.ErrorInfo{Reason: reason, Domain: Domain}
}

// with adds details; where they cannot be added the status goes without them.
func with(bare *status.Status, details []protoadapt.MessageV1) *status.Status {
	if detailed, err := bare.WithDetails(details...); err == nil {
		return detailed
	}
	return bare
}
