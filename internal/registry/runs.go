package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// ErrNoRun says that the ledger has no run of that number.
var ErrNoRun = errors.New("no such run")

// Run is a run over the fleet in the ledger.
type Run struct {
	ID         int64
	Kind       string // migrate, rollback, redo, vacuum, analyze, reindex
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
	Selection  *Selection // nil for all tenants, up to the newest version
	Resumes    int64      // the run whose tenants that were left it was for, 0 for none
}

// What became of a tenant in a run that migrates nothing.
const (
	StateDone       = "done"
	StateFailed     = "failed"
	StateNotStarted = "not started"
)

// Selection says for which tenants, and how far, a run was asked for.
type Selection struct {
	Tenants []string `json:"tenants,omitempty"` // slugs and patterns; none = all
	Exclude []string `json:"exclude,omitempty"`
	To      int64    `json:"to,omitempty"` // version; 0 = the newest
}

// runDetail is what the ledger keeps of a run beside its columns.
type runDetail struct {
	Selection *Selection `json:"selection"`
	Resumes   int64      `json:"resumes,omitempty"`
}

// RunTenant is what became of one tenant of a run.
type RunTenant struct {
	ID       string // uuid
	Slug     string
	Schema   string // "" where the registry does not know the tenant any more
	State    string
	From, To int64
	Attempts int
	Duration time.Duration
	SQLState string
	Place    string // file and line of the statement
	SQL      string // the statement, its first 1,000 characters
	Message  string
}

// ListRuns returns the newest runs, at most limit. One that was killed is called so,
// also where nobody has closed it yet: reading changes nothing.
func (r Registry) ListRuns(ctx context.Context, q db.Querier, limit int) ([]Run, error) {
	return r.readRuns(ctx, q, `order by r.id desc limit $1`, limit)
}

// NewestRun returns the newest run of a kind, as ListRuns does. The error wraps ErrNoRun.
func (r Registry) NewestRun(ctx context.Context, q db.Querier, kind string) (Run, error) {
	found, err := r.readRuns(ctx, q, `where r.kind = $1 order by r.id desc limit 1`, kind)
	switch {
	case err != nil:
		return Run{}, err
	case len(found) == 0:
		return Run{}, fmt.Errorf("%w: %s", ErrNoRun, kind)
	}
	return found[0], nil
}

// GetRun returns a run and what became of its tenants, by slug. The error wraps
// ErrNoRun.
func (r Registry) GetRun(ctx context.Context, q db.Querier, id int64) (Run, []RunTenant, error) {
	found, err := r.readRuns(ctx, q, `where r.id = $1`, id)
	switch {
	case err != nil:
		return Run{}, nil, err
	case len(found) == 0:
		return Run{}, nil, fmt.Errorf("%w: %d", ErrNoRun, id)
	}
	outcomes, err := db.Select(ctx, q, func(row pgx.CollectableRow) (t RunTenant, err error) {
		var ms int64
		err = row.Scan(&t.ID, &t.Slug, &t.Schema, &t.State, &t.From, &t.To, &t.Attempts, &ms,
			&t.SQLState, &t.Place, &t.Message, &t.SQL)
		t.Duration = time.Duration(ms) * time.Millisecond
		return t, err
	}, `select o.tenant_id::text, o.slug, coalesce(t.schema_name, ''), o.state, o.from_version, o.to_version,
			o.attempts, o.duration_ms,
			coalesce(o.sqlstate, ''), coalesce(o.place, ''), coalesce(o.message, ''), coalesce(o.statement, '')
		from `+r.RunTenants()+` o left join `+r.Tenants()+` t on t.id = o.tenant_id
		where o.run_id = $1 order by o.slug collate "C"`, id)
	if err != nil {
		return Run{}, nil, fmt.Errorf("read run %d: %w", id, err)
	}
	return found[0], outcomes, nil
}

func (r Registry) readRuns(ctx context.Context, q db.Querier, rest string, args ...any) ([]Run, error) {
	found, err := db.Select(ctx, q, func(row pgx.CollectableRow) (run Run, err error) {
		var detail string
		err = row.Scan(&run.ID, &run.Kind, &run.State, &run.Reason, &run.Actor, &run.Target, &run.Tenants, &run.Succeeded,
			&run.Failed, &run.NotStarted,
			&run.StartedAt, &run.FinishedAt, &detail)
		if err != nil {
			return run, err
		}
		var d runDetail
		err = json.Unmarshal([]byte(detail), &d)
		run.Selection, run.Resumes = d.Selection, d.Resumes
		return run, err
	}, `select r.id, r.kind, case when dead.yes then 'killed' else r.state
		end, case when dead.yes then 'killed' else coalesce(r.reason, '') end,
			r.actor, r.target_version, r.tenants,
			case when dead.yes then c.succeeded else r.succeeded end, case when dead.yes then c.failed else r.failed end,
			case when dead.yes then r.tenants - c.succeeded - c.failed else r.not_started end,
			r.started_at, case when dead.yes then pg_catalog.now() else r.finished_at end, r.detail::text
		from `+r.Runs()+` r
		cross join lateral (select r.finished_at is null and not (`+r.runAlive()+`) as yes) dead
		cross join lateral (
			select count(*) filter (where t.state in ('migrated', 'current', 'skipped', 'done')) as succeeded,
				count(*) filter (where t.state = 'failed') as failed
			from `+r.RunTenants()+` t where dead.yes and t.run_id = r.id) c `+rest, args...)
	if err != nil {
		return nil, r.ExplainTable(ctx, q, "read the runs", err)
	}
	return found, nil
}

