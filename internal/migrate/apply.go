package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
)

// Errors of applying a plan to a tenant.
var (
	// ErrNotManaged says that a schema has no goose_db_version table, so nobody
	// can tell what was applied to it.
	ErrNotManaged = errors.New("schema has no goose_db_version table")
	// ErrGone says that the registry no longer has the tenant, or has it as
	// deleted, or that a transfer has it.
	ErrGone = errors.New("tenant was deleted or transferred meanwhile")
)

// Change is what a run did to one schema.
type Change struct {
	From, To int64
	Applied  []Step
	// Next is the step to take next when the route is not at its end: it cannot
	// share a transaction with those applied.
	Next *Step

	recorded bool // of a change with nothing applied: the registry had To already
}

// ApplyOptions are the limits of one tenant's transaction.
type ApplyOptions struct {
	Registry         registry.Registry
	LockTimeout      time.Duration // wait for each lock
	StatementTimeout time.Duration // run of each statement, 0 = the server's
	AsyncCommit      bool          // the caller flushes later
	// BuildTimeout is the wait of CREATE and DROP INDEX CONCURRENTLY for the
	// transactions before them, which may be long and blocks nobody; 0 = a minute.
	BuildTimeout time.Duration
	// Guard keeps the work from a schema in which others have planted code; nil
	// trusts nobody.
	Guard *planted.Guard
	// Owners say as which role the work in a schema is done.
	Owners owner.Roles

	// inspection looks at a canary before it commits; nil does not.
	inspection *inspection
	// groups is told what a canary's transaction takes and leaves; nil does not want to
	// know.
	groups *fleet.Sizer
	// blocks tells that DO blocks can be run, nested that migrations may run in them.
	blocks, nested bool
}

func (o ApplyOptions) buildTimeout() time.Duration {
	if o.BuildTimeout > 0 {
		return o.BuildTimeout
	}
	return buildPatience
}

// Apply takes a tenant's schema along a route in one transaction, up to the first
// step that cannot run in one.
//
// Where the registry's version is the truth, which the server checks before the
// first statement, that costs one round trip: begin, limits and lock; the version
// rows; the migrations; the registry's cache and the commit. Otherwise a first
// round trip reads the versions.
//
// The lock of the tenant is tried, never waited for: db.ErrBusy is worth another
// try, as is every error that db.Retryable knows. After an error nothing of the
// tenant has changed, unless the connection was lost during the commit; another
// Apply then finds out.
//
// Where a file must be a transaction of its own the route is cut before and after it,
// and the tenant is at a whole version at each cut. The change returned beside an error
// is what was committed before.
//
// The error is a *planted.Error where the schema has code of others.
func (p *Plan) Apply(ctx context.Context, conn *pgx.Conn, t registry.Tenant, r Route, o ApplyOptions) (Change, error) {
	r = p.resolve(r, t.Version)
	var before []string
	if o.inspection != nil {
		var err error
		if before, err = settingsOf(ctx, conn); err != nil {
			return Change{}, err
		}
	}
	total, err := p.applyGuarded(ctx, conn, t, r, o)
	for err == nil && total.Next != nil && total.Next.Transactional {
		var change Change
		t.Version = total.To
		change, err = p.applyGuarded(ctx, conn, t, r, o)
		if err == nil {
			change.From, change.Applied = total.From, append(total.Applied, change.Applied...)
			total = change
		}
	}
	err = p.overtaken(ctx, conn, t, gone(db.NameBlockers(ctx, conn, t.Schema, err)), o.LockTimeout)
	if o.inspection != nil && err == nil && !leavesTraces(total.Applied) {
		after, err := settingsOf(ctx, conn)
		if err != nil || !sameSettings(before, after) {
			o.inspection.traces.Store(true)
		}
	}
	if leavesTraces(total.Applied) || err != nil && p.Session() || o.inspection != nil && o.inspection.traces.Load() {
		db.Retire(ctx, conn)
	}
	return total, err
}

// applyGuarded is applyLeading, and looks closely at a schema where its transaction
// has found something of a role that is not trusted.
func (p *Plan) applyGuarded(ctx context.Context, conn *pgx.Conn, t registry.Tenant, r Route,
	o ApplyOptions) (Change, error) {
	change, err := p.applyLeading(ctx, conn, t, r, o)
	if !planted.Suspect(err) {
		return change, err
	}
	if err := o.Guard.Clear(ctx, conn, t.Schema); err != nil {
		return Change{}, err
	}
	return p.applyLeading(ctx, conn, t, r, o)
}

