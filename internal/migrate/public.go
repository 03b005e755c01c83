package migrate

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// publicLockWait bounds the wait for another migration of the registry. It is
// short work, so it is waited for rather than refused.
const publicLockWait = 30 * time.Second

// ApplyPublic brings the registry to the head of the plan, in one transaction. Its schema
// is made where it is not there. Two at once come one after the other. RefuseForeign
// comes before it.
func (p *Plan) ApplyPublic(ctx context.Context, conn *pgx.Conn, o ApplyOptions) (Change, error) {
	const tries = 3
	for n := 1; ; n++ {
		change, err := p.applyPublic(ctx, conn, o)
		if err == nil {
			return change, nil
		}
		err = errors.Join(err, db.Rollback(ctx, conn))
		// Another run was making the registry, and this one waited for its end.
		if made := db.SQLState(err); n == tries || made != db.CodeUniqueViolation && made != codeDuplicateTable &&
			made != codeDuplicateSchema {
			return Change{}, err
		}
	}
}

const (
	codeDuplicateTable  = "42P07"
	codeDuplicateSchema = "42P06"
)

func (p *Plan) applyPublic(ctx context.Context, conn *pgx.Conn, o ApplyOptions) (Change, error) {
	var (
		open  db.Pipeline
		table *string
	)
	open.Begin(db.Locals{Schema: o.Registry.Schema(), LockTimeout: publicLockWait, StatementTimeout: o.StatementTimeout})
	if missing, err := o.Registry.NoSchema(ctx, conn); err != nil {
		return Change{}, err
	} else if missing {
		o.Registry.QueueSchema(&open)
	}
	open.CheckSchema(o.Registry.Schema())
	open.QueryRow([]any{&table}, `select pg_catalog.to_regclass($1)::pg_catalog.text`,
		publicVersions.in(o.Registry.Schema()))
	if err := open.Run(ctx, conn); err != nil {
		return Change{}, err
	}
	var (
		run     db.Pipeline
		applied []int64
	)
	if table == nil {
		for _, s := range publicVersions.history(o.Registry.Schema().Quoted()+".", nil) {
			run.Exec(s.SQL) // waits for another run that does the same
		}
	} else {
		var read db.Pipeline
		read.Exec("lock table " + publicVersions.in(o.Registry.Schema()) + " in share row exclusive mode")
		read.Query(func(rows pgx.Rows) (err error) {
			applied, err = pgx.CollectRows(rows, pgx.RowTo[int64])
			return err
		}, publicVersions.selectApplied(o.Registry.Schema()))
		if err := read.Run(ctx, conn); err != nil {
			return Change{}, err
		}
	}
	run.Exec(`select pg_catalog.set_config('lock_timeout', $1, true)`, lockSetting(o.LockTimeout))
	change, err := p.change(Route{}, applied)
	if err != nil {
		return Change{}, err
	}
	if change.Next != nil {
		return Change{}, &NoTransactionError{Migration: change.Next.Migration}
	}
	p.queueScripts(&run, change.Applied)
	// A migration that left public ends here, on the server and before the commit.
	run.Exec(`select 1 operator(pg_catalog./) (pg_catalog.current_schema() operator(pg_catalog.=)
		$1::pg_catalog.text)::integer`, o.Registry.Schema().String())
	for _, s := range change.Applied {
		publicVersions.queueRow(&run, o.Registry.Schema(), s)
	}
	run.Exec("commit")
	return change, run.Run(ctx, conn)
}

// PlanPublic returns what ApplyPublic would do, without doing it. RefuseForeign comes
// before it.
func (p *Plan) PlanPublic(ctx context.Context, q db.Querier, reg registry.Registry) (Change, error) {
	version, err := PublicVersion(ctx, q, reg)
	if err != nil {
		return Change{}, err
	}
	change := Change{From: version, To: max(version, p.Head())}
	for _, m := range p.After(version) {
		change.Applied = append(change.Applied, Step{Migration: m})
	}
	return change, nil
}

func lockSetting(d time.Duration) string {
	return strconv.FormatInt(d.Milliseconds(), 10)
}

// PublicVersion returns the version of the registry, 0 when there is none. RefuseForeign
// comes before it.
func PublicVersion(ctx context.Context, q db.Querier, reg registry.Registry) (int64, error) {
	exists, err := db.Select(ctx, q, pgx.RowTo[bool], `select pg_catalog.to_regclass($1) is not null`,
		publicVersions.in(reg.Schema()))
	if err != nil || !exists[0] {
		return 0, err
	}
	version, err := db.Select(ctx, q, pgx.RowTo[int64], `select coalesce(max(version_id), 0) from `+
		publicVersions.in(reg.Schema())+` where is_applied`)
	if err != nil {
		return 0, err
	}
	return version[0], nil
}