// PastRate returns how many tenants a second the latest finished runs have
// migrated, 0 when there is nothing to go by.
func (r Registry) PastRate(ctx context.Context, q db.Querier) (float64, error) {
	rate, err := db.Select(ctx, q, pgx.RowTo[float64], `
		select coalesce(sum(succeeded) / nullif(sum(extract(epoch from finished_at - started_at)), 0), 0)::float8
		from (select * from `+r.Runs()+`
			where kind = 'migrate' and state = 'finished' and succeeded > 0 order by id desc limit 5) r`)
	if err != nil {
		return 0, r.ExplainTable(ctx, q, "read the runs", err)
	}
	return rate[0], nil
}

// runAlive is true for a run r whose session holds its lock, or that gave a sign of
// life not long ago. Of a lock that a login holds which may not change the
// registry it says nothing: anybody can take one.
func (r Registry) runAlive() string {
	return `case when r.heartbeat_at is null then exists (
		select from pg_catalog.pg_locks l join pg_catalog.pg_stat_activity a on a.pid = l.pid
		where l.locktype = 'advisory' and l.granted and l.objsubid = 2
		  and l.classid = ` + strconv.Itoa(int(r.RunLock())) + ` and l.objid = (r.id % 2147483648)::pg_catalog.oid
		  and l.database = (select oid from pg_catalog.pg_database where datname = pg_catalog.current_database())
		  and ` + r.MayChange("a.usesysid") + `)
	else r.heartbeat_at > pg_catalog.clock_timestamp() - interval '1 minute' end`
}

// closeDead closes the runs that were killed, with what the ledger has of them.
func (r Registry) closeDead() string {
	return `update ` + r.Runs() + ` r
	set state = 'killed', finished_at = pg_catalog.now(), succeeded = c.succeeded, failed = c.failed,
		not_started = r.tenants - c.succeeded - c.failed, reason = 'killed'
	from ` + r.Runs() + ` d
	cross join lateral (
		select count(*) filter (where t.state in ('migrated', 'current', 'skipped', 'done')) as succeeded,
			count(*) filter (where t.state = 'failed') as failed
		from ` + r.RunTenants() + ` t where t.run_id = d.id) c
	where d.id = r.id and r.finished_at is null and not (` + r.runAlive() + `)`
}

// CloseRuns closes the runs that were killed, as the next run would.
func (r Registry) CloseRuns(ctx context.Context, q db.Querier) error {
	if _, err := db.Select(ctx, q, pgx.RowTo[int64], `with closed as (`+r.closeDead()+
		` returning 1) select count(*) from closed`); err != nil {
		return fmt.Errorf("close killed runs: %w", err)
	}
	return nil
}

// DeadRuns returns the numbers of the runs that were killed and are still open in the
// ledger. It changes nothing; CloseRuns closes them.
func (r Registry) DeadRuns(ctx context.Context, q db.Querier) ([]int64, error) {
	ids, err := db.Select(ctx, q, pgx.RowTo[int64], `select r.id from `+r.Runs()+
		` r where r.finished_at is null and not (`+r.runAlive()+`) order by r.id`)
	if err != nil {
		return nil, fmt.Errorf("read the ledger: %w", err)
	}
	return ids, nil
}

// QueueRun adds the beginning of a run, after closing those that were killed. It reads
// the run's number and the server process into run.ID and pid.
func (r Registry) QueueRun(p *db.Pipeline, run *Run, pid *uint32) error {
	detail, err := json.Marshal(runDetail{run.Selection, run.Resumes})
	if err != nil {
		return err
	}
	p.Exec(r.closeDead())
	p.QueryRow([]any{&run.ID, pid}, `insert into `+r.Runs()+` (kind, actor, target_version, tenants, heartbeat_at, detail)
		values ($1, $2, $3, $4, pg_catalog.now(), $5::pg_catalog.jsonb) returning id, pg_catalog.pg_backend_pid()`,
		run.Kind, run.Actor, run.Target, run.Tenants, string(detail))
	return nil
}

