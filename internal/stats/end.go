package stats

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// PickOptions say which sessions are to be ended: those that have been idle, or idle in
// a transaction, at least so long (0 picks none), or those of PIDs alone.
type PickOptions struct {
	Idle, InTransaction time.Duration
	PIDs                []int32
	// Tenant, if not nil, reports whether a tenant's are meant. A session that is no single
	// tenant's is left alone then.
	Tenant     func(slug string) bool
	Superusers bool // those of superusers too
}

// NotPicked is a process of PIDs that is left alone.
type NotPicked struct {
	PID int32
	Why string
}

// Pick returns the sessions that are to be ended, the longest idle first, and why some of
// PIDs are not. It picks clients of this database alone, never the session that looked.
func (s Sessions) Pick(o PickOptions) (picked []Session, left []NotPicked) {
	if len(o.PIDs) > 0 {
		return s.pickPIDs(o)
	}
	for _, one := range s.Sessions {
		idle := o.Idle > 0 && one.State == "idle" && one.InState >= o.Idle
		open := o.InTransaction > 0 && one.IsInTransaction() && one.InState >= o.InTransaction
		switch {
		case !one.IsClient(), one.Hidden, !idle && !open, one.Superuser && !o.Superusers:
		case o.Tenant != nil && (one.Tenant == "" || !o.Tenant(one.Tenant)):
		default:
			picked = append(picked, one)
		}
	}
	slices.SortStableFunc(picked, func(a, b Session) int { return cmp.Compare(b.InState, a.InState) })
	return picked, nil
}

func (s Sessions) pickPIDs(o PickOptions) (picked []Session, left []NotPicked) {
	for i, pid := range o.PIDs {
		if slices.Contains(o.PIDs[:i], pid) {
			continue
		}
		at := slices.IndexFunc(s.Sessions, func(one Session) bool { return one.PID == pid })
		why := ""
		switch {
		case pid <= 0 || at < 0:
			why = "no session of this database has this process"
		case s.Sessions[at].Database != "":
			why = "it is a session of another database"
		case !s.Sessions[at].IsClient():
			why = "it is no client, but: " + s.Sessions[at].Kind
		case s.Sessions[at].Superuser && !o.Superusers:
			why = "it is a superuser's"
		}
		if why != "" {
			left = append(left, NotPicked{PID: pid, Why: why})
			continue
		}
		picked = append(picked, s.Sessions[at])
	}
	return picked, left
}

// Fate is what became of a session that was to be ended.
type Fate string

// A session of which the role may not say that it ends is Refused. Signalled is one that was
// still there some seconds later. Changed is one that has gone meanwhile, or is not idle
// any more.
const (
	Ended     Fate = "ended"
	Signalled Fate = "signalled"
	Refused   Fate = "refused"
	Changed   Fate = "changed"
)

// endWait is how long the server waits for a session to be gone.
const endWait = 5 * time.Second

// End ends a session that Pick has picked, unless it is not what it was then: its process
// may serve somebody else by now, or it may be at work again. It costs a round trip. q must
// not be in a transaction, within which the server shows what was.
func End(ctx context.Context, q db.Querier, s Session, o PickOptions) (Fate, error) {
	state, least := "", time.Duration(0)
	if len(o.PIDs) == 0 {
		if state, least = s.State, o.Idle; s.IsInTransaction() {
			least = o.InTransaction
		}
	}
	fates, err := db.Select(ctx, q, pgx.RowTo[string], `
		select case
			when not (me.rolsuper or not coalesce(r.rolsuper, false) and (pg_has_role(a.usesysid, 'USAGE')
				or pg_has_role('pg_signal_backend', 'USAGE'))) then 'refused'
			when pg_terminate_backend(a.pid, $6::bigint) then 'ended' else 'signalled' end
		from pg_stat_activity a
		join pg_roles me on me.rolname = current_user
		left join pg_roles r on r.oid = a.usesysid
		where a.pid = $1::int and coalesce(extract(epoch from a.backend_start)::text, '') = $2
		  and a.pid <> pg_backend_pid() and a.datname = current_database() and a.usesysid is not null
		  and ($3::bool or not coalesce(r.rolsuper, false))
		  and ($4::text = '' or a.state = $4 and extract(epoch from clock_timestamp() - a.state_change) >= $5::float8)`,
		s.PID, s.begun, o.Superusers, state, least.Seconds(), endWait.Milliseconds())
	switch {
	case err != nil:
		return "", fmt.Errorf("end session %d: %w", s.PID, err)
	case len(fates) == 0:
		return Changed, nil
	}
	return Fate(fates[0]), nil
}
