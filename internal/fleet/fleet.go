package fleet

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// State is how an item ended.
type State int

// An item that was never begun, or whose retries were cut short by the end of
// the run, is NotStarted; its error says why, if there was one.
const (
	NotStarted State = iota
	Done
	Failed
)

// Result is what became of one item.
type Result struct {
	State    State
	Err      error // of the last attempt; nil when Done
	Attempts int
	Duration time.Duration // of all attempts, without the waits between
}

// Observer is told what happens. Its methods are called by all workers at once
// and must be safe for that and quick. Items are named by their index.
type Observer interface {
	Started(item int)
	Retrying(item, attempt int, err error, wait time.Duration)
	Finished(item int, result Result)
}

// Defaults of Options.
const (
	DefaultConcurrency = 4
	DefaultAttempts    = 5
	// A backend keeps the catalog entries of every schema it has visited: 415 MB
	// after 1,000 tenants. A fresh connection every 250 keeps it near 20 MB and
	// costs nothing that can be measured.
	DefaultRecycleAfter = 250
)

// Reasons why a run ends before its items do.
var (
	// ErrTooManyFailures says that Options.StopAfter items failed.
	ErrTooManyFailures = errors.New("too many failures")
	// ErrDeadline says that Options.Deadline came.
	ErrDeadline = errors.New("the deadline came")
	// ErrDrained says that Options.Drain was closed.
	ErrDrained = errors.New("asked to stop")
	// ErrServer says that the server cannot serve any item: db.ServerWide.
	ErrServer = errors.New("the server cannot go on")
)

// Options say how to run. The zero value means the defaults.
type Options struct {
	Concurrency int // items at once; 0 = as many as suit the machine and the server (Auto)
	Connections int // that an item takes, its worker's included; 0 = 1
	Weight      int // how many ordinary items one is worth; 0 = 1
	Attempts    int // per item, the first included
	// RecycleAfter is how many items a connection serves before it is replaced, unless its
	// worker is left with less than half as many; 0 = DefaultRecycleAfter.
	RecycleAfter int
	// Patience is how long an item that other work of this program holds
	// (*db.BusyError) is tried again, however many attempts that takes; 0 = as often
	// as any other.
	Patience time.Duration
	// Yield, if not nil, is asked about the error of an attempt: an item for which it
	// is true ends as NotStarted instead of being tried again.
	Yield func(err error) bool
	// Backoff returns the wait before the given attempt (2 is the first retry).
	// The default doubles from 100 ms to 5 s, with jitter.
	Backoff func(attempt int) time.Duration
	// StopAfter starts no further item once so many have failed; 0 never stops.
	StopAfter int
	// Rate is the greatest number of items begun a second, 0 without limit.
	Rate float64
	// Deadline, if not zero, is when no further item is begun.
	Deadline time.Time
	// Drain, when closed, lets the items in flight finish and starts no other.
	Drain <-chan struct{}
	// Together, if not nil, serves several items at once. It is not used with a Rate.
	Together *Together
	// Unreachable, if not nil, is told each time that a worker finds no server and will try
	// again, by all workers at once.
	Unreachable func(err error)
	// Observer may be nil.
	Observer Observer
}

// Together serves several items as one, where that is cheaper than one after another.
// Each item is offered once. Its functions are called by all workers at once.
type Together struct {
	// Begin, if not nil, is told first how many workers there are.
	Begin func(workers int)
	// Size is how many items may be served together now; less than 2 for none.
	Size func() int
	// Fits reports whether an item may be served together with others. It must be quick.
	Fits func(item int) bool
	// Work serves all the items or none of them: after an error each takes its turn
	// alone, as if this had not been tried.
	Work func(ctx context.Context, conn *pgx.Conn, items []int) error
}

