package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// ErrNotRecorded says that a run did its work but could not write the ledger, so
// neither is it certain that the work is on disk: look with migrate status.
var ErrNotRecorded = errors.New("the run could not be recorded")

const (
	ledgerTimeout = 30 * time.Second
	ledgerChunk   = 1000 // rows per insert
)

// openRun records that a run begins and returns its id.
func openRun(ctx context.Context, conn *pgx.Conn, target int64, tenants int, actor string) (int64, error) {
	ids, err := db.Select(ctx, conn, pgx.RowTo[int64], `
		insert into public.migration_runs (actor, target_version, tenants) values ($1, $2, $3) returning id`,
		actor, target, tenants)
	if err != nil {
		return 0, fmt.Errorf("record the run: %w", err)
	}
	return ids[0], nil
}

// closeRun writes the outcomes and the end of the run in one transaction, over
// the ledger's connection or, where that is gone, a new one.
func closeRun(ctx context.Context, conn *pgx.Conn, connect func(context.Context) (*pgx.Conn, error), r *Report) error {
	err := writeRun(ctx, conn, r)
	if err == nil || !db.ConnectionLost(err) {
		return err
	}
	fresh, err := connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = fresh.Close(ctx) }()
	return writeRun(ctx, fresh, r)
}

func writeRun(ctx context.Context, conn *pgx.Conn, r *Report) error {
	return db.InTx(ctx, conn, db.Locals{}, func(ctx context.Context, q db.Querier) error {
		var p db.Pipeline
		for start := 0; start < len(r.Outcomes); start += ledgerChunk {
			queueOutcomes(&p, r.RunID, r.Outcomes[start:min(start+ledgerChunk, len(r.Outcomes))])
		}
		p.Exec(`update public.migration_runs
			set finished_at = pg_catalog.clock_timestamp(), succeeded = $2, failed = $3, not_started = $4
			where id = $1`,
			r.RunID, r.Count(Migrated)+r.Count(Current)+r.Count(Skipped), r.Count(Failed), r.Count(NotStarted))
		// The tenants' commits did not wait for the disk; this one does, and
		// what was written before it goes along.
		p.Exec(`select pg_catalog.set_config('synchronous_commit', 'on', true)
			where pg_catalog.current_setting('synchronous_commit') = 'off'`)
		return p.Run(ctx, q)
	})
}

func queueOutcomes(p *db.Pipeline, run int64, outcomes []Outcome) {
	n := len(outcomes)
	ids, slugs, states := make([]string, n), make([]string, n), make([]string, n)
	from, to, duration := make([]int64, n), make([]int64, n), make([]int64, n)
	attempts := make([]int32, n)
	codes, places, messages := make([]*string, n), make([]*string, n), make([]*string, n)
	for i, o := range outcomes {
		ids[i], slugs[i], states[i] = o.Tenant.ID, o.Tenant.Slug, string(o.State)
		from[i], to[i] = o.From, o.To
		attempts[i], duration[i] = int32(o.Attempts), o.Duration.Milliseconds()
		if o.Err != nil {
			codes[i], places[i], messages[i] = describe(o.Err)
		}
	}
	p.Exec(`insert into public.migration_run_tenants
			(run_id, tenant_id, slug, state, from_version, to_version, attempts, duration_ms, sqlstate, place, message)
		select $1, u.* from unnest($2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::bigint[], $7::integer[], $8::bigint[],
			$9::text[], $10::text[], $11::text[]) u`,
		run, ids, slugs, states, from, to, attempts, duration, codes, places, messages)
}

// describe takes an error apart for the ledger: SQLSTATE, file and line, text.
func describe(err error) (code, place, message *string) {
	text := err.Error()
	message = &text
	if c := db.SQLState(err); c != "" {
		code = &c
	}
	var statement *db.StatementError
	if errors.As(err, &statement) && statement.Statement.File != "" {
		p := statement.Place()
		place = &p
	}
	return code, place, message
}