// applyLeading takes the first steps of a route, those that share a transaction.
func (p *Plan) applyLeading(ctx context.Context, conn *pgx.Conn, t registry.Tenant, r Route,
	o ApplyOptions) (Change, error) {
	if change, ok := p.expect(r, t); ok && o.inspection == nil {
		err := p.applyExpected(ctx, conn, t, change, o)
		if err == nil {
			return change, nil
		}
		if !errors.Is(err, errUnexpected) && !errors.Is(err, errLeft) {
			return Change{}, errors.Join(err, p.undo(ctx, conn))
		}
		if err := db.Rollback(ctx, conn); err != nil {
			return Change{}, err
		}
	}
	change, err := p.applyRead(ctx, conn, t, r, o)
	if err != nil {
		return Change{}, errors.Join(err, p.undo(ctx, conn))
	}
	return change, nil
}

// errUnexpected says that a schema is not what the registry has it for.
var errUnexpected = errors.New("the schema differs from its registry row")

// expect returns the change of a tenant whose registry row is true.
func (p *Plan) expect(r Route, t registry.Tenant) (Change, bool) {
	pending := p.After(t.Version)
	if r.kind() != Up || r.OutOfOrder || len(pending) == 0 || !pending[0].Transactional {
		return Change{}, false
	}
	steps := make([]Step, len(pending))
	for i, m := range pending {
		steps[i] = Step{m, false}
	}
	return newChange(t.Version, nil, steps), true
}

// newChange takes the leading steps.
func newChange(from int64, applied []int64, steps []Step) Change {
	c := Change{From: from, To: from}
	if len(steps) == 0 {
		return c
	}
	now, later := leading(steps)
	c.Applied = now
	c.To = after(append([]int64{from}, applied...), now)
	if len(later) > 0 {
		c.Next = &later[0]
	}
	return c
}

// applyExpected sends everything at once. The first version row guards what
// follows: it fails unless the transaction stands in the tenant's schema and that
// has exactly the versions expected, so no migration runs where it should not.
func (p *Plan) applyExpected(ctx context.Context, conn *pgx.Conn, t registry.Tenant, c Change, o ApplyOptions) error {
	var run db.Pipeline
	run.Begin(o.locals(t))
	o.queueGuard(&run, t.Schema)
	p.queueWork(&run, t, c, o)
	queueEnd(&run, c.Applied)
	return gone(run.Run(ctx, conn))
}

// queueWork adds the version rows of a change, its scripts and the registry's copy of the
// version, each as the role that it is for.
func (p *Plan) queueWork(run *db.Pipeline, t registry.Tenant, c Change, o ApplyOptions) {
	p.queueOwn(run, t, c, o)
	queueCache(run, o.Registry, t, c.To, o.Owners.Of(t.Schema).Work != "")
}

// queueOwn adds what is done in the tenant's schema, as its owner.
func (p *Plan) queueOwn(run *db.Pipeline, t registry.Tenant, c Change, o ApplyOptions) {
	as := o.Owners.Of(t.Schema)
	run.Become(as.Versions)
	p.queueExpected(run, t, c, o)
	if as.Work != as.Versions {
		run.Become(as.Work)
	}
	p.queueScripts(run, c.Applied)
}

// queueExpected adds the version rows of a change, of which the first guards what follows.
func (p *Plan) queueExpected(run *db.Pipeline, t registry.Tenant, c Change, o ApplyOptions) {
	known := len(p.Migrations) - len(p.After(t.Version))
	read := unexpected(db.CodeDivisionByZero, db.CodeUndefinedTable, db.CodeUniqueViolation)
	if o.blocks {
		run.Query(read, tenantVersions.expectBlock(known, t.Version, c.Applied))
		return
	}
	guarded := false
	for _, s := range c.Applied {
		if guarded {
			tenantVersions.queueRow(run, t.Schema, s)
			continue
		}
		guarded = true
		run.Query(read, tenantVersions.guarded(t.Schema, "$1", "$2", "$3", "$4"),
			s.Version, t.Schema.String(), known, t.Version)
	}
}

// guarded returns the statement that adds the row of a version. It fails with
// division_by_zero, or because it adds no number, unless the transaction stands in the
// schema called home, and that has so many versions of which one is the newest. The four are
// expressions.
func (v versionTable) guarded(in db.Schema, version, home, known, newest string) string {
	return `insert into ` + v.in(in) + ` (version_id, is_applied)
		select ` + version + `::pg_catalog.int8 operator(pg_catalog./) (
			pg_catalog.current_schema() operator(pg_catalog.=) ` + home + `::pg_catalog.text
			and pg_catalog.count(*) operator(pg_catalog.=) ` + known + `::pg_catalog.int8
			and coalesce(pg_catalog.max(v.version_id), 0) operator(pg_catalog.=) ` + newest + `::pg_catalog.int8
			)::pg_catalog.int4, true
		from ` + v.in(in) + ` v where v.is_applied and v.version_id operator(pg_catalog.>) 0`
}

