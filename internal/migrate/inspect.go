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

// atSavepoint runs fn within the transaction, with the system's catalog as the whole path.
// g is told how long it takes to be answered.
func atSavepoint(ctx context.Context, conn *pgx.Conn, g *fleet.Sizer, fn func() error) error {
	var p db.Pipeline
	p.Exec("savepoint crmctl_look")
	p.OwnPath()
	if err := p.Run(ctx, conn); err != nil {
		return err
	}
	if err := fn(); err != nil {
		return err // the transaction is of no more use
	}
	p = db.Pipeline{}
	p.Exec("rollback to savepoint crmctl_look")
	p.Exec("release savepoint crmctl_look")
	begun := time.Now()
	err := p.Run(ctx, conn)
	if err == nil {
		g.Trip(time.Since(begun))
	}
	return err
}

// runInspected runs the scripts of a canary. Before anything is committed it checks what
// they did outside of the tenant's schema and what they left in the session. The registry
// is changed after that.
func (p *Plan) runInspected(ctx context.Context, conn *pgx.Conn, t registry.Tenant, steps []Step,
	o ApplyOptions) error {
	var before outside.Counts
	var had []string
	err := atSavepoint(ctx, conn, o.groups, func() (err error) {
		if before, err = outside.Count(ctx, conn, t.Schema); err == nil && o.groups != nil {
			had, err = settingsOf(ctx, conn)
		}
		return err
	})
	if err != nil {
		return err
	}
	var run db.Pipeline
	p.queueScripts(&run, steps)
	begun := time.Now()
	if err := run.Run(ctx, conn); err != nil {
		return err
	}
	o.groups.Took(time.Since(begun), 1)
	return atSavepoint(ctx, conn, o.groups, func() error {
		done, err := outside.Inspect(ctx, conn, t.Schema, before)
		if err != nil {
			return err
		}
		if err := Elsewhere(t.Slug, done); err != nil {
			return err
		}
		if leavesTraces(steps) {
			return nil
		}
		var left bool
		if err := conn.QueryRow(ctx, sessionLeft).Scan(&left); err != nil {
			return err
		}
		if left {
			o.inspection.traces.Store(true)
		}
		return look(ctx, conn, had, o.groups)
	})
}

// sessionLeft reports whether the session holds something that outlives a transaction.
// Whether an advisory lock ends with the transaction is not to be seen, nor whether a
// value of a sequence is known.
const sessionLeft = `select pg_catalog.pg_my_temp_schema() <> 0
	or exists (select from pg_catalog.pg_prepared_statements s where s.from_sql)
	or exists (select from pg_catalog.pg_cursors c where c.is_holdable)
	or exists (select from pg_catalog.pg_locks l where l.locktype = 'advisory' and l.pid = pg_catalog.pg_backend_pid())`

// settingsOf returns what is set and listened to in the session, with its process in
// front; nothing of a transaction lasts where none is under way. Settings that no program
// has defined (app.tenant) are not to be seen.
func settingsOf(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	return db.Select(ctx, conn, pgx.RowTo[string], `select pg_catalog.pg_backend_pid()::text
		union all (select 'listen ' || c.c from pg_catalog.pg_listening_channels() c (c) order by 1)
		union all (select s.name || '=' || s.setting from pg_catalog.pg_settings s
			where s.source = 'session' and s.name not in ('search_path', 'transaction_isolation', 'transaction_read_only',
				'transaction_deferrable')
			order by 1)`)
}

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
