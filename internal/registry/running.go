package registry

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// maxFailures is how many failed tenants of a run are told while it goes on.
const maxFailures = 100

// RunProgress is a run that is under way, as far as it has written into the ledger.
type RunProgress struct {
	Run

	Seconds  float64     // since it began, by the server's clock
	Failures []RunTenant // the first of them by slug: slug, versions, SQLSTATE and message
}

// Done is the number of tenants of which it is known what became of them.
func (r RunProgress) Done() int { return r.Succeeded + r.Failed }

// PerSecond returns how many tenants a second were done so far.
func (r RunProgress) PerSecond() float64 {
	if r.Seconds <= 0 {
		return 0
	}
	return float64(r.Done()) / r.Seconds
}

// Running returns the newest run that is under way, nil for none. It changes nothing, and
// reads of the tenants only those of that run.
func (r Registry) Running(ctx context.Context, q db.Querier) (*RunProgress, error) {
	found, err := db.Select(ctx, q, func(row pgx.CollectableRow) (run RunProgress, err error) {
		err = row.Scan(&run.ID, &run.Kind, &run.Actor, &run.Target, &run.Tenants, &run.StartedAt, &run.Seconds,
			&run.Succeeded, &run.Failed)
		run.State = "running"
		return run, err
	}, `select r.id, r.kind, r.actor, r.target_version, r.tenants, r.started_at,
			greatest(extract(epoch from pg_catalog.clock_timestamp() - r.started_at), 0)::float8, c.succeeded, c.failed
		from (select * from `+r.Runs()+` r where r.finished_at is null and `+r.runAlive()+` order by r.id desc limit 1) r
		cross join lateral (
			select count(*) filter (where t.state in ('migrated', 'current', 'skipped', 'done')) as succeeded,
				count(*) filter (where t.state = 'failed') as failed
			from `+r.RunTenants()+` t where t.run_id = r.id) c`)
	if err != nil || len(found) == 0 {
		return nil, r.ExplainTable(ctx, q, "read the run that is under way", err)
	}
	run := found[0]
	if run.Failed == 0 {
		return &run, nil
	}
	run.Failures, err = db.Select(ctx, q, func(row pgx.CollectableRow) (t RunTenant, err error) {
		err = row.Scan(&t.Slug, &t.From, &t.To, &t.SQLState, &t.Place, &t.Message)
		return t, err
	}, `select slug, from_version, to_version, coalesce(sqlstate, ''), coalesce(place, ''), coalesce(message, '')
		from `+r.RunTenants()+` where run_id = $1 and state = 'failed' order by slug collate "C" limit $2`,
		run.ID, maxFailures)
	return &run, r.ExplainTable(ctx, q, "read the failures of a run", err)
}
