package maintain

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
)

// ErrNotRecorded says that a run did its work but could not write the ledger.
var ErrNotRecorded = errors.New("the run could not be recorded")

const (
	ledgerInterval = time.Second
	ledgerTimeout  = 10 * time.Second
	// A run gives a sign of life more often than anybody takes it for dead without one.
	heartbeatInterval = 10 * time.Second
)

// The states of tenants in the ledger.
var states = map[fleet.State]string{fleet.Done: registry.StateDone, fleet.Failed: registry.StateFailed,
	fleet.NotStarted: registry.StateNotStarted}

// ledger writes what became of tenants in a goroutine of its own, so that no worker waits for it.
type ledger struct {
	connect Connect
	conn    *pgx.Conn
	locked  *pgx.Conn // on which the run's lock was asked for
	pooled  bool
	writes  bool // transactions are read only here, unless they say otherwise
	beats   bool // a sign of life now and then stands in for the lock
	reg     registry.Registry
	id      int64
	stop    chan struct{}
	stopped sync.WaitGroup

	mu      sync.Mutex
	pending []registry.RunTenant
}

// openLedger records that a run begins.
func openLedger(ctx context.Context, connect Connect, tenants int, o Options) (*ledger, error) {
	l := &ledger{connect: connect, reg: o.Registry, stop: make(chan struct{})}
	begun := registry.Run{Kind: string(o.Action), Actor: o.Actor, Target: -1, Tenants: tenants,
		Selection: o.Selection, Resumes: o.Resumes}
	var pid uint32
	begin := func() error {
		return l.write(ctx, func(p *db.Pipeline) error { return l.reg.QueueRun(p, &begun, &pid) })
	}
	err := begin()
	if db.SQLState(err) == db.CodeReadOnlyTransaction {
		// A database whose disk is full may be set so, and wants to be vacuumed. A standby
		// refuses this too.
		l.writes = true
		if begin() == nil {
			err = nil
		}
	}
	if err == nil {
		l.id, l.pooled = begun.ID, pid != l.conn.PgConn().PID()
		l.beats = l.pooled
		err = l.write(ctx, func(*db.Pipeline) error { return nil })
	}
	if err != nil {
		l.disconnect(ctx)
		return nil, fmt.Errorf("record the run: %w", err)
	}
	l.stopped.Go(func() { l.run(context.WithoutCancel(ctx)) }) // what was done is recorded, whatever ends the run
	return l, nil
}

// add takes an outcome for the next batch.
func (l *ledger) add(o Outcome) {
	row := registry.RunTenant{ID: o.Tenant.ID, Slug: o.Tenant.Slug, State: states[o.State], From: o.Tenant.Version,
		To: o.Tenant.Version, Attempts: o.Attempts, Duration: o.Duration, SQLState: db.SQLState(o.Err)}
	if o.Err != nil {
		row.Message = db.Text(o.Err)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(l.pending, row)
}

// run writes a batch now and then, and a sign of life.
func (l *ledger) run(ctx context.Context) {
	ticker := time.NewTicker(ledgerInterval)
	defer ticker.Stop()
	beat := time.Now()
	for {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
		}
		late := l.beats && time.Since(beat) > heartbeatInterval
		if l.flush(ctx, func(p *db.Pipeline) {
			if late {
				l.reg.QueueHeartbeat(p, l.id)
			}
		}) == nil && late {
			beat = time.Now()
		}
	}
}

// flush writes what is pending, and more. What cannot be written stays for the next time.
func (l *ledger) flush(ctx context.Context, more func(*db.Pipeline)) error {
	l.mu.Lock()
	batch := l.pending
	l.pending = nil
	l.mu.Unlock()
	err := l.write(ctx, func(p *db.Pipeline) error {
		const chunk = 1000
		for rest := batch; len(rest) > 0; rest = rest[min(chunk, len(rest)):] {
			l.reg.QueueRunTenants(p, l.id, rest[:min(chunk, len(rest))])
		}
		more(p)
		return nil
	})
	if err != nil {
		l.mu.Lock()
		l.pending = append(batch, l.pending...)
		l.mu.Unlock()
	}
	return err
}

// write runs one transaction on the ledger's connection, which is opened where there is none.
func (l *ledger) write(ctx context.Context, queue func(*db.Pipeline) error) error {
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout)
	defer cancel()
	if l.conn == nil || l.conn.IsClosed() {
		conn, err := l.connect(ctx)
		if err != nil {
			return err
		}
		l.conn = conn
	}
	var p db.Pipeline
	if err := queue(&p); err != nil || p.Len() == 0 && !l.wantsLock() {
		return err
	}
	asked, beats := l.locked, l.beats
	err := db.InTx(ctx, l.conn, db.Locals{LockTimeout: ledgerTimeout, StatementTimeout: ledgerTimeout, Writes: l.writes},
		func(ctx context.Context, q db.Querier) error {
			if l.wantsLock() {
				got, err := l.reg.LockRun(ctx, q, l.id)
				if err != nil {
					return err
				}
				asked, beats = l.conn, !got
			}
			return p.Run(ctx, q)
		})
	if err == nil {
		l.locked, l.beats = asked, beats
	}
	return err
}

// wantsLock reports whether the session may hold the run's lock, which tells that it lives, and
// has not asked for it. The next session after a lost one asks again.
func (l *ledger) wantsLock() bool { return l.id != 0 && !l.pooled && l.locked != l.conn }

func (l *ledger) disconnect(ctx context.Context) {
	if l.conn != nil {
		_ = l.conn.Close(ctx) // nothing is pending on it
	}
}

// close writes what is left and the end of the run, with patience: the server may be
// restarting.
func (l *ledger) close(ctx context.Context, r *Report) error {
	ctx = context.WithoutCancel(ctx)
	close(l.stop)
	l.stopped.Wait()
	s := r.Summary()
	end := registry.Run{ID: l.id, State: "finished", Succeeded: s.Done, Failed: s.Failed, NotStarted: s.NotStarted}
	if r.Stopped != nil {
		end.State, end.Reason = "stopped", r.Stopped.Error()
	}
	var err error
	for attempt := 1; attempt <= 3; attempt++ {
		if err = l.flush(ctx, func(p *db.Pipeline) { l.reg.QueueRunEnd(p, end) }); err == nil || !db.Retryable(err) {
			break
		}
		time.Sleep(fleet.Backoff(attempt + 1))
	}
	l.disconnect(ctx)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNotRecorded, err)
	}
	return nil
}
