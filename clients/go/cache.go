package tokenauthority

import (
	"container/list"
	"crypto/sha256"
	"encoding/binary"
	"sync"
	"time"

	"google.golang.org/protobuf/proto"
	pb "tokenauthority.example/go/gen/tokenauthority/v1"
)

// question names what was asked, the secret included, without holding it.
type question [sha256.Size]byte

// questionOf digests all that a verdict may depend on, each part behind its length. What is only
// traced, the user agent and the request id, is left out.
func questionOf(asked *pb.ValidateRequest) question {
	parts := []string{
		asked.GetSecret(), asked.GetNamespace(), asked.GetOwner(),
		asked.GetMethod(), asked.GetPath(), asked.GetClientIp(),
	}
	parts = append(parts, asked.GetRequiredScopes()...)
	hash := sha256.New()
	var length [8]byte
	for _, part := range parts {
		binary.BigEndian.PutUint64(length[:], uint64(len(part)))
		hash.Write(length[:])
		hash.Write([]byte(part))
	}
	return question(hash.Sum(nil))
}

// cache remembers answers for as long as their cache_ttl says, at most so many, and forgets the one
// that was not used for longest.
type cache struct {
	mu      sync.Mutex
	max     int
	entries map[question]*list.Element
	tokens  map[string]map[question]struct{}
	recent  *list.List
	flights map[*flight]struct{}
}

type entry struct {
	question question
	answer   *pb.ValidateResponse
	until    time.Time
}

// flight is a question on its way. An event that comes meanwhile may be newer than the answer.
type flight struct {
	asked   time.Time
	changed map[string]struct{}
	all     bool
}

func newCache(max int) *cache {
	return &cache{
		max:     max,
		entries: map[question]*list.Element{},
		tokens:  map[string]map[question]struct{}{},
		recent:  list.New(),
		flights: map[*flight]struct{}{},
	}
}

// get answers what is remembered and still in force. Whoever gets it must not change it.
func (c *cache) get(asked question, now time.Time) *pb.ValidateResponse {
	c.mu.Lock()
	defer c.mu.Unlock()
	element, found := c.entries[asked]
	if !found {
		return nil
	}
	known := element.Value.(*entry)
	if !now.Before(known.until) {
		c.remove(element)
		return nil
	}
	c.recent.MoveToFront(element)
	return known.answer
}

// begin notes that a question is being asked. The flight must be landed.
func (c *cache) begin(now time.Time) *flight {
	c.mu.Lock()
	defer c.mu.Unlock()
	begun := &flight{asked: now, changed: map[string]struct{}{}}
	c.flights[begun] = struct{}{}
	return begun
}

// land remembers what a question was answered, where it may be remembered; answer is nil where there
// is none.
func (c *cache) land(begun *flight, asked question, answer *pb.ValidateResponse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.flights, begun)
	ttl := answer.GetCacheTtl().AsDuration()
	if c.max < 1 || ttl <= 0 || !answer.GetValid() || begun.all {
		return
	}
	token := answer.GetToken().GetTokenId()
	if _, changed := begun.changed[token]; changed {
		return
	}
	if element, found := c.entries[asked]; found {
		c.remove(element)
	}
	for c.recent.Len() >= c.max {
		c.remove(c.recent.Back())
	}
	kept := proto.Clone(answer).(*pb.ValidateResponse)
	c.entries[asked] = c.recent.PushFront(&entry{asked, kept, begun.asked.Add(ttl)})
	if c.tokens[token] == nil {
		c.tokens[token] = map[question]struct{}{}
	}
	c.tokens[token][asked] = struct{}{}
}

// drop forgets all answers about a token, those on their way too.
func (c *cache) drop(token string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for begun := range c.flights {
		begun.changed[token] = struct{}{}
	}
	for asked := range c.tokens[token] {
		c.remove(c.entries[asked])
	}
}

// clear forgets everything.
func (c *cache) clear() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for begun := range c.flights {
		begun.all = true
	}
	clear(c.entries)
	clear(c.tokens)
	c.recent.Init()
}

func (c *cache) remove(element *list.Element) {
	gone := c.recent.Remove(element).(*entry)
	delete(c.entries, gone.question)
	token := gone.answer.GetToken().GetTokenId()
	delete(c.tokens[token], gone.question)
	if len(c.tokens[token]) == 0 {
		delete(c.tokens, token)
	}
}
