package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// run is one Run.
type run struct {
	connect func(context.Context) (*pgx.Conn, error)
	work    func(context.Context, *pgx.Conn, int) error
	opt     Options
	queue   *queue
	results []Result // each slot is written only by the worker that holds the item
	begun   []time.Time

	mu      sync.Mutex
	alive   int
	failed  int
	lastErr error // of a worker that gave up connecting
}

func (r *run) worker(ctx context.Context) {
	var conn *pgx.Conn
	served, away := 0, 0
	defer func() { closeConn(ctx, conn) }()
	for {
		if !r.queue.pace(ctx, r.opt.Rate) {
			return
		}
		items, ok := r.queue.next(ctx, r.opt.Together)
		if !ok {
			return
		}
		if conn != nil && (conn.IsClosed() || served >= r.opt.RecycleAfter && r.queue.share() >= r.opt.RecycleAfter/2) {
			closeConn(ctx, conn)
			conn = nil
		}
		if conn == nil {
			var err error
			if conn, err = r.dial(ctx); err != nil {
				r.queue.giveBack(items...)
				return
			}
			served = 0
		}
		served += len(items)
		goOn, err := true, error(nil)
		if len(items) > 1 {
			err = r.together(ctx, conn, items)
		} else {
			goOn, err = r.attempt(ctx, conn, items[0])
		}
		if !db.Unserved(err) {
			away = 0
		} else if away++; !r.await(ctx, away, err) {
			return
		}
		if !goOn {
			return
		}
	}
}

// await waits for the server behind a pooler, as dial does for one without: so many attempts in
// a row have not met it. It reports whether the worker goes on.
func (r *run) await(ctx context.Context, attempt int, err error) bool {
	err = fmt.Errorf("%w: %w", db.ErrUnreachable, err)
	if ctx.Err() == nil && attempt < r.opt.Attempts {
		if r.opt.Unreachable != nil {
			r.opt.Unreachable(err)
		}
		if r.queue.sleep(ctx, r.opt.Backoff(attempt+1)) {
			return true
		}
	}
	r.leave(err, true)
	return false
}

// dial opens a worker's connection, with patience: a server that restarts is
// back in seconds. When it gives up, the worker leaves; the last one leaves its
// error behind for the items nobody will serve.
func (r *run) dial(ctx context.Context) (*pgx.Conn, error) {
	var err error
	for attempt := 1; ; attempt++ {
		var conn *pgx.Conn
		if conn, err = r.connect(ctx); err == nil {
			return conn, nil
		}
		full := db.SQLState(err) == db.CodeTooManyConnections
		if full && r.leave(err, false) {
			return nil, err
		}
		if r.opt.Unreachable != nil && ctx.Err() == nil && attempt < r.opt.Attempts && errors.Is(err, db.ErrUnreachable) {
			r.opt.Unreachable(err)
		}
		if ctx.Err() != nil || !db.Retryable(err) || attempt >= r.opt.Attempts ||
			!r.queue.sleep(ctx, r.opt.Backoff(attempt+1)) {
			r.leave(err, true)
			return nil, err
		}
	}
}

// leave takes a worker out. Unless it must, the last one stays and tells false.
func (r *run) leave(err error, must bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !must && r.alive == 1 {
		return false
	}
	r.alive--
	r.lastErr = err
	return true
}

