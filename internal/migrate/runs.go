package migrate

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// ErrNoRun says that the ledger has no run of that number.
var ErrNoRun = errors.New("no such run")

// RunRecord is a run in the ledger.
type RunRecord struct {
	ID         int64
	Kind       Kind
	State      string // running, finished, stopped, killed
	Reason     string // why it stopped
	Actor      string // "alice@desk"
	Target     int64
	Tenants    int
	Succeeded  int
	Failed     int
	NotStarted int
	StartedAt  time.Time
	FinishedAt *time.Time
	Selection  *Selection // as given in RunOptions
}

// RunTenant is what became of one tenant of a run.
type RunTenant struct {
	ID       string // uuid
	Slug     string
	State    State
	From, To int64
	Attempts int
	Duration time.Duration
	SQLState string
	Place    string // file and line of the statement
	SQL      string // the statement, its first 1,000 characters
	Message  string
}

// Runs returns the newest runs, at most limit. One that was killed is called so,
// also where nobody has closed it yet: reading changes nothing.
func Runs(ctx context.Context, conn *pgx.Conn, limit int) ([]RunRecord, error) {
	return readRuns(ctx, conn, `order by r.id desc limit $1`, limit)
}

// GetRun returns a run and what became of its tenants, by slug. The error wraps
// ErrNoRun.
func GetRun(ctx context.Context, conn *pgx.Conn, id int64) (RunRecord, []RunTenant, error) {
	runs, err := readRuns(ctx, conn, `where r.id = $1`, id)
	switch {
	case err != nil:
		return RunRecord{}, nil, err
	case len(runs) == 0:
		return RunRecord{}, nil, fmt.Errorf("%w: %d", ErrNoRun, id)
	}
	tenants, err := db.Select(ctx, conn, func(row pgx.CollectableRow) (t RunTenant, err error) {
		var ms int64
		err = row.Scan(&t.ID, &t.Slug, &t.State, &t.From, &t.To, &t.Attempts, &ms, &t.SQLState, &t.Place, &t.Message, &t.SQL)
		t.Duration = time.Duration(ms) * time.Millisecond
		return t, err
	}, `select tenant_id::text, slug, state, from_version, to_version, attempts, duration_ms,
			coalesce(sqlstate, ''), coalesce(place, ''), coalesce(message, ''), coalesce(statement, '')
		from public.migration_run_tenants where run_id = $1 order by slug collate "C"`, id)
	if err != nil {
		return RunRecord{}, nil, fmt.Errorf("read run %d: %w", id, err)
	}
	return runs[0], tenants, nil
}

func readRuns(ctx context.Context, conn *pgx.Conn, rest string, args ...any) ([]RunRecord, error) {
	runs, err := db.Select(ctx, conn, func(row pgx.CollectableRow) (r RunRecord, err error) {
		var detail string
		err = row.Scan(&r.ID, &r.Kind, &r.State, &r.Reason, &r.Actor, &r.Target, &r.Tenants, &r.Succeeded, &r.Failed, &r.NotStarted,
			&r.StartedAt, &r.FinishedAt, &detail)
		if err != nil {
			return r, err
		}
		var d struct {
			Selection *Selection `json:"selection"`
		}
		err = json.Unmarshal([]byte(detail), &d)
		r.Selection = d.Selection
		return r, err
	}, `select r.id, r.kind, case when dead.yes then 'killed' else r.state end, case when dead.yes then 'killed' else coalesce(r.reason, '') end,
			r.actor, r.target_version, r.tenants,
			case when dead.yes then c.succeeded else r.succeeded end, case when dead.yes then c.failed else r.failed end,
			case when dead.yes then r.tenants - c.succeeded - c.failed else r.not_started end,
			r.started_at, case when dead.yes then pg_catalog.now() else r.finished_at end, r.detail::text
		from public.migration_runs r
		cross join lateral (select r.finished_at is null and not (`+runAlive()+`) as yes) dead
		cross join lateral (
			select count(*) filter (where t.state in ('migrated', 'current', 'skipped')) as succeeded,
				count(*) filter (where t.state = 'failed') as failed
			from public.migration_run_tenants t where dead.yes and t.run_id = r.id) c `+rest, args...)
	if err != nil {
		return nil, fmt.Errorf("read the runs: %w", err)
	}
	return runs, nil
}

// Unfinished sorts the tenants of a run, by id, into those that are done and those
// to be done again. A run that was killed has others of which it did not come to
// tell.
func Unfinished(tenants []RunTenant) (done, open map[string]bool) {
	done, open = map[string]bool{}, map[string]bool{}
	for _, t := range tenants {
		switch t.State {
		case Migrated, Current, Skipped:
			done[t.ID] = true
		case Failed, NotStarted:
			open[t.ID] = true
		}
	}
	return done, open
}

// PastRate returns how many tenants a second the latest finished runs have
// migrated, 0 when there is nothing to go by.
func PastRate(ctx context.Context, q db.Querier) (float64, error) {
	rate, err := db.Select(ctx, q, pgx.RowTo[float64], `
		select coalesce(sum(succeeded) / nullif(sum(extract(epoch from finished_at - started_at)), 0), 0)::float8
		from (select * from public.migration_runs
			where kind = 'migrate' and state = 'finished' and succeeded > 0 order by id desc limit 5) r`)
	if err != nil {
		return 0, fmt.Errorf("read the runs: %w", err)
	}
	return rate[0], nil
}
