package migrate

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
)

// The commit of a tenant travels with its migrations. Where the connection is lost before the
// answer is there, nobody knows whether it took place, and the tenant is in doubt: another
// attempt finds out, or, where there is none any more, a look at the registry at the end of
// the run. What is found there may be another run's work, of which the ledger tells.

// lossCount counts attempts that ended with a lost connection.
type lossCount struct{ n atomic.Int64 }

func (l *lossCount) note(err error) {
	if db.ConnectionLost(err) {
		l.n.Add(1)
	}
}

// loss is what is left of an attempt whose answer was lost.
type loss struct {
	from int64    // the version that the tenant had before
	pids []uint32 // the server processes that may still be at work on it
}

// noteLost puts a tenant in doubt where one of the connections of an attempt is gone.
func (r *run) noteLost(i int, conns ...*pgx.Conn) {
	for _, conn := range conns {
		if conn == nil || !conn.IsClosed() {
			continue
		}
		p := &r.tenants[i]
		if p.lost == nil {
			p.lost = &loss{from: r.report.Outcomes[i].Tenant.Version}
		}
		p.lost.pids = append(p.lost.pids, conn.PgConn().PID())
	}
}

// found takes in that a tenant has the version already that an attempt was to bring it to.
// recorded tells that the registry knew. Where an earlier attempt of this run is in doubt, and
// no other run can have done it, that attempt has.
func (r *run) found(ctx context.Context, conn *pgx.Conn, i int, recorded bool) {
	if r.tenants[i].lost == nil || !recorded {
		return
	}
	out := &r.report.Outcomes[i]
	ours, err := r.opt.Registry.OnlyRun(ctx, conn, r.report.RunID, []string{out.Tenant.ID})
	r.judge(i, err == nil && ours[out.Tenant.ID])
}

// judge says whose work a tenant in doubt is that was found at another version.
func (r *run) judge(i int, ours bool) {
	out := &r.report.Outcomes[i]
	out.State, out.Answer = Current, AnswerUnclear
	if ours {
		out.State, out.Answer, out.From = Migrated, AnswerRecovered, r.tenants[i].lost.from
	}
}

const (
	// lookupLimit bounds the wait for server processes that go on without their client. It is
	// longer than they take to notice.
	lookupLimit = 4 * time.Second
	lookupPause = 50 * time.Millisecond
)

// lookUp finds out what became of the tenants in doubt that had no other attempt: the run was
// cancelled, or drained, or there was no server for long. Where that stays unknown their errors
// say so. there tells that there is a server.
func (r *run) lookUp(ctx context.Context, there bool) {
	var open []int
	for i := range r.tenants {
		if s := r.report.Outcomes[i].State; r.tenants[i].lost != nil && (s == NotStarted || s == Failed) {
			open = append(open, i)
		}
	}
	if len(open) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ledgerPatience(ctx))
	defer cancel()
	unknown := open
	for attempt := 1; there; attempt++ {
		left, err := r.lookUpOnce(ctx, open)
		if err == nil {
			unknown = left
		}
		if err == nil || !db.Retryable(err) || ctx.Err() != nil {
			break
		}
		time.Sleep(fleet.Backoff(attempt + 1))
	}
	for _, i := range unknown {
		out := &r.report.Outcomes[i]
		out.Err = db.ErrCommitUnknown
		if out.State == Failed {
			out.Err = fmt.Errorf("%w: %w", db.ErrCommitUnknown, out.Err)
		}
		r.tenants[i].finished = false
	}
}

// lookUpOnce looks at tenants in doubt, and returns those that somebody may still be at work on.
func (r *run) lookUpOnce(ctx context.Context, open []int) (left []int, _ error) {
	conn, err := r.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	ids := make([]string, len(open))
	var pids []uint32
	for k, i := range open {
		ids[k] = r.report.Outcomes[i].Tenant.ID
		if !r.ledger.pooled { // a pooler gives them numbers of its own
			pids = append(pids, r.tenants[i].lost.pids...)
		}
	}
	slices.Sort(pids)
	pids = slices.Compact(pids)
	busy := true
	for begun := time.Now(); ; time.Sleep(lookupPause) {
		if busy, err = r.opt.Registry.Busy(ctx, conn, ids, pids); err != nil {
			return nil, err
		}
		if !busy || time.Since(begun) > lookupLimit {
			break
		}
	}
	versions, err := r.opt.Registry.Versions(ctx, conn)
	if err != nil {
		return nil, err
	}
	ours, err := r.opt.Registry.OnlyRun(ctx, conn, r.report.RunID, ids)
	if err != nil {
		return nil, err
	}
	for _, i := range open {
		out := &r.report.Outcomes[i]
		version, there := versions[out.Tenant.ID]
		switch {
		case there && version != out.Tenant.Version:
			r.arrived(i, version, ours[out.Tenant.ID])
		case busy:
			left = append(left, i)
		}
	}
	return left, nil
}

// arrived takes in that a tenant in doubt is at another version than before.
func (r *run) arrived(i int, version int64, ours bool) {
	out := &r.report.Outcomes[i]
	r.judge(i, ours)
	out.To, out.Tenant.Version, out.Err = version, version, nil
	r.tenants[i].finished, r.tenants[i].next = false, nil
	if r.plan.Behind(r.tenants[i].route, version) {
		r.tenants[i].next = r.plan.firstStep(r.tenants[i].route, version)
	}
}
