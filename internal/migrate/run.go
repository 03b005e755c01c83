package migrate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
)

// Connect opens a connection; the caller closes it.
type Connect = func(context.Context) (*pgx.Conn, error)

// RunOptions say how to run a plan over a fleet.
type RunOptions struct {
	Registry registry.Registry
	Route    Route
	// Fleet is the policy of the shared queue. Observer is Run's own.
	Fleet fleet.Options
	// Direct opens connections for files that cannot run in a transaction, past
	// any pooler; nil takes connect. DirectConcurrency is how many such tenants
	// are under way at once, 0 = 1.
	Direct            Connect
	DirectConcurrency int

	Canary           Canary
	Order            Order // in which tenants are taken up; "" = as they are given
	LockTimeout      time.Duration
	StatementTimeout time.Duration
	BuildTimeout     time.Duration // as in ApplyOptions
	// SyncCommit makes every tenant's commit wait for the disk. Without it the
	// tenants commit asynchronously, and the synchronous commits of the ledger,
	// which flush them all, come before Run returns.
	SyncCommit bool
	// Group is how many tenants may share a transaction at the most, where their
	// migrations are short and change no rows; 0 = as many as suit, 1 = none.
	Group int
	// GroupLimit is when tenants that share a transaction are given up, whatever they
	// wait for, and take their turns alone; 0 = 100 ms.
	GroupLimit time.Duration
	// AllowChanged goes on although a file is not what it was when it was applied.
	AllowChanged bool
	// Trusted are roles whose code may run in tenants' schemas, besides those that
	// could act as the session's role.
	Trusted []string
	// OwnRole does all work as the session's role, whoever owns the schemas.
	OwnRole bool
	Actor   string
	// Selection is kept in the ledger, for whoever repeats the run; nil for all tenants,
	// up to the newest version.
	Selection *registry.Selection
	// Observe is told how the run goes. It is called by all workers at once and
	// must be safe for that and quick. Nil tells nobody.
	Observe func(Event)
}

// Run takes the given tenants along a route over several connections and records
// the run in the ledger. A failing tenant stops no other, unless the policy says
// so. The error is about the run as a whole (files that changed, a ledger that
// cannot be written); what befell a tenant is in its Outcome.
//
// ledger is a connection for the registry, which no worker uses. Where it is lost, others take
// its place.
func (p *Plan) Run(ctx context.Context, ledger *pgx.Conn, connect Connect, tenants []registry.Tenant,
	o RunOptions) (*Report, error) {
	if len(tenants) == 0 {
		return newRun(p, connect, tenants, o).report, nil
	}
	begun := time.Now()
	start, err := p.begin(ctx, ledger, connect, tenants, o)
	defer start.close(ctx)
	if err != nil {
		return start.report(), err
	}
	r := start.run
	r.ledger.start(ctx, &r.lost)
	defer r.ledger.release(ctx)
	watching, stopWatching := context.WithCancel(context.WithoutCancel(ctx))
	defer stopWatching()
	go r.watcher.run(watching)
	defer r.guards.Close(ctx)
	r.start()
	r.report.Stopped = r.all(ctx)
	err = r.record(ctx, begun)
	stopWatching()
	if err != nil {
		return r.report, fmt.Errorf("%w: %w", ErrNotRecorded, err)
	}
	r.observe(RunFinished{r.report})
	return r.report, nil
}

// run is one Run.
type run struct {
	plan    *Plan
	dial    Connect // a connection
	connect Connect // one that is there already, or dial
	opt     RunOptions
	limits  ApplyOptions
	observe func(Event)
	report  *Report
	ledger  *ledger
	watcher *watcher
	groups  *fleet.Sizer // nil: every tenant alone
	guards  db.Guards
	yield   func(error) bool // of the phase under way
	tenants []progress       // beside report.Outcomes; a slot is the worker's that holds the tenant
	lost    lossCount
	looked  int64 // how many of these were noted when the registry was last asked
}

// progress is how far a tenant has come.
type progress struct {
	route    Route
	next     *Step // nil at the end of its route
	started  bool
	finished bool
	lost     *loss // of an attempt whose answer was lost, nil for none
}

