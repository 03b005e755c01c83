package tenantsql

import (
	"context"
	"errors"
	"iter"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
)

// Value is a value as PostgreSQL writes it.
type Value struct {
	Text string
	Null bool
}

// Row is a row of one tenant's result.
type Row struct {
	Tenant registry.Tenant
	Values []Value
}

// Options say how to run.
type Options struct {
	Registry         registry.Registry
	Fleet            fleet.Options
	LockTimeout      time.Duration // wait for each lock, 0 = the server's
	StatementTimeout time.Duration // run of each statement, 0 = the server's
	// Write commits each tenant's transaction, under its lock. Without it the transactions are read
	// only, and each is one moment.
	Write bool
	// DryRun, with Write, rolls back at the end instead.
	DryRun bool
	// Hold adds to a write's transaction what makes sure that the tenant may be
	// written to, and stays so.
	Hold func(p *db.Pipeline, t registry.Tenant)
	// Audit adds the audit row of a write to its transaction. The row must keep e
	// in its detail: Committed looks for e.Token there.
	Audit func(p *db.Pipeline, e Event) error
	// Committed reports whether the audit has a row for e.Tenant with e.Token: the
	// way to find out what became of a COMMIT whose answer was lost.
	Committed func(ctx context.Context, q db.Querier, e Event) (bool, error)
	// Trusted are roles whose code may run in tenants' schemas, besides those that
	// could act as the session's role. A tenant with code of others fails with a
	// *planted.Error, and the script does not run there.
	Trusted []string
	// OwnRole writes as the session's role, whoever owns a tenant's schema. Statements that
	// only read always do.
	OwnRole bool
	// Path follows each tenant's schema on the search_path of the script.
	Path db.Path
	// Memory is the budget for rows that wait for their turn, in bytes; 0 =
	// DefaultMemory. TempDir is where they go beyond it; "" = the system's.
	Memory  int
	TempDir string
}

// Event is what the audit of a write says.
type Event struct {
	Tenant   registry.Tenant
	Token    string // of this run
	Affected int64  // rows inserted, updated, deleted or merged
}

// Outcome is what became of one tenant.
type Outcome struct {
	Tenant   registry.Tenant
	State    fleet.State
	Err      error // of the last attempt; nil when Done
	Rows     int64 // of the last statement's result
	Affected int64 // rows inserted, updated, deleted or merged by all statements
	Attempts int
	Duration time.Duration
}

// Report is what became of a run. Outcomes are in the order of the tenants.
type Report struct {
	Outcomes []Outcome
	// Stopped is why the run ended before its tenants did, nil when each had its
	// turn.
	Stopped error
}

// Summary counts what became of the tenants.
func (r *Report) Summary() fleet.Summary {
	s := fleet.Summary{Stopped: r.Stopped}
	for i := range r.Outcomes {
		s.Add(r.Outcomes[i].State, r.Outcomes[i].Err)
	}
	return s
}

// Affected counts the rows that were changed in the tenants that are done.
func (r *Report) Affected() int64 {
	n := int64(0)
	for i := range r.Outcomes {
		if r.Outcomes[i].State == fleet.Done {
			n += r.Outcomes[i].Affected
		}
	}
	return n
}

// Show takes the columns and the rows of a run, as Run gives them.
type Show func([]Column, iter.Seq2[Row, error]) error

// Run runs a script over tenants. show is called once, by the goroutine that called
// Run, with the columns and the rows of the script's last statement while the run goes
// on; the columns are nil where it returns no rows, or no tenant succeeded. Its error
// ends the run: what reads is cancelled, what writes finishes the tenants under way.
//
// The tenants before the first that succeeds go one by one: its columns are those
// that every other must have. One that has others fails with a *ColumnsError and, in
// a write, is rolled back.
func Run(ctx context.Context, connect func(context.Context) (*pgx.Conn, error), tenants []registry.Tenant,
	script []db.Statement, o Options, show Show,
) (*Report, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	r := newRun(tenants, script, o)
	defer r.spool.remove()
	var work sync.WaitGroup
	work.Go(func() { r.all(ctx, connect) })
	columns := r.columns()
	err := show(columns, r.rows(len(columns)))
	if err != nil {
		if !o.Write {
			cancel()
		}
		r.endEarly()
	}
	work.Wait()
	return &Report{Outcomes: r.outcomes, Stopped: r.stopped}, err
}

// rows returns the rows of all tenants, in order.
func (r *run) rows(width int) iter.Seq2[Row, error] {
	return func(yield func(Row, error) bool) {
		for i := range r.tenants {
			b := r.await(i)
			if b == nil {
				continue
			}
			stop := false
			err := b.each(width, func(values []Value) bool {
				stop = !yield(Row{Tenant: r.tenants[i], Values: values}, nil)
				return !stop
			})
			if err != nil {
				yield(Row{}, err)
				stop = true
			}
			if stop {
				return
			}
		}
	}
}

// all runs the leaders one by one, then the others at once.
func (r *run) all(ctx context.Context, connect func(context.Context) (*pgx.Conn, error)) {
	defer r.end()
	left := make([]int, len(r.tenants))
	for i := range left {
		left[i] = i
	}
	leaders := r.o.Fleet
	leaders.Concurrency, leaders.Drain = 1, r.led
	left = r.phase(ctx, connect, left, leaders)
	if !errors.Is(r.stopped, fleet.ErrDrained) || !r.known() {
		return
	}
	r.stopped = nil
	others := r.o.Fleet
	others.Drain = r.drain
	if others.StopAfter > 0 {
		others.StopAfter -= r.failed()
	}
	r.phase(ctx, connect, left, others)
}

// phase runs some tenants and returns those that are left.
func (r *run) phase(ctx context.Context, connect func(context.Context) (*pgx.Conn, error), items []int,
	o fleet.Options) []int {
	o.Observer = &observer{run: r, items: items, next: r.o.Fleet.Observer}
	results, err := fleet.Run(ctx, connect, len(items), o, func(ctx context.Context, conn *pgx.Conn, i int) error {
		return r.attempt(ctx, conn, items[i])
	})
	r.stopped = err
	var left []int
	for i, res := range results {
		r.record(items[i], res)
		if res.State == fleet.NotStarted {
			left = append(left, items[i])
		}
	}
	return left
}

// observer puts the items of a phase in their place.
type observer struct {
	run   *run
	items []int
	next  fleet.Observer
}

func (o *observer) Started(item int) {
	if o.next != nil {
		o.next.Started(o.items[item])
	}
}

func (o *observer) Retrying(item, attempt int, err error, wait time.Duration) {
	if o.next != nil {
		o.next.Retrying(o.items[item], attempt, err, wait)
	}
}

func (o *observer) Finished(item int, res fleet.Result) {
	// One that the end of the leaders' phase cut short has its turn yet.
	if res.State == fleet.NotStarted {
		return
	}
	o.run.record(o.items[item], res)
	if o.next != nil {
		o.next.Finished(o.items[item], res)
	}
}
