package migrate

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/outside"
	"github.com/crmctl/crmctl/internal/registry"
)

// OutsideError says that a canary's migrations did something outside of its schema, which
// no reading of their statements shows (EXECUTE, a trigger).
type OutsideError struct {
	Slug string
	What string // "make or alter function public.f", "change rows of public.t"
}

// Error says what, and that it did not happen.
func (e *OutsideError) Error() string {
	return fmt.Sprintf("the migrations of %s %s, outside of the tenant's schema; it was rolled back", e.Slug, e.What)
}

// Opaque reports whether the plan may do something that its text does not show: it runs
// blocks, routines, or statements about rows, at which triggers run.
func (p *Plan) Opaque() bool {
	return slices.ContainsFunc(p.Migrations, func(m *Migration) bool { return m.writes || m.Session })
}

// Elsewhere returns an *OutsideError where migrations have made or changed something
// outside of the schema of a tenant, nil where they have not.
func Elsewhere(slug string, done outside.Done) error {
	switch {
	case done.Made != "":
		return &OutsideError{Slug: slug, What: "make or alter " + done.Made}
	case done.Changed != "":
		return &OutsideError{Slug: slug, What: "change rows of " + done.Changed}
	}
	return nil
}

// inspection is what is found about the canaries before they commit.
type inspection struct {
	// traces is set when a canary has left something in its session.
	traces atomic.Bool
}

// enterLook adds a savepoint to a transaction, and puts PostgreSQL's own path behind it;
// leaveLook takes both back.
func enterLook(p *db.Pipeline) {
	p.Exec("savepoint crmctl_look")
	p.OwnPath()
}

func leaveLook(p *db.Pipeline) {
	p.Exec("rollback to savepoint crmctl_look")
	p.Exec("release savepoint crmctl_look")
}

// runInspected runs the scripts of a canary. Before anything is committed it checks what
// they did outside of the tenant's schema and what they left in the session. The registry
// is changed after that.
func (p *Plan) runInspected(ctx context.Context, conn *pgx.Conn, t registry.Tenant, steps []Step,
	o ApplyOptions) error {
	look := outside.Inspection{Schema: t.Schema}
	var had []string
	var before, leave, run, after db.Pipeline
	enterLook(&before)
	outside.QueueCount(&before, t.Schema, &look.Before)
	queueSettings(&before, &had)
	if err := before.Run(ctx, conn); err != nil {
		return err
	}
	leaveLook(&leave)
	begun := time.Now()
	if err := leave.Run(ctx, conn); err != nil {
		return err
	}
	o.groups.Trip(time.Since(begun)) // the server has next to nothing to do for these two
	p.queueScripts(&run, steps)
	begun = time.Now()
	if err := run.Run(ctx, conn); err != nil {
		return err
	}
	o.groups.Took(time.Since(begun), 1)

	var has []string
	var left bool
	var held lockCount
	enterLook(&after)
	look.Queue(&after)
	after.QueryRow([]any{&left}, sessionLeft)
	queueSettings(&after, &has)
	held.queue(&after)
	if err := after.Run(ctx, conn); err != nil {
		return err
	}
	done, err := look.Done(ctx, conn)
	if err == nil {
		err = Elsewhere(t.Slug, done)
	}
	if err != nil {
		return err
	}
	if !leavesTraces(steps) {
		if left {
			o.inspection.traces.Store(true)
		}
		learn(o.groups, had, has, held)
	}
	leave = db.Pipeline{}
	leaveLook(&leave)
	return leave.Run(ctx, conn)
}

// sessionLeft reports whether the session holds something that outlives a transaction.
// Whether an advisory lock ends with the transaction is not to be seen, nor whether a
// value of a sequence is known. Citus takes such locks for each change of a schema, with
// numbers in objsubid that no function of PostgreSQL's gives them.
const sessionLeft = `select pg_catalog.pg_my_temp_schema() <> 0
	or exists (select from pg_catalog.pg_prepared_statements s where s.from_sql)
	or exists (select from pg_catalog.pg_cursors c where c.is_holdable)
	or exists (select from pg_catalog.pg_locks l where l.locktype = 'advisory' and l.objsubid <= 2
		and l.pid = pg_catalog.pg_backend_pid())`

// settingsOf returns what is set and listened to in the session, with its process in
// front; nothing of a transaction lasts where none is under way. Settings that no program
// has defined (app.tenant) are not to be seen.
func settingsOf(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	return db.Select(ctx, conn, pgx.RowTo[string], settingsSQL)
}

// queueSettings is settingsOf within a transaction.
func queueSettings(p *db.Pipeline, out *[]string) {
	p.Query(func(rows pgx.Rows) (err error) {
		*out, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	}, settingsSQL)
}

const settingsSQL = `select pg_catalog.pg_backend_pid()::text
	union all (select 'listen ' || c.c from pg_catalog.pg_listening_channels() c (c) order by 1)
	union all (select s.name || '=' || s.setting from pg_catalog.pg_settings s
		where s.source = 'session' and s.name not in ('search_path', 'transaction_isolation', 'transaction_read_only',
			'transaction_deferrable')
		order by 1)`

// sameSettings reports whether two readings are of one process and differ in nothing, or
// of two, which says nothing.
func sameSettings(before, after []string) bool {
	return len(before) == 0 || len(after) == 0 || before[0] != after[0] || slices.Equal(before, after)
}

// leaving returns the plan as one whose every migration may leave something in the session.
func (p *Plan) leaving() *Plan {
	out := &Plan{Migrations: make([]*Migration, len(p.Migrations)), Others: p.Others, path: p.path}
	for i, m := range p.Migrations {
		traced := *m
		traced.Session = true
		traced.Up, traced.Down = slices.Clone(m.Up), slices.Clone(m.Down)
		for _, script := range [][]db.Statement{traced.Up, traced.Down} {
			for j := range script {
				script[j].Traces = true
			}
		}
		out.Migrations[i] = &traced
	}
	return out
}