func newRun(p *Plan, connect Connect, tenants []registry.Tenant, o RunOptions) *run {
	r := &run{
		plan: p, dial: connect, connect: connect, opt: o,
		limits: ApplyOptions{Registry: o.Registry, LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout,
			BuildTimeout: o.BuildTimeout, AsyncCommit: !o.SyncCommit},
		observe: o.Observe,
		report:  &Report{Kind: o.Route.kind(), Target: p.target(o.Route), Outcomes: make([]Outcome, len(tenants))},
		tenants: make([]progress, len(tenants)),
	}
	if r.observe == nil {
		r.observe = func(Event) {}
	}
	if r.opt.Direct == nil {
		r.opt.Direct = connect
	}
	for i, t := range tenants {
		r.report.Outcomes[i] = Outcome{Tenant: t, State: NotStarted, From: t.Version, To: t.Version}
		route := p.resolve(o.Route, t.Version)
		r.tenants[i] = progress{route: route, next: p.firstStep(route, t.Version)}
	}
	r.report.Canaries = o.Canary.choose(tenants)
	if len(r.report.Canaries) == len(tenants) && o.Canary.Check == "" {
		r.report.Canaries = nil // there is nobody to protect
		if len(tenants) > 0 && p.ahead(o.Route, tenants).Opaque() {
			r.limits.inspection = &inspection{} // but what is outside of the tenants
		}
	}
	r.watcher = newWatcher(o.Registry, connect, r.observe)
	r.guards.Connect = connect
	return r
}

// ahead returns the part of the plan that one of the tenants may have before it.
func (p *Plan) ahead(r Route, tenants []registry.Tenant) *Plan {
	if r.kind() != Up || r.OutOfOrder {
		return p
	}
	oldest := slices.MinFunc(tenants, func(a, b registry.Tenant) int { return cmp.Compare(a.Version, b.Version) })
	return &Plan{Migrations: p.After(oldest.Version)}
}

// target returns the version a route aims at, -1 where each tenant has its own.
func (p *Plan) target(r Route) int64 {
	switch {
	case r.kind() == Down && r.Steps == 0:
		return r.To
	case r.kind() == Up:
		return p.Head()
	}
	return -1
}

// firstStep is a guess from the registry's version; what a tenant really needs it
// says itself.
func (p *Plan) firstStep(r Route, version int64) *Step {
	if r.kind() == Up {
		if pending := p.After(version); len(pending) > 0 {
			return &Step{Migration: pending[0]}
		}
	} else if m := p.Migration(version); m != nil {
		return &Step{Migration: m, Down: true}
	}
	return nil
}

func (r *run) start() {
	e := RunStarted{RunID: r.report.RunID, Kind: r.report.Kind, Target: r.report.Target, Tenants: len(r.tenants)}
	for _, i := range r.report.Canaries {
		e.Canaries = append(e.Canaries, r.report.Outcomes[i].Tenant.Slug)
	}
	r.observe(e)
}

// all runs the canaries, then the others.
func (r *run) all(ctx context.Context) error {
	isCanary := make([]bool, len(r.tenants))
	for _, i := range r.report.Canaries {
		isCanary[i] = true
	}
	var rest []int
	for i := range r.tenants {
		if !isCanary[i] {
			rest = append(rest, i)
		}
	}
	if len(r.report.Canaries) > 0 {
		ahead, end := fleet.Ahead(ctx, min(r.opt.Fleet.Concurrency, r.startable(rest)), r.warmed())
		defer end()
		r.connect, r.opt.Direct = orWithout(r.connect, end), orWithout(r.opt.Direct, end)
		r.guards.Connect = orWithout(r.guards.Connect, end)
		var err error
		if rest, err = r.canaries(ctx, rest); err != nil {
			return err
		}
		if len(rest) > 0 && r.opt.Canary.Pause > 0 {
			if err := r.pause(ctx); err != nil {
				return err
			}
		}
		r.connect = ahead
	}
	return r.phases(ctx, "fleet", rest, r.opt.Fleet.StopAfter)
}

// startable counts the tenants that may begin with what runs in a transaction.
func (r *run) startable(tenants []int) int {
	n := 0
	for _, i := range tenants {
		if next := r.tenants[i].next; next == nil || next.Transactional {
			n++
		}
	}
	return n
}

// orWithout returns connect, which calls end to close others where the server has no slot
// left, and tries once more: what was opened ahead must not be in the way of what is wanted
// now.
func orWithout(connect Connect, end func()) Connect {
	return func(ctx context.Context) (*pgx.Conn, error) {
		conn, err := connect(ctx)
		if db.SQLState(err) != db.CodeTooManyConnections {
			return conn, err
		}
		end()
		return connect(ctx)
	}
}

func (r *run) checkCanaries(ctx context.Context) error {
	conn, err := r.connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	for _, i := range r.report.Canaries {
		out := &r.report.Outcomes[i]
		if out.State == Skipped {
			continue
		}
		if err := r.opt.Canary.check(ctx, conn, out.Tenant, r.limits); err != nil {
			return err
		}
	}
	return nil
}

