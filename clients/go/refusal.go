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

	reasonCredential = "ERROR_REASON_CREDENTIAL_INVALID"
	reasonGuessed    = "ERROR_REASON_FAILURES_LIMITED"

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
		after, ever := retryAfter(answer.GetRateLimits())
		if ever {
			details = append(details, &errdetails.RetryInfo{RetryDelay: durationpb.New(after)})
		}
		// A cost above a burst never passes.
		trailer = pushback(after, ever)
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
// server, such as that its own credential is not in force, is not the caller's affair; that too many
// wrong secrets came from the caller's address is.
func unanswered(ctx context.Context, err error) *refusal {
	if cause := ctx.Err(); cause != nil && errors.Is(cause, context.Canceled) {
		return &refusal{status: status.FromContextError(cause)}
	}
	guessed := false
	var hint *errdetails.RetryInfo
	for _, detail := range status.Convert(err).Details() {
		switch detail := detail.(type) {
		case *errdetails.RetryInfo:
			hint = detail
		case *errdetails.ErrorInfo:
			guessed = detail.GetDomain() == Domain && detail.GetReason() == reasonGuessed
		}
	}
	var hints []protoadapt.MessageV1
	if hint != nil {
		hints = append(hints, hint)
	}
	if !guessed {
		details := append([]protoadapt.MessageV1{errorInfo(ReasonUnavailable)}, hints...)
		return &refusal{status: with(status.New(codes.Unavailable, "the token cannot be judged now"), details)}
	}
	details := append([]protoadapt.MessageV1{errorInfo(reasonGuessed)}, hints...)
	told := status.New(codes.ResourceExhausted, "too many unknown secrets came from this address")
	return &refusal{with(told, details), pushback(hint.GetRetryDelay().AsDuration(), hint != nil)}
}

// unasked is what a call ends with that presents no secret, or two different ones.
func unasked() *refusal {
	told := "present one token, in `authorization` (`Bearer <secret>`) or in `x-api-key`"
	details := []protoadapt.MessageV1{errorInfo(reasonCredential)}
	return &refusal{status: with(status.New(codes.Unauthenticated, told), details)}
}

// pushback says when to try again; -1 keeps clients from it.
func pushback(after time.Duration, ever bool) metadata.MD {
	if !ever {
		return metadata.Pairs(pushbackKey, "-1")
	}
	milliseconds := (after + time.Millisecond - 1) / time.Millisecond
	return metadata.Pairs(pushbackKey, strconv.FormatInt(int64(milliseconds), 10))
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