// attempt serves an item once. It reports whether the worker goes on: one whose item
// found the server's lock table full (53200) leaves, and the item waits until there is
// room. It counts as an attempt only where no other worker was there. Neither does it count
// where a pooler has no server: the item is given back then.
func (r *run) attempt(ctx context.Context, conn *pgx.Conn, item int) (goOn bool, _ error) {
	res := &r.results[item]
	res.Attempts++
	if res.Duration == 0 && r.opt.Observer != nil {
		r.opt.Observer.Started(item)
	}
	begun := time.Now()
	if res.Attempts == 1 {
		r.begun[item] = begun
	}
	err := r.work(ctx, conn, item)
	res.Duration += time.Since(begun)
	res.Err = err
	if db.Unserved(err) && ctx.Err() == nil {
		res.Attempts--
		res.Err = nil
		r.queue.giveBack(item)
		return true, err
	}
	full := db.SQLState(err) == db.CodeOutOfMemory && ctx.Err() == nil
	if full && r.leave(err, false) {
		if r.queue.requeue(item, r.opt.Backoff(res.Attempts+1)) {
			res.Attempts--
			return false, err
		}
		r.rejoin()
	}
	switch {
	case err == nil:
		res.State = Done
	case ctx.Err() == nil && r.opt.Yield != nil && r.opt.Yield(err):
		res.State = NotStarted
	case ctx.Err() == nil && (db.Retryable(err) && (res.Attempts < r.opt.Attempts || r.patient(item, err)) ||
		full && res.Attempts < min(fullAttempts, r.opt.Attempts)):
		wait := r.opt.Backoff(res.Attempts + 1)
		if r.queue.requeue(item, wait) {
			if r.opt.Observer != nil {
				r.opt.Observer.Retrying(item, res.Attempts, err, wait)
			}
			return true, err
		}
		res.State = NotStarted // the run ends before its next turn
	case ctx.Err() != nil && stopped(err):
		// Rolled back: as if it had never begun. What the server says of a cancelled
		// statement tells nobody why.
		res.State, res.Err = NotStarted, context.Cause(ctx)
	default:
		res.State = Failed
		r.countFailure(err)
	}
	r.queue.finish()
	if r.opt.Observer != nil {
		r.opt.Observer.Finished(item, *res)
	}
	return true, err
}

// together serves items as one, or gives them back to take their turns alone.
func (r *run) together(ctx context.Context, conn *pgx.Conn, items []int) error {
	if r.opt.Observer != nil {
		for _, item := range items {
			r.opt.Observer.Started(item)
		}
	}
	begun := time.Now()
	if err := r.opt.Together.Work(ctx, conn, items); err != nil {
		r.queue.giveBack(items...)
		return err
	}
	share := time.Since(begun) / time.Duration(len(items))
	for _, item := range items {
		r.results[item] = Result{State: Done, Attempts: 1, Duration: share}
		r.queue.finish()
		if r.opt.Observer != nil {
			r.opt.Observer.Finished(item, r.results[item])
		}
	}
	return nil
}

// fullAttempts is how often the last worker tries an item for which the lock table is
// too small: the first time others may just have ended.
const fullAttempts = 2

// rejoin takes back a leave.
func (r *run) rejoin() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.alive++
}

// patient reports whether an item is held by work of ours, which comes to an end, or
// by somebody who has gone already, or stands on a node of a cluster that is not there just
// now, and has not been waited for too long.
func (r *run) patient(item int, err error) bool {
	busy, ok := errors.AsType[*db.BusyError](err)
	const gone = 4 // times as many attempts, where nobody is found: who has the lock may not be to be seen
	few := r.results[item].Attempts < gone*r.opt.Attempts
	unseen := ok && len(busy.Blockers) == 0 && few
	return (ok && (busy.Ours() || unseen) || few && db.NodeLost(err)) && time.Since(r.begun[item]) < r.opt.Patience
}

// countFailure ends the run where a failure is one too many, or one that every
// other item would meet too.
func (r *run) countFailure(err error) {
	r.mu.Lock()
	r.failed++
	failed := r.failed
	r.mu.Unlock()
	switch {
	case db.ServerWide(err):
		r.queue.stop(fmt.Errorf("%w: %w", ErrServer, err))
	case r.opt.StopAfter > 0 && failed >= r.opt.StopAfter:
		r.queue.stop(ErrTooManyFailures)
	}
}

// stopped reports whether err is that of a statement which a cancelled context
// ended: pgx's own word, or the server's answer to the cancel request.
func stopped(err error) bool {
	if errors.Is(err, db.ErrCommitUnknown) {
		return false
	}
	return errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) ||
		db.SQLState(err) == db.CodeQueryCanceled
}

func closeConn(ctx context.Context, conn *pgx.Conn) {
	if conn == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
	defer cancel()
	_ = conn.Close(ctx) // nothing is pending on it
}
