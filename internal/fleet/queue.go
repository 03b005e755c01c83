package fleet

import (
	"context"
	"sync"
	"time"
)

// queue hands out items: the fresh ones in order, then the requeued ones as
// their time comes. Fresh items go first, so that a busy tenant never holds up
// an idle one.
type queue struct {
	drain <-chan struct{}
	halt  chan struct{} // closed by stop

	mu      sync.Mutex
	reason  error     // of stop
	slot    time.Time // when the next item may be handed out
	fresh   int       // next item never handed out
	n       int
	workers int
	back    []int     // given back untouched
	waiting []delayed // requeued, unordered: a handful at a time
	running int
	changed chan struct{} // closed and replaced when something may have become ready
}

type delayed struct {
	item int
	due  time.Time
}

func newQueue(n, workers int, drain <-chan struct{}) *queue {
	return &queue{n: n, workers: max(1, workers), drain: drain, halt: make(chan struct{}), changed: make(chan struct{})}
}

// next waits for an item, or several that may be served together. It returns false when
// nothing is left to come, when the run drains, or when ctx is done.
func (q *queue) next(ctx context.Context, t *Together) ([]int, bool) {
	for {
		if q.draining() || ctx.Err() != nil {
			return nil, false
		}
		items := q.takeTogether(t)
		if len(items) > 0 {
			return items, true
		}
		item, state := q.take()
		switch {
		case state.taken:
			return []int{item}, true
		case state.changed == nil:
			return nil, false
		}
		timer := time.NewTimer(state.wait)
		select {
		case <-state.changed:
		case <-timer.C:
		case <-q.drain:
		case <-q.halt:
		case <-ctx.Done():
		}
		timer.Stop()
	}
}

// pace waits for the turn of the next item at a rate of so many a second. It
// reports whether the wait was not cut short.
func (q *queue) pace(ctx context.Context, rate float64) bool {
	if rate <= 0 {
		return true
	}
	q.mu.Lock()
	now := time.Now()
	if q.slot.Before(now) {
		q.slot = now
	}
	wait := q.slot.Sub(now)
	q.slot = q.slot.Add(time.Duration(float64(time.Second) / rate))
	q.mu.Unlock()
	return q.sleep(ctx, wait)
}

// stop lets the items in flight finish and hands out no other. The first reason
// stays.
func (q *queue) stop(reason error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.reason == nil {
		q.reason = reason
		close(q.halt)
	}
}

// stopped returns why the queue stopped before its end, or nil.
func (q *queue) stopped() error {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.reason
}

// takeState says what take found. Without an item, changed is nil when there is
// none to come; otherwise it is worth another look after wait or when changed is
// closed. It is read under the same lock as the queue, so no change is missed.
type takeState struct {
	taken   bool
	wait    time.Duration
	changed <-chan struct{}
}

// takeTogether takes the next fresh items as far as they may be served together, where
// that is more than one and nothing was given back. Towards the end every worker gets its
// share.
func (q *queue) takeTogether(t *Together) []int {
	if t == nil {
		return nil
	}
	most := t.Size()
	q.mu.Lock()
	defer q.mu.Unlock()
	most = min(most, (q.n-q.fresh)/q.workers)
	if len(q.back) > 0 {
		return nil
	}
	var items []int
	for next := q.fresh; next < q.n && len(items) < most && t.Fits(next); next++ {
		items = append(items, next)
	}
	if len(items) < 2 {
		return nil
	}
	q.fresh += len(items)
	q.running += len(items)
	return items
}

func (q *queue) take() (item int, _ takeState) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch {
	case len(q.back) > 0:
		item = q.back[0]
		q.back = q.back[1:]
	case q.fresh < q.n:
		item = q.fresh
		q.fresh++
	case len(q.waiting) > 0:
		first := 0
		for i := range q.waiting {
			if q.waiting[i].due.Before(q.waiting[first].due) {
				first = i
			}
		}
		if wait := time.Until(q.waiting[first].due); wait > 0 {
			return 0, takeState{wait: wait, changed: q.changed}
		}
		item = q.waiting[first].item
		q.waiting = append(q.waiting[:first], q.waiting[first+1:]...)
	case q.running > 0:
		return 0, takeState{wait: time.Minute, changed: q.changed} // one in flight may yet be requeued
	default:
		return 0, takeState{}
	}
	q.running++
	return item, takeState{taken: true}
}

// share returns how many items are left for each worker, those that wait included.
func (q *queue) share() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return (q.n - q.fresh + len(q.back) + len(q.waiting)) / q.workers
}

// requeue puts an item in flight back for later. It returns false when the run
// drains, and the item stays in flight.
func (q *queue) requeue(item int, wait time.Duration) bool {
	if q.draining() {
		return false
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	q.waiting = append(q.waiting, delayed{item, time.Now().Add(wait)})
	q.wake()
	return true
}

// giveBack returns items that were never begun, or came to nothing together. Each is
// handed out alone.
func (q *queue) giveBack(items ...int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running -= len(items)
	q.back = append(q.back, items...)
	q.wake()
}

// finish takes one item out of flight for good.
func (q *queue) finish() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.running--
	q.wake()
}

func (q *queue) wake() {
	close(q.changed)
	q.changed = make(chan struct{})
}

func (q *queue) draining() bool {
	select {
	case <-q.drain:
		return true
	case <-q.halt:
		return true
	default:
		return false
	}
}

// sleep waits and reports whether neither ctx nor a drain cut it short.
func (q *queue) sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-q.drain:
	case <-q.halt:
	case <-ctx.Done():
	}
	return false
}

// Wait waits before another attempt at what comes before a Run, as an item of it does. It
// reports whether the attempt is worth it: nobody has drained what is to be run, or called it
// off. drain may be nil.
func Wait(ctx context.Context, drain <-chan struct{}, d time.Duration) bool {
	return (&queue{drain: drain}).sleep(ctx, d)
}