// queueGuard adds the guard of a transaction, which belongs to the session's own role.
func (o ApplyOptions) queueGuard(p *db.Pipeline, s db.Schema) {
	table := string(tenantVersions)
	if as := o.Owners.Of(s); as.Versions != "" {
		// The session's role need not have rights of its own on the table.
		p.Become(as.Versions)
		p.Apart("lock table " + tenantVersions.in(s) + " in row exclusive mode")
		p.Return()
		table = ""
	}
	o.Guard.Queue(p, s, table)
}

// gone says ErrGone of a tenant that the registry has no more.
func gone(err error) error {
	if errors.Is(err, db.ErrNoTenant) {
		return ErrGone
	}
	return err
}

// unexpected reads no rows and turns the given errors into errUnexpected.
func unexpected(codes ...string) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		rows.Close()
		if err := rows.Err(); err != nil && slices.Contains(codes, db.SQLState(err)) {
			return errUnexpected
		}
		return rows.Err()
	}
}

// queueEnd adds the commit, and before it what keeps the steps' traces from the next
// tenant.
func queueEnd(p *db.Pipeline, steps []Step) {
	if leavesTraces(steps) {
		p.Cleanse()
	}
	p.Exec("commit")
}

// undo ends a transaction that failed.
func (p *Plan) undo(ctx context.Context, conn *pgx.Conn) error {
	if p.Session() {
		return db.Undo(ctx, conn)
	}
	return db.Rollback(ctx, conn)
}

// leavesTraces reports whether one of the steps may leave something in the session.
func leavesTraces(steps []Step) bool {
	return slices.ContainsFunc(steps, func(s Step) bool { return s.Session })
}

// queueCache adds the registry's copy of a tenant's version. It asserts, on the
// server and before the commit, that no statement has left the schema and that
// the tenant is not deleted: dividing by zero is the shortest way to an error in
// plain SQL. owned tells that the work was done as the owner, who sees where it stands
// and need not know the registry; the session's own role need not see the schema.
func queueCache(p *db.Pipeline, reg registry.Registry, t registry.Tenant, version int64, owned bool) {
	if owned {
		p.StillIn(t.Schema, errLeft)
		p.Return()
	}
	reg.QueueReached(p, t, version, owned, func(rows pgx.Rows) error {
		rows.Close()
		switch {
		case db.SQLState(rows.Err()) == db.CodeDivisionByZero:
			return errLeft
		case rows.Err() == nil && rows.CommandTag().RowsAffected() != 1:
			return ErrGone
		}
		return rows.Err()
	})
}

// errLeft says that a migration stands in another schema at its end, or that the
// tenant was deleted before.
var errLeft = fmt.Errorf("%w at the end of the migration, which must have left it", db.ErrWrongSchema)

func (o ApplyOptions) locals(t registry.Tenant) db.Locals {
	return db.Locals{
		Schema: t.Schema, Tenant: o.Registry.Row(t.ID), LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout,
		Tablespace:   t.Tablespace,
		AsyncCommit:  o.AsyncCommit,
		AsConfigured: true,
		Named:        o.blocks,
	}
}

func (p *Plan) queueScripts(run *db.Pipeline, steps []Step) {
	if !p.path.IsZero() {
		run.Script([]db.Statement{p.path.Statement(true)})
	}
	if leavesTraces(steps) {
		run.Mark()
	}
	for _, s := range steps {
		run.Script(s.Script())
	}
}

// queueRow adds or removes the version row of a step.
func (v versionTable) queueRow(p *db.Pipeline, in db.Schema, s Step) {
	if s.Down {
		p.Exec(`delete from `+v.in(in)+` where version_id operator(pg_catalog.=) $1`, s.Version)
		return
	}
	p.Exec(`insert into `+v.in(in)+` (version_id, is_applied) values ($1, true)`, s.Version)
}

// change says what a schema with the given applied versions lacks.
func (p *Plan) change(r Route, applied []int64) (Change, error) {
	current := int64(0)
	for _, v := range applied {
		current = max(current, v)
	}
	if r.kind() == Up && current > p.Head() {
		return Change{From: current, To: current}, nil
	}
	steps, err := p.Steps(r, applied)
	if err != nil {
		return Change{}, err
	}
	if len(steps) > 0 && !steps[0].Transactional {
		return Change{From: current, To: current, Next: &steps[0]}, nil
	}
	return newChange(current, applied, steps), nil
}
