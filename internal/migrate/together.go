package migrate

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/registry"
)

// Small steps travel together: where one tenant's transaction is short, a few tenants
// share one. That spares a commit and an update of the registry for each. Such a group
// waits for no lock and takes no long time: it is given up then, as it is after any
// error, and its tenants take their turns alone. So what becomes of a tenant, and what is
// said of it, does not depend on the others.

const (
	// groupMost is how many tenants share a transaction at the most, unless the caller
	// says otherwise. What a transaction costs beside its tenants is then a twentieth of it.
	groupMost = 20
	// groupAim is how long a group is meant to take: all its locks are held that long.
	groupAim = 50 * time.Millisecond
	// groupLimit is when a group is given up, whatever it waits for, unless the caller says
	// otherwise.
	groupLimit = 100 * time.Millisecond
	// groupLockTimeout is how long it waits for one lock.
	groupLockTimeout = 20 * time.Millisecond
	// groupShare is the part of the server's free lock table, one in so many, that all
	// groups under way may fill.
	groupShare = 4
)

// newGroups returns what decides how many tenants share a transaction: wanted of them, or
// as many as suit where that is 0.
func newGroups(wanted, workers int) *fleet.Sizer {
	s := &fleet.Sizer{Workers: workers, Most: groupMost, Aim: groupAim, Share: groupShare}
	if wanted > 0 {
		s.Most, s.Aim = wanted, 0
	}
	return s
}

// together returns how the fleet serves several of the tenants now at once, nil where it
// does not.
func (r *run) together(now []int) *fleet.Together {
	if r.groups == nil || r.yield != nil {
		return nil
	}
	fit := map[int64]bool{}
	for _, i := range now {
		t := r.report.Outcomes[i].Tenant
		if _, seen := fit[t.Version]; !seen {
			change, ok := r.plan.expect(r.tenants[i].route, t)
			fit[t.Version] = ok && change.shareable()
		}
	}
	return &fleet.Together{
		Size: r.groups.Size,
		Fits: func(k int) bool {
			t := &r.report.Outcomes[now[k]].Tenant
			return fit[t.Version] && r.limits.Guard.Idle(t.Schema)
		},
		Work: func(ctx context.Context, conn *pgx.Conn, items []int) error {
			members := make([]int, len(items))
			for k, item := range items {
				members[k] = now[item]
			}
			return r.workTogether(ctx, conn, members)
		},
	}
}

// shareable reports whether other tenants may share the transaction of a change: nothing
// in it changes rows, of which a tenant may have many, or leaves anything in the
// transaction or the session.
func (c Change) shareable() bool {
	return (c.Next == nil || !c.Next.Transactional) && !slices.ContainsFunc(c.Applied, func(s Step) bool {
		return s.writes || s.Apart || s.Session || s.sets
	})
}

// workTogether takes tenants along their routes in one transaction.
func (r *run) workTogether(ctx context.Context, conn *pgx.Conn, members []int) error {
	tenants, changes := make([]registry.Tenant, len(members)), make([]Change, len(members))
	for k, i := range members {
		tenants[k] = r.report.Outcomes[i].Tenant
		changes[k], _ = r.plan.expect(r.tenants[i].route, tenants[k])
	}
	begun := time.Now()
	limited, cancel := context.WithTimeout(ctx, r.groups.Patience(cmp.Or(r.opt.GroupLimit, groupLimit)))
	defer cancel()
	if err := r.plan.applyTogether(limited, conn, tenants, changes, r.limits); err != nil {
		r.lost.note(err)
		if db.SQLState(err) == db.CodeOutOfMemory {
			r.groups.Stop()
		}
		r.groups.GaveUp(limited.Err() != nil)
		err = errors.Join(err, db.Rollback(ctx, conn))
		for _, i := range members {
			r.noteLost(i, conn)
		}
		return err
	}
	r.groups.Took(time.Since(begun), len(members))
	for k, i := range members {
		out := &r.report.Outcomes[i]
		if out.State == NotStarted {
			out.From = changes[k].From
		}
		out.State, out.To, out.Tenant.Version = Migrated, changes[k].To, changes[k].To
		r.tenants[i].next = changes[k].Next
	}
	return nil
}

