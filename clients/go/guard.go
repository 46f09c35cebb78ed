package tokenauthority

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	pb "tokenauthority.example/go/gen/tokenauthority/v1"
)

const (
	defaultTimeout    = time.Second
	defaultMaxEntries = 10_000
	secretBytesMax    = 512
	userAgentBytesMax = 512
	requestIDBytesMax = 128
)

// Guard judges the calls that come to a server. It may be used by many goroutines at once.
type Guard struct {
	authority  pb.TokenServiceClient
	cache      *cache
	log        *slog.Logger
	maxEntries int
	namespace  string
	public     map[string]struct{}
	scopes     func(fullMethod string) []string
	timeout    time.Duration
}

// Option changes how a Guard judges.
type Option func(*Guard)

// WithTimeout bounds how long a verdict is waited for, retries included: 1 second by default. A call
// with a shorter deadline waits no longer than that.
func WithTimeout(timeout time.Duration) Option { return func(g *Guard) { g.timeout = timeout } }

// WithScopes asks for scopes that the token must grant, by the full method of the call.
func WithScopes(required func(fullMethod string) []string) Option {
	return func(g *Guard) { g.scopes = required }
}

// WithNamespace is where tokens must live, and whose events are watched: that of the guard's own token
// by default, `-` for all.
func WithNamespace(namespace string) Option { return func(g *Guard) { g.namespace = namespace } }

// WithPublicMethods lets these full methods, such as `/grpc.health.v1.Health/Check`, pass unjudged.
func WithPublicMethods(fullMethods ...string) Option {
	return func(g *Guard) {
		for _, method := range fullMethods {
			g.public[method] = struct{}{}
		}
	}
}

// WithMaxEntries bounds how many answers are remembered: 10 000 by default, 0 for none.
func WithMaxEntries(entries int) Option { return func(g *Guard) { g.maxEntries = entries } }

// WithLogger is told why calls could not be judged, and how Watch goes; never a secret.
func WithLogger(log *slog.Logger) Option { return func(g *Guard) { g.log = log } }

// NewGuard asks this authority. Its connection must present a token with the permission `validate`, and
// `read` for Watch.
func NewGuard(authority pb.TokenServiceClient, options ...Option) *Guard {
	guard := &Guard{
		authority:  authority,
		log:        slog.New(slog.DiscardHandler),
		maxEntries: defaultMaxEntries,
		public:     map[string]struct{}{},
		scopes:     func(string) []string { return nil },
		timeout:    defaultTimeout,
	}
	for _, option := range options {
		option(guard)
	}
	guard.cache = newCache(guard.maxEntries)
	return guard
}

// judge answers what the authority, or what is remembered of it, says of a call.
func (g *Guard) judge(ctx context.Context, fullMethod string) (*pb.ValidateResponse, *refusal) {
	asked := g.questionAbout(ctx, fullMethod)
	if asked == nil {
		return nil, unasked()
	}
	if len(asked.GetSecret()) > secretBytesMax {
		return nil, refused(&pb.ValidateResponse{Verdict: pb.Verdict_VERDICT_MALFORMED})
	}
	answer, err := g.ask(ctx, asked)
	if err != nil {
		g.log.WarnContext(ctx, "a call cannot be judged", "method", fullMethod, "error", err)
		return nil, unanswered(ctx, err)
	}
	return answer, refused(answer)
}

func (g *Guard) ask(ctx context.Context, asked *pb.ValidateRequest) (*pb.ValidateResponse, error) {
	key := questionOf(asked)
	if known := g.cache.get(key, time.Now()); known != nil {
		return known, nil
	}
	begun := g.cache.begin(time.Now())
	bounded, cancel := context.WithTimeout(ctx, g.timeout)
	defer cancel()
	answer, err := g.authority.Validate(bounded, asked)
	g.cache.land(begun, key, answer)
	return answer, err
}

// questionAbout is nil where the call presents no secret, or two different ones.
func (g *Guard) questionAbout(ctx context.Context, fullMethod string) *pb.ValidateRequest {
	headers, _ := metadata.FromIncomingContext(ctx)
	secret, one := presented(headers)
	if !one {
		return nil
	}
	return &pb.ValidateRequest{
		Secret:         secret,
		Namespace:      g.namespace,
		RequiredScopes: g.scopes(fullMethod),
		Method:         "POST",
		Path:           fullMethod,
		ClientIp:       addressOf(ctx),
		UserAgent:      cut(first(headers, "user-agent"), userAgentBytesMax),
		RequestId:      traceable(first(headers, "x-request-id")),
	}
}

// presented is the one secret in `authorization: Bearer` and `x-api-key`.
func presented(headers metadata.MD) (string, bool) {
	found := headers.Get("x-api-key")
	for _, value := range headers.Get("authorization") {
		if scheme, secret, _ := strings.Cut(value, " "); strings.EqualFold(scheme, "Bearer") {
			found = append(found, strings.TrimSpace(secret))
		}
	}
	slices.Sort(found)
	found = slices.Compact(found)
	if len(found) != 1 {
		return "", false
	}
	return found[0], found[0] != ""
}

// addressOf is that of the peer, and empty where it has none, as on a Unix socket. Behind a proxy it is
// the proxy's.
func addressOf(ctx context.Context) string {
	from, known := peer.FromContext(ctx)
	if !known || from.Addr == nil {
		return ""
	}
	host, _, err := net.SplitHostPort(from.Addr.String())
	if err != nil {
		return ""
	}
	address, err := netip.ParseAddr(host)
	if err != nil {
		return ""
	}
	return address.WithZone("").String()
}

func first(headers metadata.MD, key string) string {
	if values := headers.Get(key); len(values) > 0 {
		return values[0]
	}
	return ""
}

func cut(text string, bytes int) string {
	return strings.ToValidUTF8(text[:min(len(text), bytes)], "")
}

// traceable is the id where the authority would take it, else empty.
func traceable(id string) string {
	unseen := func(char rune) bool { return char <= ' ' || char > '~' }
	if len(id) > requestIDBytesMax || strings.ContainsFunc(id, unseen) {
		return ""
	}
	return id
}
