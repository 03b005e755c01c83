package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
)

// ErrNotRecorded says that a run did its work but could not write the ledger, so
// neither is it certain that the work is on disk: look with migrate status.
var ErrNotRecorded = errors.New("the run could not be recorded, and what it did last may not be on disk")

const (
	ledgerTimeout  = 30 * time.Second
	ledgerHurry    = 5 * time.Second // when the run was cancelled: somebody wants out
	ledgerInterval = 250 * time.Millisecond
	ledgerChunk    = 1000 // rows per insert
	ledgerTries    = 3    // connections, of which each may be silent

	// A run that cannot hold a lock, since a pooler stands between, gives a sign
	// of life with every batch instead.
	heartbeatInterval = 10 * time.Second
)

// ledger writes a run's outcomes in batches, on a connection of its own and in a
// goroutine of its own, so that no worker waits for it.
type ledger struct {
	connect Connect
	plan    *Plan
	reg     registry.Registry
	report  *Report
	replace bool // the recorded files
	pooled  bool
	blocks  bool       // DO blocks can be run here
	nested  bool       // and migrations in them
	lost    *lossCount // nil until it is started

	stop     chan struct{}
	stopping sync.Once
	done     chan struct{}

	mu      sync.Mutex
	pending []Outcome

	// writing is held by who writes, and guards what follows.
	writing sync.Mutex
	conn    *pgx.Conn
	own     bool // conn was opened here
	beats   bool // a sign of life now and then stands in for the lock
	beat    time.Time
	files   int64 // recorded up to this version
}