// Run does work for the items 0 to n-1, each on a connection of its worker, and
// returns a result for every item. An item whose error is db.Retryable goes to
// the back of the queue and is tried again after a wait, on a new connection
// where the old one is gone. A cancelled context stops the items in flight too.
//
// Where the server has no slot left for another connection (53300) the run goes
// on with fewer workers. When no connection can be had at all, the remaining
// items are NotStarted with that error.
//
// The error says why the run ended before its items did: ErrTooManyFailures,
// ErrDeadline, ErrDrained, ErrServer or the context's. It is nil when every item
// had its turn, however that went.
func Run(ctx context.Context, connect func(context.Context) (*pgx.Conn, error), n int, o Options,
	work func(ctx context.Context, conn *pgx.Conn, item int) error,
) ([]Result, error) {
	connect, end := o.choose(ctx, connect, n)
	defer end()
	r := &run{connect: connect, work: work, opt: o.withDefaults(), results: make([]Result, n), begun: make([]time.Time, n)}
	workers := min(r.opt.Concurrency, n)
	r.queue = newQueue(n, workers, r.opt.Drain)
	r.alive = workers
	if t := r.opt.Together; t != nil && t.Begin != nil {
		t.Begin(workers)
	}
	if !r.opt.Deadline.IsZero() {
		timer := time.AfterFunc(time.Until(r.opt.Deadline), func() { r.queue.stop(ErrDeadline) })
		defer timer.Stop()
	}
	var wg sync.WaitGroup
	for range workers {
		wg.Go(func() { r.worker(ctx) })
	}
	wg.Wait()
	left := false
	for i := range r.results {
		res := &r.results[i]
		left = left || res.State == NotStarted
		if res.State == NotStarted && res.Err == nil {
			res.Err = r.lastErr
		}
	}
	if !left {
		return r.results, nil
	}
	return r.results, r.reason(ctx)
}

// reason returns what cut the run short.
func (r *run) reason(ctx context.Context) error {
	switch {
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case r.queue.stopped() != nil:
		return r.queue.stopped()
	case r.queue.draining():
		return ErrDrained
	}
	return nil // nobody was left to serve: the items carry the error
}

// Reuse returns a connect function that hands out a connection which is open
// already to the first that asks, and opens others after that. The run closes it.
func Reuse(conn *pgx.Conn, connect func(context.Context) (*pgx.Conn, error)) func(context.Context) (*pgx.Conn, error) {
	var used atomic.Bool
	return func(ctx context.Context) (*pgx.Conn, error) {
		if !used.Swap(true) && !conn.IsClosed() {
			return conn, nil
		}
		return connect(ctx)
	}
}

// aheadFresh is how long a connection may wait that was opened ahead: the server, or what
// stands before it, may end one with nothing to do.
const aheadFresh = 5 * time.Second

// Ahead begins to open n connections, and returns a connect function that hands these out
// for some seconds, and opens others after that. The run closes those that it was handed,
// end the others. One that could not be opened is tried again when it is wanted.
func Ahead(ctx context.Context, n int, connect func(context.Context) (*pgx.Conn, error)) (
	handOut func(context.Context) (*pgx.Conn, error), end func(),
) {
	begun := time.Now()
	dialing, stop := context.WithCancel(ctx)
	opened := make(chan *pgx.Conn, n)
	var wg sync.WaitGroup
	for range n {
		wg.Go(func() {
			if conn, err := connect(dialing); err == nil {
				opened <- conn
			}
		})
	}
	go func() {
		wg.Wait()
		close(opened)
	}()
	handOut = func(ctx context.Context) (*pgx.Conn, error) {
		select {
		case conn, ok := <-opened:
			if ok && !conn.IsClosed() && time.Since(begun) < aheadFresh {
				return conn, nil
			}
			closeConn(ctx, conn)
		case <-ctx.Done():
		}
		return connect(ctx)
	}
	return handOut, func() {
		stop()
		for conn := range opened {
			closeConn(ctx, conn)
		}
	}
}

func (o Options) withDefaults() Options {
	if o.Attempts <= 0 {
		o.Attempts = DefaultAttempts
	}
	if o.RecycleAfter <= 0 {
		o.RecycleAfter = DefaultRecycleAfter
	}
	if o.Backoff == nil {
		o.Backoff = Backoff
	}
	if o.Rate > 0 {
		o.Together = nil
	}
	return o
}

// Backoff is the default wait before an attempt: 100 ms doubled each time up to
// 5 s, of which a random half to whole is taken, so that two runs that met once
// do not meet again.
func Backoff(attempt int) time.Duration {
	const first, most = 100 * time.Millisecond, 5 * time.Second
	wait := most
	if attempt < 8 {
		wait = min(most, first<<max(0, attempt-2))
	}
	return wait/2 + rand.N(wait/2+1)
}
