package tokenauthority

import (
	"errors"
	"sync"
)

// ErrFenced is answered to a holder whose lease is over and was followed by another.
var ErrFenced = errors.New("a later lease was here already")

// Gate stands before a resource that pooled tokens protect: it remembers the greatest fence of each
// token, and refuses lower ones. Its zero value is open.
//
// A real resource keeps these numbers where it keeps its data, and compares in the same transaction.
type Gate struct {
	mu      sync.Mutex
	highest map[string]uint64
}

// Admit is nil for the latest lease of the token that was seen.
func (g *Gate) Admit(token string, fence uint64) error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if fence < g.highest[token] {
		return ErrFenced
	}
	if g.highest == nil {
		g.highest = map[string]uint64{}
	}
	g.highest[token] = fence
	return nil
}