// openLedger records that a run begins, after closing those that were killed, and
// refuses files that are not what they were. It takes the place of former, which an attempt
// may have begun whose answer was lost; 0 for none.
func openLedger(ctx context.Context, conn *pgx.Conn, connect Connect, p *Plan, report *Report,
	o RunOptions, former int64) (*ledger, error) {
	l := &ledger{conn: conn, connect: connect, plan: p, reg: o.Registry, report: report, replace: o.AllowChanged,
		stop: make(chan struct{}), done: make(chan struct{}), beat: time.Now()}
	var (
		pid   uint32
		files map[int64]registry.File
	)
	begun := registry.Run{
		Kind: string(report.Kind), Actor: o.Actor, Target: report.Target, Tenants: len(report.Outcomes),
		Selection: o.Selection,
	}
	err := db.InTx(ctx, conn, db.Locals{}, func(ctx context.Context, q db.Querier) error {
		var pipe db.Pipeline
		l.reg.QueueAppliedFiles(&pipe, &files)
		if former != 0 {
			l.reg.QueueForgetRun(&pipe, former)
		}
		err := l.reg.QueueRun(&pipe, &begun, &pid)
		pipe.QueryRow([]any{&l.blocks}, `select coalesce((select pg_catalog.has_language_privilege(l.oid, 'usage')
			from pg_catalog.pg_language l where l.lanname operator(pg_catalog.=) 'plpgsql'), false)`)
		pipe.Nestable(&l.nested)
		if err == nil {
			err = pipe.Run(ctx, q)
		}
		if err != nil {
			return fmt.Errorf("record the run: %w", err)
		}
		if err := p.CheckFiles(files, o.Route, o.AllowChanged); err != nil {
			return err
		}
		report.RunID = begun.ID
		l.pooled = pid != conn.PgConn().PID()
		l.beats = l.pooled
		if !l.pooled {
			if err := l.takeLock(ctx, q); err != nil {
				return fmt.Errorf("record the run: %w", err)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// start begins to write what is added, and to tell lost of connections that are lost.
func (l *ledger) start(ctx context.Context, lost *lossCount) {
	l.lost = lost
	go l.run(context.WithoutCancel(ctx)) // what was done is recorded, whatever ends the run
}

// takeLock shows others that the run lives: the lock goes with the session. Where
// somebody else has taken it, as every login may, the run gives signs of life.
func (l *ledger) takeLock(ctx context.Context, q db.Querier) error {
	got, err := l.reg.LockRun(ctx, q, l.report.RunID)
	l.beats = !got
	return err
}

// add takes an outcome for the next batch. It never waits for the server.
func (l *ledger) add(o Outcome) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pending = append(l.pending, o)
}

// run writes a batch now and then until the ledger is closed.
func (l *ledger) run(ctx context.Context) {
	defer close(l.done)
	ticker := time.NewTicker(ledgerInterval)
	defer ticker.Stop()
	for {
		select {
		case <-l.stop:
			return
		case <-ticker.C:
			l.flush(ctx)
		}
	}
}

// flush writes what is pending. What cannot be written stays for the next time.
func (l *ledger) flush(ctx context.Context) { _ = l.flushWith(ctx, false) }

// flushWith is flush with a sign of life, where beat is set: something is written then, and
// what was committed before is on disk.
func (l *ledger) flushWith(ctx context.Context, beat bool) error {
	l.writing.Lock()
	defer l.writing.Unlock()
	l.mu.Lock()
	batch := l.pending
	l.pending = nil
	l.mu.Unlock()
	beat = beat || l.beats && time.Since(l.beat) > heartbeatInterval
	if len(batch) == 0 && !beat {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, ledgerTimeout/ledgerTries)
	defer cancel()
	newest := l.files
	err := l.write(ctx, func(p *db.Pipeline) {
		newest = l.queueBatch(p, batch)
		if beat {
			l.reg.QueueHeartbeat(p, l.report.RunID)
		}
	})
	if err != nil {
		l.mu.Lock()
		l.pending = append(batch, l.pending...)
		l.mu.Unlock()
		return err
	}
	l.files = newest
	if beat {
		l.beat = time.Now()
	}
	return nil
}

// write runs one transaction on the ledger's connection or, where that is gone, on
// a new one. Its commit waits for the disk, and what the tenants' commits wrote
// before it goes along.
func (l *ledger) write(ctx context.Context, queue func(*db.Pipeline)) error {
	if l.conn.IsClosed() {
		conn, err := l.connect(ctx)
		if err != nil {
			return err
		}
		if l.own {
			_ = l.conn.Close(ctx)
		}
		l.conn, l.own = conn, true
		if !l.pooled {
			if err := l.takeLock(ctx, conn); err != nil {
				return err
			}
		}
	}
	err := db.InTx(ctx, l.conn, db.Locals{}, func(ctx context.Context, q db.Querier) error {
		var p db.Pipeline
		p.Exec(`select pg_catalog.set_config('synchronous_commit', 'on', true)
			where pg_catalog.current_setting('synchronous_commit') = 'off'`)
		queue(&p)
		return p.Run(ctx, q)
	})
	if l.lost != nil {
		l.lost.note(err)
	}
	if db.ConnectionLost(err) {
		_ = l.conn.Close(ctx)
	}
	return err
}

// newestOutcomes returns the last outcome of each tenant. One has two in a batch when
// the server has lost what it was first told.
func newestOutcomes(batch []Outcome) []Outcome {
	seen := make(map[string]bool, len(batch))
	out := make([]Outcome, 0, len(batch))
	for _, o := range slices.Backward(batch) {
		if !seen[o.Tenant.ID] {
			seen[o.Tenant.ID] = true
			out = append(out, o)
		}
	}
	slices.Reverse(out)
	return out
}

// queueBatch adds what records outcomes, and the files that are applied by now for
// the first time. It returns the newest version whose file is recorded then.
func (l *ledger) queueBatch(p *db.Pipeline, batch []Outcome) (newest int64) {
	batch = newestOutcomes(batch)
	newest = l.files
	for start := 0; start < len(batch); start += ledgerChunk {
		l.reg.QueueRunTenants(p, l.report.RunID, recordsOf(batch[start:min(start+ledgerChunk, len(batch))]))
	}
	for _, o := range batch {
		if o.State == Migrated && l.report.Kind != Down {
			newest = max(newest, o.To)
		}
	}
	if newest > l.files {
		l.reg.QueueFiles(p, l.plan.filesUpTo(newest), l.replace)
	}
	return newest
}

// ledgerPatience is how long the end of a run may take to be written.
func ledgerPatience(ctx context.Context) time.Duration {
	if ctx.Err() != nil {
		return ledgerHurry
	}
	return ledgerTimeout
}

// close writes what is left and the end of the run, with patience: the server may
// be restarting. It gives up where unsure reports that outcomes may not be true any more,
// and may be called again.
func (l *ledger) close(ctx context.Context, unsure func() bool) error {
	limit := ledgerPatience(ctx)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), limit)
	defer cancel()
	l.stopping.Do(func() { close(l.stop) })
	select {
	case <-l.done:
	case <-ctx.Done():
		return ctx.Err()
	}
	l.writing.Lock()
	defer l.writing.Unlock()
	r := l.report
	var err error
	for attempt := 1; ; attempt++ {
		attemptCtx, done := context.WithTimeout(ctx, limit/ledgerTries)
		err = l.write(attemptCtx, func(p *db.Pipeline) {
			l.queueBatch(p, l.pending)
			l.queueEnd(p)
			if r.Kind == Down {
				l.reg.QueueForgetFiles(p)
			}
			if !l.beats {
				p.Exec(`select pg_catalog.pg_advisory_unlock($1::pg_catalog.int4, $2::pg_catalog.int4)`, l.reg.RunLock(),
					int32(r.RunID))
			}
		})
		silent := attemptCtx.Err() != nil // on this connection
		done()
		if err == nil || !silent && !db.Retryable(err) || ctx.Err() != nil || unsure() {
			break
		}
		time.Sleep(fleet.Backoff(attempt + 1))
	}
	return err
}

// queueEnd adds the end of the run.
func (l *ledger) queueEnd(p *db.Pipeline) {
	r := l.report
	end := registry.Run{
		ID: r.RunID, State: "finished", Succeeded: r.Count(Migrated) + r.Count(Current) + r.Count(Skipped),
		Failed: r.Count(Failed), NotStarted: r.Count(NotStarted),
	}
	if r.Stopped != nil {
		end.State, end.Reason = "stopped", r.Stopped.Error()
	}
	l.reg.QueueRunEnd(p, end)
}

// release ends the writing, where close has not, and closes the connection where it was
// opened here.
func (l *ledger) release(ctx context.Context) {
	l.stopping.Do(func() { close(l.stop) })
	<-l.done
	if l.own {
		_ = l.conn.Close(context.WithoutCancel(ctx))
	}
}

// recordsOf returns outcomes as the ledger keeps them.
func recordsOf(outcomes []Outcome) []registry.RunTenant {
	list := make([]registry.RunTenant, len(outcomes))
	for i, o := range outcomes {
		list[i] = registry.RunTenant{
			ID: o.Tenant.ID, Slug: o.Tenant.Slug, State: string(o.State), From: o.From, To: o.To, Attempts: o.Attempts,
			Duration: o.Duration,
		}
		if o.Err != nil {
			list[i].SQLState, list[i].Place, list[i].Message = describe(o.Err)
			list[i].SQL = statementOf(o.Err)
		}
	}
	return list
}

// describe takes an error apart for the ledger: SQLSTATE, file and line, text.
func describe(err error) (code, place, message string) {
	if statement, ok := errors.AsType[*db.StatementError](err); ok {
		place = statement.Place()
	}
	return db.SQLState(err), place, db.Text(err)
}

// statementKept is how many characters of a failed statement the ledger keeps.
const statementKept = 1000

func statementOf(err error) string {
	s, ok := errors.AsType[*db.StatementError](err)
	if !ok || s.Statement.File == "" {
		return ""
	}
	text := []rune(s.Statement.SQL)
	return string(text[:min(len(text), statementKept)])
}