// QueueForgetRun adds the end of the row of a run that has not begun with any tenant.
func (r Registry) QueueForgetRun(p *db.Pipeline, id int64) {
	p.Exec(`delete from `+r.Runs()+` r where r.id = $1 and r.finished_at is null
		and not exists (select from `+r.RunTenants()+` t where t.run_id = r.id)`, id)
}

// LockRun has the session take the lock of a run, which tells that it lives, and says so in
// the ledger. It reports whether nobody else has it.
func (r Registry) LockRun(ctx context.Context, q db.Querier, id int64) (got bool, err error) {
	err = q.QueryRow(ctx, `update `+r.Runs()+` set heartbeat_at = case
			when pg_catalog.pg_try_advisory_lock($2::pg_catalog.int4, $3::pg_catalog.int4) then null
			else pg_catalog.clock_timestamp() end
		where id operator(pg_catalog.=) $1 returning heartbeat_at is null`, id, r.RunLock(), int32(id)).Scan(&got)
	return got, err
}

// QueueHeartbeat adds a sign of life of a run that cannot hold its lock.
func (r Registry) QueueHeartbeat(p *db.Pipeline, id int64) {
	p.Exec(`update `+r.Runs()+` set heartbeat_at = pg_catalog.clock_timestamp() where id = $1`, id)
}

// QueueRunEnd adds the end of a run: its numbers, state and reason.
func (r Registry) QueueRunEnd(p *db.Pipeline, run Run) {
	p.Exec(`update `+r.Runs()+`
		set finished_at = pg_catalog.clock_timestamp(), succeeded = $2, failed = $3, not_started = $4, state = $5, reason = $6
		where id = $1`, run.ID, run.Succeeded, run.Failed, run.NotStarted, run.State, orNull(run.Reason))
}

// QueueRunTenants adds what became of tenants of a run, in the place of what was known
// of them before.
func (r Registry) QueueRunTenants(p *db.Pipeline, run int64, list []RunTenant) {
	n := len(list)
	ids, slugs, states := make([]string, n), make([]string, n), make([]string, n)
	from, to, duration := make([]int64, n), make([]int64, n), make([]int64, n)
	attempts := make([]int32, n)
	codes, places, messages, statements := make([]string, n), make([]string, n), make([]string, n), make([]string, n)
	for i, t := range list {
		ids[i], slugs[i], states[i] = t.ID, t.Slug, t.State
		from[i], to[i] = t.From, t.To
		attempts[i], duration[i] = int32(t.Attempts), t.Duration.Milliseconds()
		codes[i], places[i], messages[i], statements[i] = t.SQLState, t.Place, t.Message, t.SQL
	}
	p.Exec(`insert into `+r.RunTenants()+`
			(run_id, tenant_id, slug, state, from_version, to_version, attempts, duration_ms, sqlstate, place, message,
				statement)
		select $1, u.id, u.slug, u.state, u.from_version, u.to_version, u.attempts, u.duration,
			nullif(u.code, ''), nullif(u.place, ''), nullif(u.message, ''), nullif(u.statement, '')
		from unnest($2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::integer[], $8::bigint[],
			$9::text[], $10::text[], $11::text[], $12::text[]) u (id, slug, state, from_version, to_version, attempts,
				duration, code, place, message, statement)
		on conflict (run_id, tenant_id) do update set state = excluded.state, to_version = excluded.to_version,
			attempts = excluded.attempts, duration_ms = excluded.duration_ms,
			sqlstate = excluded.sqlstate, place = excluded.place, message = excluded.message, statement = excluded.statement`,
		run, ids, slugs, states, from, to, attempts, duration, codes, places, messages, statements)
}

// OnlyRun returns those of the tenants, by their ids, that no other run can have migrated since
// a run began: each of the others has ended before, or knows of another outcome, or has ended
// without this tenant. One that was killed, or is still under way, may not have come to tell.
func (r Registry) OnlyRun(ctx context.Context, q db.Querier, id int64, tenants []string) (map[string]bool, error) {
	found, err := db.Select(ctx, q, pgx.RowTo[string], `select u.id::text from unnest($2::uuid[]) u (id)
		where not exists (
			select from `+r.Runs()+` o join `+r.Runs()+` m on m.id = $1
			left join `+r.RunTenants()+` t on t.run_id = o.id and t.tenant_id = u.id
			where o.id <> m.id and o.kind in ('migrate', 'rollback', 'redo')
			  -- the tenants were read some time before the run began
			  and coalesce(o.finished_at >= m.started_at - interval '10 minutes', true)
			  and coalesce(t.state = 'migrated', o.finished_at is null or o.state = 'killed'))`, id, tenants)
	if err != nil {
		return nil, fmt.Errorf("read the runs: %w", err)
	}
	only := make(map[string]bool, len(found))
	for _, id := range found {
		only[id] = true
	}
	return only, nil
}