// applyTogether sends what applyExpected sends for one tenant, for several in one
// transaction. After an error nothing of any of them has changed, unless the connection
// was lost during the commit.
func (p *Plan) applyTogether(ctx context.Context, conn *pgx.Conn, tenants []registry.Tenant, changes []Change,
	o ApplyOptions) error {
	var run db.Pipeline
	var first registry.Tenant
	if len(tenants) > 0 {
		first = tenants[0]
	}
	locals := o.locals(first)
	locals.Tenant, locals.LockTimeout = db.Row{}, groupLockTimeout
	run.Begin(locals)
	rows := make([]registry.Version, len(tenants))
	for i, t := range tenants {
		rows[i] = registry.Version{ID: t.ID, Schema: t.Schema, Version: changes[i].To}
	}
	o.Registry.QueueLocks(&run, rows)
	if !o.nested || !p.queueBlock(&run, tenants, changes, o) {
		p.queueEach(&run, tenants, changes, locals, o)
	}
	o.Registry.QueueVersions(&run, rows)
	run.Exec("commit")
	return run.Run(ctx, conn)
}

// warmed returns a connect function whose connections have run what groups send once, for no
// tenant: the server process has read the catalog then, where the canary leaves a core to
// spare. The plan and the limits are copies: the canaries change them while connections are
// opened.
func (r *run) warmed() Connect {
	if r.groups == nil || !r.limits.nested || r.ledger.pooled {
		return r.dial
	}
	dial, plan, limits := r.dial, r.plan, r.limits
	return func(ctx context.Context) (*pgx.Conn, error) {
		conn, err := dial(ctx)
		if err != nil {
			return nil, err
		}
		// What the server refuses here it refuses in the group again.
		if err := plan.applyTogether(ctx, conn, nil, nil, limits); err != nil {
			err = errors.Join(err, db.Rollback(ctx, conn))
			if conn.IsClosed() {
				return nil, err
			}
		}
		return conn, nil
	}
}

// usualTablespace takes back what a transaction has of a tenant's tablespace.
const usualTablespace = "set local default_tablespace to default"

// queueEach adds what takes each of the tenants along its change. The transaction stands in
// the schema of the first, and in no tenant's after it.
func (p *Plan) queueEach(run *db.Pipeline, tenants []registry.Tenant, changes []Change, locals db.Locals,
	o ApplyOptions) {
	for i, t := range tenants {
		if i > 0 {
			if tenants[i-1].Tablespace != t.Tablespace {
				run.Exec(usualTablespace)
			}
			locals.Schema, locals.Tablespace = t.Schema, t.Tablespace
			o.queueLeave(run, tenants[i-1].Schema, locals)
		}
		p.queueOwn(run, t, changes[i], o)
	}
	locals.Schema = db.Schema{}
	o.queueLeave(run, tenants[len(tenants)-1].Schema, locals)
}

// queueLeave adds the step out of a tenant's schema, and out of the role of its owner.
func (o ApplyOptions) queueLeave(p *db.Pipeline, s db.Schema, next db.Locals) {
	p.Leave(s, next)
	if o.Owners.Of(s) != (owner.Role{}) {
		p.Return()
	}
}

// lockCount is how many locks a transaction holds, and how many more the server has.
type lockCount struct{ held, free int }

// queue adds the count to a transaction on PostgreSQL's own path.
func (l *lockCount) queue(p *db.Pipeline) {
	p.QueryRow([]any{&l.held, &l.free}, `
		select count(*) filter (where l.pid = pg_backend_pid()),
			current_setting('max_locks_per_transaction')::int * (current_setting('max_connections')::int
				+ current_setting('max_prepared_transactions')::int) - count(*) filter (where not l.fastpath)
		from pg_locks l`)
}

// learn takes in what a canary's transaction has come to hold, and its settings before and
// after: others must not meet any that it has left.
func learn(g *fleet.Sizer, had, has []string, held lockCount) {
	if g == nil {
		return
	}
	if !sameSettings(had, has) {
		g.Stop()
		return
	}
	g.Locked(held.held, held.free)
}
