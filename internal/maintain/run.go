package maintain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/registry"
)

// Action is what is done to tables.
type Action string

// The actions. They are the kinds of runs in the ledger too.
const (
	Vacuum  Action = "vacuum"
	Analyze Action = "analyze"
	Reindex Action = "reindex"
)

// IsAction reports whether a kind of run is one of them.
func IsAction(kind string) bool {
	return slices.Contains([]Action{Vacuum, Analyze, Reindex}, Action(kind))
}

// Table is a table of a tenant.
type Table struct {
	Name string
	May  bool // the session's role has the right to do it
}

// Item is a tenant and what is to be done there.
type Item struct {
	Tenant registry.Tenant
	Tables []Table
}

// Connect opens a connection. It is called by several goroutines at once.
type Connect = func(context.Context) (*pgx.Conn, error)

// Options say what is done, and how.
type Options struct {
	Registry registry.Registry
	Action   Action
	Analyze  bool // with Vacuum, analyze too
	Freeze   bool // with Vacuum, freeze all rows
	Fleet    fleet.Options
	// LockTimeout bounds the wait for a lock, StatementTimeout the work on one table; zero is
	// without an end. Behind a pooler only the latter is known.
	LockTimeout      time.Duration
	StatementTimeout time.Duration
	Owners           owner.Roles // as whom it is done
	Actor            string      // "alice@desk"
	Selection        *registry.Selection
	Resumes          int64 // the run that it goes on with, 0 for none
}

// Outcome is what became of a tenant.
type Outcome struct {
	Tenant   registry.Tenant
	State    fleet.State
	Err      error    // of the last attempt; nil when Done
	Tables   int      // that it was done to
	Gone     int      // tables that are not there any more
	Dropped  []string // invalid indexes that an earlier reindex had left
	Warnings []string // of the server
	Attempts int
	Duration time.Duration
}

// Report is what became of a run. Outcomes are in the order of the items.
type Report struct {
	RunID    int64
	Outcomes []Outcome
	Stopped  error // why the run ended before its tenants did; nil when each had its turn
}

// Summary counts what became of the tenants.
func (r *Report) Summary() fleet.Summary {
	s := fleet.Summary{Stopped: r.Stopped}
	for _, o := range r.Outcomes {
		s.Add(o.State, o.Err)
	}
	return s
}

// RefusedError says that this role has not the right to do something to tables, which were
// passed by.
type RefusedError struct {
	Action Action
	Tables []string
}

// Error names the tables.
func (e *RefusedError) Error() string {
	const most = 3
	names := strings.Join(e.Tables[:min(most, len(e.Tables))], ", ")
	if more := len(e.Tables) - most; more > 0 {
		names += fmt.Sprintf(" and %d more", more)
	}
	return fmt.Sprintf("no right to %s %s: they want their owner, or who has the right MAINTAIN (PostgreSQL 17)", e.Action,
		names)
}

// LeftError says that a reindex that failed has left indexes which are not valid.
type LeftError struct {
	Indexes []string
	Err     error
}

// Unwrap returns why the reindex failed.
func (e *LeftError) Unwrap() error { return e.Err }

// Error names the indexes.
func (e *LeftError) Error() string {
	return fmt.Sprintf("%v; it has left the invalid index %s, which the next reindex drops", e.Err,
		strings.Join(e.Indexes, ", "))
}

// Errors of sessions that are not fit for the work.
var (
	// ErrPooled says that a reindex met a pooler.
	ErrPooled = errors.New("a connection pooler stands between; an index is built anew on a connection of its own")
	// ErrSilenced says that the server is told to keep its warnings, which say what it passes by.
	ErrSilenced = errors.New("client_min_messages hides warnings, which say what the server passes by")
)

// run is a run over items.
type run struct {
	o        Options
	items    []Item
	outcomes []Outcome
	done     [][]bool // tables of each item that need no other attempt
	refused  [][]string
}

// Run does the work for all items. connect opens the connections that the work is done on,
// which are closed; record those of the ledger.
func Run(ctx context.Context, connect, record Connect, items []Item, o Options) (*Report, error) {
	r := &run{o: o, items: items, outcomes: make([]Outcome, len(items)), done: make([][]bool, len(items)),
		refused: make([][]string, len(items))}
	for i, item := range items {
		r.outcomes[i].Tenant, r.done[i] = item.Tenant, make([]bool, len(item.Tables))
	}
	l, err := openLedger(ctx, record, len(items), o)
	if err != nil {
		return nil, err
	}
	watch := o.Fleet.Observer
	o.Fleet.Observer = &observer{run: r, ledger: l, next: watch}
	results, stopped := fleet.Run(ctx, connect, len(items), o.Fleet, r.attempt)
	for i, res := range results {
		r.record(i, res)
	}
	report := &Report{RunID: l.id, Outcomes: r.outcomes, Stopped: stopped}
	return report, l.close(ctx, report)
}

func (r *run) record(i int, res fleet.Result) {
	out := &r.outcomes[i]
	out.State, out.Err, out.Attempts, out.Duration = res.State, res.Err, res.Attempts, res.Duration
}

// observer keeps what became of an item in the ledger.
type observer struct {
	run    *run
	ledger *ledger
	next   fleet.Observer
}

// Started implements fleet.Observer.
func (o *observer) Started(item int) {
	if o.next != nil {
		o.next.Started(item)
	}
}

// Retrying implements fleet.Observer.
func (o *observer) Retrying(item, attempt int, err error, wait time.Duration) {
	if o.next != nil {
		o.next.Retrying(item, attempt, err, wait)
	}
}

// Finished implements fleet.Observer.
func (o *observer) Finished(item int, res fleet.Result) {
	o.run.record(item, res)
	o.ledger.add(o.run.outcomes[item])
	if o.next != nil {
		o.next.Finished(item, res)
	}
}

// attempt does what is left to do for a tenant.
func (r *run) attempt(ctx context.Context, conn *pgx.Conn, i int) error {
	t := r.items[i].Tenant
	err := r.tables(ctx, conn, i)
	if err == nil && len(r.refused[i]) > 0 {
		err = &RefusedError{Action: r.o.Action, Tables: r.refused[i]}
	}
	if conn.IsClosed() {
		return err
	}
	return db.NameBlockers(ctx, conn, t.Schema, err)
}

// tables goes through the tables of a tenant that are not done. One that is locked does not
// keep the others from their turn.
func (r *run) tables(ctx context.Context, conn *pgx.Conn, i int) error {
	s, err := r.session(ctx, conn, i)
	if err != nil {
		return err
	}
	defer s.end()
	if r.o.Action == Reindex {
		if err := s.dropLeftovers(ctx); err != nil {
			return err
		}
	}
	var busy error
	for k, table := range r.items[i].Tables {
		if r.done[i][k] {
			continue
		}
		err := s.do(ctx, table)
		switch {
		case err == nil:
			r.outcomes[i].Tables++
		case errors.Is(err, errRefused):
			r.refused[i] = append(r.refused[i], table.Name)
		case errors.Is(err, errGone):
			r.outcomes[i].Gone++
		case db.SQLState(err) == db.CodeLockNotAvailable && ctx.Err() == nil:
			busy = err
			continue
		default:
			return err
		}
		r.done[i][k] = true
	}
	return busy
}
