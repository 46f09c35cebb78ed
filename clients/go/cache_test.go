package tokenauthority

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
	pb "tokenauthority.example/go/gen/tokenauthority/v1"
)

func answered(token string, ttl time.Duration) *pb.ValidateResponse {
	return &pb.ValidateResponse{
		Valid: true, Verdict: pb.Verdict_VERDICT_VALID,
		Token: &pb.Token{TokenId: token}, CacheTtl: durationpb.New(ttl),
	}
}

func about(secret string) question { return questionOf(&pb.ValidateRequest{Secret: secret}) }

func TestCacheIsBoundedAndForgetsWhatIsLeastUsed(t *testing.T) {
	kept := newCache(2)
	now := time.Now()
	for _, secret := range []string{"a", "b"} {
		kept.land(kept.begin(now), about(secret), answered(secret, time.Minute))
	}
	if kept.get(about("a"), now) == nil {
		t.Fatal("a is forgotten")
	}
	kept.land(kept.begin(now), about("c"), answered("c", time.Minute))
	if kept.get(about("b"), now) != nil || kept.get(about("a"), now) == nil || kept.get(about("c"), now) == nil {
		t.Fatal("not the one that was least used is forgotten")
	}
	if len(kept.entries) != 2 || len(kept.tokens) != 2 || kept.recent.Len() != 2 || len(kept.flights) != 0 {
		t.Fatal("more is kept than may be")
	}
}

func TestCacheEndsWithTheTtlCountedFromTheQuestion(t *testing.T) {
	kept := newCache(2)
	asked := time.Now()
	kept.land(kept.begin(asked), about("a"), answered("a", time.Minute))
	if kept.get(about("a"), asked.Add(time.Minute-1)) == nil || kept.get(about("a"), asked.Add(time.Minute)) != nil {
		t.Fatal("not for exactly a minute")
	}
	for _, answer := range []*pb.ValidateResponse{nil, answered("b", 0), {CacheTtl: durationpb.New(time.Minute)}} {
		kept.land(kept.begin(asked), about("b"), answer)
		if kept.get(about("b"), asked) != nil {
			t.Fatalf("remembered: %v", answer)
		}
	}
}

func TestAnEventMeanwhileKeepsAnAnswerFromBeingRemembered(t *testing.T) {
	kept := newCache(9)
	now := time.Now()
	changed, other := kept.begin(now), kept.begin(now)
	kept.drop("a")
	kept.land(changed, about("a"), answered("a", time.Minute))
	kept.land(other, about("b"), answered("b", time.Minute))
	if kept.get(about("a"), now) != nil || kept.get(about("b"), now) == nil {
		t.Fatal("an answer from before the event is remembered, or one of another token is not")
	}
	late := kept.begin(now)
	kept.clear()
	kept.land(late, about("a"), answered("a", time.Minute))
	if kept.get(about("a"), now) != nil || kept.get(about("b"), now) != nil || len(kept.tokens) != 0 {
		t.Fatal("something is left")
	}
}

func TestQuestionsThatDifferInAnythingJudgedAreDifferent(t *testing.T) {
	asked := []*pb.ValidateRequest{
		{}, {Secret: "a"}, {Namespace: "a"}, {Owner: "a"}, {Method: "a"}, {Path: "a"}, {ClientIp: "a"},
		{RequiredScopes: []string{"a"}}, {RequiredScopes: []string{"a", "a"}}, {RequiredScopes: []string{"aa"}},
		{RequiredScopes: []string{""}}, {Secret: "aa"}, {Secret: "a", Namespace: "a"},
	}
	seen := map[question]int{}
	for number, one := range asked {
		if same, twice := seen[questionOf(one)]; twice {
			t.Fatalf("%v is %v", one, asked[same])
		}
		seen[questionOf(one)] = number
	}
}

func TestVerdictsBecomeTheCodesOfTheirComments(t *testing.T) {
	if Code(99) != codes.PermissionDenied || Code(pb.Verdict_VERDICT_UNSPECIFIED) != codes.PermissionDenied {
		t.Fatal("an unknown verdict is no refusal")
	}
	if refused(&pb.ValidateResponse{}) == nil || refused(&pb.ValidateResponse{Verdict: pb.Verdict_VERDICT_VALID}) == nil {
		t.Fatal("an empty answer lets through")
	}
	for number, name := range pb.Verdict_name {
		code := Code(pb.Verdict(number))
		want := codes.PermissionDenied
		switch {
		case name == "VERDICT_VALID":
			want = codes.OK
		case strings.HasSuffix(name, "_LIMITED"), strings.HasSuffix(name, "_EXHAUSTED"):
			want = codes.ResourceExhausted
		case number >= 2 && number <= 8:
			want = codes.Unauthenticated
		}
		if code != want {
			t.Errorf("%s is %v", name, code)
		}
	}
}

func TestALimitThatNeverPassesIsNotToBeTriedAgain(t *testing.T) {
	limited := &pb.ValidateResponse{Verdict: pb.Verdict_VERDICT_RATE_LIMITED, RateLimits: []*pb.RateLimitStatus{{}}}
	no := refused(limited)
	if got := no.trailer.Get(pushbackKey); len(got) != 1 || got[0] != "-1" || len(no.status.Details()) != 1 {
		t.Fatalf("%v %v", got, no.status)
	}
}

func TestOnlyGuessingIsTheCallersAffair(t *testing.T) {
	told := func(code codes.Code, reason string) error {
		details := []protoadapt.MessageV1{errorInfo(reason), &errdetails.RetryInfo{RetryDelay: durationpb.New(1500 * time.Microsecond)}}
		return with(status.New(code, "of the authority"), details).Err()
	}
	guessed := unanswered(t.Context(), told(codes.ResourceExhausted, reasonGuessed))
	if guessed.status.Code() != codes.ResourceExhausted || guessed.trailer.Get(pushbackKey)[0] != "2" {
		t.Fatalf("%v %v", guessed.status, guessed.trailer)
	}
	for _, err := range []error{
		told(codes.Unauthenticated, reasonCredential), told(codes.ResourceExhausted, "ERROR_REASON_CALLER_LIMITED"),
		status.Error(codes.PermissionDenied, ""), context.DeadlineExceeded,
	} {
		if no := unanswered(t.Context(), err); no.status.Code() != codes.Unavailable {
			t.Errorf("%v becomes %v", err, no.status)
		}
	}
}

func TestTheSecretOfCredentialsIsNotPrinted(t *testing.T) {
	for _, printed := range []string{fmt.Sprint(Bearer("hush")), fmt.Sprintf("%v", PlaintextBearer("hush"))} {
		if strings.Contains(printed, "hush") {
			t.Fatal(printed)
		}
	}
}
