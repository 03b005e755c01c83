package fleet

import (
	"sync"
	"time"
)

// Sizer decides how many items are served together: as many as take a short time, and
// as the server's lock table has room for. It learns from what items took that were
// served alone, so that the first never share anything. It is safe for concurrent use;
// nil takes in what it is told, and forgets it.
type Sizer struct {
	Workers int           // that serve at once
	Most    int           // items that are served together, at the most; 0 = none
	Aim     time.Duration // how long they are meant to take; 0 = however long
	Share   int           // all workers together fill one part in so many of the free lock table

	mu            sync.Mutex
	most          int // 0 until it is known how many locks an item takes
	each          time.Duration
	trip          time.Duration // to the server and back
	tried, failed int
}

// Size returns how many items to take now.
func (s *Sizer) Size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.most < 2 || s.each <= 0:
		return 1
	case s.Aim <= 0:
		return s.most
	}
	return min(s.most, int(s.Aim/s.each))
}

// Locked takes in how many locks an item has held, and how many the server has left. The
// first word counts.
func (s *Sizer) Locked(locks, free int) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.most > 0 {
		return
	}
	s.most = max(1, min(s.Most, s.Budget(free)/max(1, locks)))
}

// Budget returns how many locks the items of one worker may hold, of those that are free.
func (s *Sizer) Budget(free int) int { return free / max(1, s.Share) / max(1, s.Workers) }

// Trip takes in how long a question took that the server answers at once. The quickest
// answer counts: that is the network, over which an item holds nothing, and which Took
// leaves out.
func (s *Sizer) Trip(d time.Duration) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trip == 0 || d < s.trip {
		s.trip = d
	}
}

// Patience returns a limit for what is served together, the network included.
func (s *Sizer) Patience(limit time.Duration) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return limit + s.trip
}

// Took takes in how long n items have taken, in one message to the server.
func (s *Sizer) Took(d time.Duration, n int) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	share := max(0, d-s.trip) / time.Duration(n)
	if s.each > 0 {
		share = (3*s.each + share) / 4 // the latest counts for a quarter
	}
	s.each = max(share, time.Microsecond)
	if n > 1 {
		s.tried++
	}
}

// Stop has every item served alone from now on.
func (s *Sizer) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.most = 1
}

// GaveUp takes in that items came to nothing together: where they were too many there
// are fewer from now on, and where that happens often there are none.
func (s *Sizer) GaveUp(tooMany bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.tried++
	s.failed++
	const some = 8 // failures that say nothing yet
	switch {
	case s.Share*(s.failed-some) > s.tried:
		s.most = 1
	case tooMany:
		s.most = max(1, s.most/2)
	}
}
