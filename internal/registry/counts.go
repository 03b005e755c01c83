package registry

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Counts is the fleet in numbers.
type Counts struct {
	Statuses map[Status]int
	// Versions counts the tenants that runs migrate, the active and the suspended ones, by
	// the cached version of their schema.
	Versions map[int64]int
	// PurgesOverdue are deleted tenants that may be destroyed by now.
	PurgesOverdue int
	// Dirty are tenants in the middle of a migration without a transaction.
	Dirty int
}

// Count returns the fleet in numbers, in one pass over the tenants.
func (r Registry) Count(ctx context.Context, q db.Querier) (Counts, error) {
	out := Counts{Statuses: map[Status]int{}, Versions: map[int64]int{}}
	type row struct {
		Status         Status
		Version        int64
		Count, Overdue int
	}
	rows, err := db.Select(ctx, q, pgx.RowToStructByName[row], `
		select status, coalesce(schema_version, -1) as version, count(*)::int as count,
			(count(*) filter (where status = 'deleted' and purge_after <= pg_catalog.now()))::int as overdue
		from `+r.Tenants()+` where status is not null group by 1, 2`)
	if err != nil {
		return out, fmt.Errorf("count the tenants: %w", r.explain(err))
	}
	for _, found := range rows {
		out.Statuses[found.Status] += found.Count
		out.PurgesOverdue += found.Overdue
		if found.Status == Active || found.Status == Suspended {
			out.Versions[found.Version] += found.Count
		}
	}
	dirty, err := db.Select(ctx, q, pgx.RowTo[int], `select count(*)::int from `+r.Dirty())
	if err != nil {
		return out, r.ExplainTable(ctx, q, "count the tenants", err)
	}
	out.Dirty = dirty[0]
	return out, nil
}

// LastRun is when a run of a kind last ended in a way.
type LastRun struct {
	Kind string // migrate, rollback, redo
	// Outcome is succeeded, failed (for some tenants), stopped or killed, and running for
	// one that has not ended: At is its last sign of life.
	Outcome string
	At      time.Time
	Runs    int // of that kind and outcome
}

// LastRuns returns when a run of each kind last ended in each way.
func (r Registry) LastRuns(ctx context.Context, q db.Querier) ([]LastRun, error) {
	found, err := db.Select(ctx, q, pgx.RowToStructByName[LastRun], `
		select kind, outcome, max(at) as at, count(*)::int as runs
		from (
			select r.kind, coalesce(r.finished_at, r.heartbeat_at, r.started_at) as at,
				case when r.finished_at is null then case when `+r.runAlive()+` then 'running' else 'killed' end
					when r.state <> 'finished' then r.state
					when r.failed > 0 then 'failed' else 'succeeded' end as outcome
			from `+r.Runs()+` r
		) runs
		group by kind, outcome order by kind, outcome`)
	return found, r.ExplainTable(ctx, q, "read the runs", err)
}

// LastBackups returns when each of the active and suspended tenants was last backed up, as
// the audit has it, by slug: the zero time where it never was. It takes a look at the
// audit's index for each tenant.
func (r Registry) LastBackups(ctx context.Context, q db.Querier) (map[string]time.Time, error) {
	type row struct {
		Slug string
		At   *time.Time
	}
	rows, err := db.Select(ctx, q, pgx.RowToStructByName[row], `
		select t.slug, b.at from `+r.Tenants()+` t
		left join lateral (
			select e.occurred_at as at from `+r.Events()+` e
			where e.tenant_id = t.id and e.action = '`+ActionBackup+`'
			order by e.occurred_at desc limit 1) b on true
		where t.status in ('active', 'suspended')`)
	if err != nil {
		return nil, r.ExplainTable(ctx, q, "read the audit", err)
	}
	out := make(map[string]time.Time, len(rows))
	for _, found := range rows {
		var at time.Time
		if found.At != nil {
			at = *found.At
		}
		out[found.Slug] = at
	}
	return out, nil
}