func (r *run) pause(ctx context.Context) error {
	timer := time.NewTimer(r.opt.Canary.Pause)
	defer timer.Stop()
	deadline := make(<-chan time.Time)
	if !r.opt.Fleet.Deadline.IsZero() {
		t := time.NewTimer(time.Until(r.opt.Fleet.Deadline))
		defer t.Stop()
		deadline = t.C
	}
	select {
	case <-timer.C:
		return nil
	case <-deadline:
		return fleet.ErrDeadline
	case <-r.opt.Fleet.Drain:
		return fleet.ErrDrained
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// record settles the outcomes and writes them, whatever became of ctx: the run is over.
// The commit that records them flushes the tenants'. A connection that is lost meanwhile
// may be a crash of the server, which has undone some of these.
func (r *run) record(ctx context.Context, begun time.Time) error {
	var err error
	for range ledgerTries {
		if err = r.settle(ctx); err == nil {
			err = r.confirm(ctx)
		}
		r.report.Elapsed = time.Since(begun)
		if err != nil {
			return err
		}
		if err = r.ledger.close(ctx, r.unsure); !r.unsure() {
			break
		}
	}
	return err
}

// confirm has the commits of the run flushed and looks whether all are there, where a pooler
// stands between: it hides a crash of the server from a session that was idle then.
func (r *run) confirm(ctx context.Context) error {
	if r.opt.SyncCommit || !r.ledger.pooled || r.report.Count(Migrated) == 0 {
		return nil
	}
	for attempt := range ledgerTries {
		if r.ledger.flushWith(context.WithoutCancel(ctx), true) == nil {
			break
		}
		time.Sleep(fleet.Backoff(attempt + 2))
	}
	r.lost.n.Add(1)
	return r.settle(ctx)
}

// unsure reports whether commits may have been lost since the registry was last asked.
func (r *run) unsure() bool { return !r.opt.SyncCommit && r.lost.n.Load() > r.looked }

// settle gives every tenant that never had its turn an outcome, and has the
// commits counted that a crash of the server may have undone.
func (r *run) settle(ctx context.Context) error {
	var err error
	if r.unsure() {
		err = r.repeatLost(ctx)
	}
	r.lookUp(ctx, err == nil)
	for i := range r.tenants {
		if r.tenants[i].finished {
			continue
		}
		if out := &r.report.Outcomes[i]; r.tenants[i].next != nil && (out.State == Migrated || out.State == Current) {
			out.State = NotStarted // half way along its route, when the run ended
		}
		r.finish(i)
	}
	return err
}

// repeatLost looks for tenants whose commit did not survive a crash of the server:
// asynchronous commits may lose their last moments. Their registry rows tell, for
// they were part of the same transactions. Those tenants take their turn again.
func (r *run) repeatLost(ctx context.Context) error {
	noted := r.lost.n.Load()
	versions, err := r.reachedVersions(ctx)
	if err != nil {
		return err
	}
	r.looked = noted
	var again []int
	for i := range r.report.Outcomes {
		out := &r.report.Outcomes[i]
		if version, there := versions[out.Tenant.ID]; there && out.State == Migrated && version != out.To {
			out.State, out.To, out.Tenant.Version = NotStarted, version, version
			r.tenants[i].finished, r.tenants[i].next = false, r.plan.firstStep(r.opt.Route, version)
			again = append(again, i)
		}
	}
	if len(again) > 0 {
		r.ledger.flush(context.WithoutCancel(ctx))
		r.report.Stopped = errors.Join(r.report.Stopped, r.phases(ctx, "fleet", again, 0))
	}
	return nil
}

// reachedVersions reads the registry's versions, with the patience of the ledger: the
// server may be restarting.
func (r *run) reachedVersions(ctx context.Context) (map[string]int64, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ledgerPatience(ctx))
	defer cancel()
	for attempt := 1; ; attempt++ {
		versions, err := r.readVersions(ctx)
		if err == nil || !db.Retryable(err) || ctx.Err() != nil {
			return versions, err
		}
		time.Sleep(fleet.Backoff(attempt + 1))
	}
}

func (r *run) readVersions(ctx context.Context) (map[string]int64, error) {
	conn, err := r.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return r.opt.Registry.Versions(ctx, conn)
}

// finish records a tenant's final outcome.
func (r *run) finish(i int) {
	r.tenants[i].finished = true
	out := r.report.Outcomes[i]
	r.ledger.add(out)
	if r.tenants[i].started {
		r.observe(TenantFinished{out})
	}
}
