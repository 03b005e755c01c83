package migrate

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
)

// phases takes tenants along their routes: in turns, first what runs in
// transactions for all of them, then what cannot, until none has anything left.
// So a slow index build in one tenant never keeps a quick change from another.
func (r *run) phases(ctx context.Context, name string, todo []int, stopAfter int) error {
	failed := 0
	for direct := false; len(todo) > 0; direct = !direct {
		var now, later []int
		for _, i := range todo {
			// A tenant without a known next step is asked, in a transaction.
			next := r.tenants[i].next
			if (next != nil && !next.Transactional) == direct {
				now = append(now, i)
			} else {
				later = append(later, i)
			}
		}
		if len(now) == 0 {
			todo = later
			continue
		}
		o := r.opt.Fleet
		o.Yield = r.yield
		if o.Patience == 0 {
			o.Patience = patience
		}
		if stopAfter > 0 {
			o.StopAfter = stopAfter - failed
		}
		connect := r.connect
		phase := PhaseStarted{Name: name, Tenants: len(now)}
		if direct {
			phase.Name = "no transaction"
			connect = r.opt.Direct
			o.Concurrency = max(1, r.opt.DirectConcurrency)
			o.RecycleAfter = 1 // what such a file leaves in its session dies with it
		}
		phase.Concurrency = min(max(1, o.Concurrency), len(now))
		r.observe(phase)
		left, err := r.phase(ctx, now, connect, o, direct)
		for _, i := range now {
			if r.report.Outcomes[i].State == Failed {
				failed++
			}
		}
		if err != nil {
			return err
		}
		todo = append(later, left...)
	}
	return nil
}

// phase runs one turn and returns the tenants that have more to do.
func (r *run) phase(ctx context.Context, now []int, connect Connect, o fleet.Options,
	direct bool) (left []int, _ error) {
	o.Observer = &observer{run: r, index: now}
	o.Unreachable = func(err error) { r.observe(ServerAway{err}) }
	if !direct {
		o.Together = r.together(now)
	}
	results, err := fleet.Run(ctx, connect, len(now), o, func(ctx context.Context, conn *pgx.Conn, k int) error {
		return r.work(ctx, conn, now[k], direct)
	})
	for k, res := range results {
		i := now[k]
		if res.State == fleet.NotStarted && !r.tenants[i].finished {
			r.take(i, res)
		}
		if res.State == fleet.Done && r.tenants[i].next != nil {
			left = append(left, i)
		}
	}
	return left, err
}

// work is one attempt at one tenant.
func (r *run) work(ctx context.Context, conn *pgx.Conn, i int, direct bool) error {
	out := &r.report.Outcomes[i]
	if err := r.limits.Guard.Refuse(out.Tenant.Schema); err != nil {
		return err
	}
	begun := time.Now()
	change, err := r.apply(ctx, conn, i, direct)
	if err == nil && !direct {
		r.groups.Took(time.Since(begun), 1)
	}
	var busy *db.BusyError
	var blocked *db.BlockedError
	switch {
	case errors.As(err, &busy) && len(busy.Blockers) > 0:
		out.Blockers = busy.Blockers
	case errors.As(err, &blocked) && len(out.Blockers) == 0:
		out.Blockers = blocked.Blockers
	}
	switch {
	case errors.Is(err, ErrGone):
		out.State = Skipped
		r.tenants[i].next = nil
		return nil
	case err != nil && len(change.Applied) == 0:
		return explained(ctx, conn, r.opt.Registry, err)
	}
	if out.State == NotStarted {
		out.From, out.State = change.From, Current
	}
	switch {
	case len(change.Applied) > 0:
		out.State, out.Answer = Migrated, AnswerNone
	case out.State == Current:
		r.found(ctx, conn, i, change.recorded)
	}
	out.To, out.Tenant.Version = change.To, change.To
	r.tenants[i].next = change.Next
	return explained(ctx, conn, r.opt.Registry, err)
}

// apply takes one tenant along its route, watched.
func (r *run) apply(ctx context.Context, conn *pgx.Conn, i int, direct bool) (Change, error) {
	out := &r.report.Outcomes[i]
	pid := uint32(0)
	if direct {
		pid = conn.PgConn().PID() // another connection has the tenant's lock
	}
	r.watcher.begin(out.Tenant, pid)
	defer func() {
		if seen := r.watcher.end(out.Tenant); len(seen) > 0 {
			out.Blockers = seen
		}
	}()
	if !direct {
		change, err := r.plan.Apply(ctx, conn, out.Tenant, r.tenants[i].route, r.limits)
		if err != nil {
			r.noteLost(i, conn)
		}
		return change, err
	}
	guard, err := r.guards.Take(ctx)
	if err != nil {
		return Change{}, err
	}
	defer r.guards.Give(guard)
	change, err := r.plan.ApplyDirect(ctx, conn, guard, out.Tenant, r.tenants[i].route, r.limits)
	if err != nil {
		r.noteLost(i, conn, guard)
		if route := &r.tenants[i].route; route.Kind == Redo && route.To == 0 {
			route.To = change.From // what is newest for the next attempt need not be what this one took back
		}
	}
	return change, err
}

// take copies how the work ended. A tenant that was tried in vain until the run
// was drained has an error and is not started; one that is half way along its
// route is not started either, at the version it has reached.
func (r *run) take(i int, res fleet.Result) {
	out := &r.report.Outcomes[i]
	out.Attempts += res.Attempts
	out.Duration += res.Duration
	switch res.State {
	case fleet.Failed:
		out.State, out.Err = Failed, res.Err
	case fleet.NotStarted:
		out.State, out.Err = NotStarted, res.Err
	case fleet.Done: // the work has said how
		out.Err = nil
	}
}

// observer turns what the fleet says of an index of its own into what a run says
// of a tenant.
type observer struct {
	run   *run
	index []int
}

func (o *observer) Started(k int) {
	i := o.index[k]
	if !o.run.tenants[i].started {
		o.run.tenants[i].started = true
		o.run.observe(TenantStarted{o.run.report.Outcomes[i].Tenant})
	}
}

func (o *observer) Retrying(k, attempt int, err error, wait time.Duration) {
	out := &o.run.report.Outcomes[o.index[k]]
	o.run.lost.note(err)
	o.run.observe(TenantRetrying{Tenant: out.Tenant, Attempt: attempt, Err: err, Wait: wait, Blockers: out.Blockers})
}

func (o *observer) Finished(k int, res fleet.Result) {
	i := o.index[k]
	o.run.lost.note(res.Err)
	if res.State == fleet.NotStarted && o.run.yield != nil && o.run.yield(res.Err) {
		o.run.observe(TenantRetrying{Tenant: o.run.report.Outcomes[i].Tenant, Attempt: res.Attempts, Err: res.Err,
			Blockers: o.run.report.Outcomes[i].Blockers})
		return // it takes its turn later
	}
	o.run.take(i, res)
	if res.State != fleet.Done || o.run.tenants[i].next == nil {
		o.run.finish(i)
		return
	}
	out := &o.run.report.Outcomes[i]
	o.run.observe(TenantAdvanced{Tenant: out.Tenant, To: out.To})
}
