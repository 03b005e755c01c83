package tenantsql_test

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenantsql"
)

// fixture is a database with schemas t0001 and so on, and of the registry what the lock
// of a tenant needs.
type fixture struct {
	*fleettest.Fleet

	tenants []registry.Tenant
}

func schemas(t testing.TB, n int) fixture {
	t.Helper()
	f := fixture{Fleet: &fleettest.Fleet{DSN: pgtest.Empty(t)}}
	f.Exec(t, "create table public.audit (tenant text, token text)",
		"create table public.tenants (id uuid primary key, schema_name text not null unique)")
	for i, name := range fleettest.Names(n) {
		schema, err := db.RegisteredSchema(name)
		if err != nil {
			t.Fatal(err)
		}
		id := fmt.Sprintf("00000000-0000-7000-8000-%012d", i+1)
		f.Exec(t, "insert into public.tenants values ('"+id+"', '"+name+"')")
		f.tenants = append(f.tenants, registry.Tenant{ID: id, Slug: name, Schema: schema})
		f.Exec(t, "create schema "+name, "create table "+name+".things (name text, n int)", "insert into "+name+
			".things values ('"+name+"', 1)")
	}
	return f
}

func script(t testing.TB, text string) []db.Statement {
	t.Helper()
	out, err := migrate.Script("", text)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// audited adds an audit and a way to look into it.
func audited(o tenantsql.Options) tenantsql.Options {
	o.Write = true
	o.Audit = func(p *db.Pipeline, e tenantsql.Event) error {
		p.Exec("insert into public.audit values ($1, $2)", e.Tenant.Slug, e.Token)
		return nil
	}
	o.Committed = func(ctx context.Context, q db.Querier, e tenantsql.Event) (there bool, err error) {
		err = q.QueryRow(ctx, "select exists (select from public.audit where tenant = $1 and token = $2)", e.Tenant.Slug,
			e.Token).Scan(&there)
		return there, err
	}
	return o
}

func soon(int) time.Duration { return time.Millisecond }

// run returns the rows as "t0001|a|null".
func (f fixture) run(t testing.TB, text string, o tenantsql.Options) (rows []string, columns []tenantsql.Column,
	report *tenantsql.Report) {
	t.Helper()
	if o.Fleet.Backoff == nil {
		o.Fleet.Backoff = soon
	}
	report, err := tenantsql.Run(t.Context(), f.Dial, f.tenants, script(t, text), o,
		func(c []tenantsql.Column, all iter.Seq2[tenantsql.Row, error]) error {
			columns = c
			for row, err := range all {
				if err != nil {
					return err
				}
				cells := []string{row.Tenant.Slug}
				for _, v := range row.Values {
					if v.Null {
						v.Text = "null"
					}
					cells = append(cells, v.Text)
				}
				rows = append(rows, strings.Join(cells, "|"))
			}
			return nil
		})
	if err != nil {
		t.Fatal(err)
	}
	return rows, columns, report
}

func states(r *tenantsql.Report) map[fleet.State]int {
	counts := map[fleet.State]int{}
	for _, o := range r.Outcomes {
		counts[o.State]++
	}
	return counts
}

func TestRowsComeInTheOrderOfTenants(t *testing.T) {
	t.Parallel()
	f := schemas(t, 12)
	// The first tenants are the slowest; the budget is so small that rows go to disk.
	text := `select name, g, null::text, repeat('x', 500) from things, generate_series(1, 300) g,
		(select pg_catalog.pg_sleep(0.2 / substr(current_schema(), 2)::int)) s order by g`
	dir := t.TempDir()
	rows, columns, report := f.run(t, text, tenantsql.Options{Fleet: fleet.Options{Concurrency: 6}, Memory: 100 << 10,
		TempDir: dir})
	if states(report)[fleet.Done] != 12 || report.Stopped != nil {
		t.Fatalf("states %v, stopped %v: %v", states(report), report.Stopped, report.Outcomes[0].Err)
	}
	if len(columns) != 4 || columns[1].Kind() != tenantsql.Number || columns[0].Kind() != tenantsql.Text {
		t.Errorf("columns %v", columns)
	}
	var want []string
	for _, name := range fleettest.Names(12) {
		for g := range 300 {
			want = append(want, fmt.Sprintf("%s|%s|%d|null|%s", name, name, g+1, strings.Repeat("x", 500)))
		}
	}
	if !slices.Equal(rows, want) {
		t.Errorf("%d rows are not the %d wanted, or not in order", len(rows), len(want))
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestReadOnly: whatever a statement tries, without Write nothing changes.
func TestReadOnly(t *testing.T) {
	t.Parallel()
	f := schemas(t, 1)
	f.Exec(t, "create function public.sneak() returns void language plpgsql as $$ begin insert into t0001.things values "+
		"('sneaked', 1); end $$")
	for _, text := range []string{
		"insert into things values ('x', 1)",
		"set transaction read write; insert into things values ('x', 1)",
		"select pg_catalog.set_config('transaction_read_only', 'off', true); insert into things values ('x', 1)",
		"select public.sneak()",
		"do $$ begin commit; insert into things values ('x', 1); end $$",
		"create table other (n int)",
		"select pg_catalog.set_config('search_path', 'public', false)",
	} {
		_, _, report := f.run(t, text, tenantsql.Options{})
		if strings.Contains(text, "search_path") {
			continue // no failure, but gone at the end
		}
		if report.Outcomes[0].State != fleet.Failed {
			t.Errorf("%s: %v", text, report.Outcomes[0])
		}
	}
	if n := f.Int(t, "select count(*) from t0001.things"); n != 1 {
		t.Errorf("%d rows, want 1", n)
	}
}

func TestStatementTimeout(t *testing.T) {
	t.Parallel()
	f := schemas(t, 2)
	_, _, report := f.run(t, "select pg_catalog.pg_sleep(20)", tenantsql.Options{StatementTimeout: 50 * time.Millisecond})
	if states(report)[fleet.Failed] != 2 || db.SQLState(report.Outcomes[1].Err) != db.CodeQueryCanceled {
		t.Errorf("%v", report.Outcomes)
	}
}

// TestOtherColumns: in a write, the tenant whose columns differ is rolled back.
func TestOtherColumns(t *testing.T) {
	t.Parallel()
	f := schemas(t, 4)
	f.Exec(t, "alter table t0002.things rename n to m", "alter table t0003.things alter n type bigint",
		"alter table t0004.things add extra text")
	_, columns, report := f.run(t, "update things set name = 'new' returning *", audited(tenantsql.Options{}))
	if len(columns) != 2 {
		t.Fatalf("columns %v", columns)
	}
	for i, want := range []string{"", `column "m" where that of t0001 has "n"`,
		`column "n" of the result has another type`,
		"the columns name, n, extra, but that of t0001 has the columns name, n"} {
		var e *tenantsql.ColumnsError
		err := report.Outcomes[i].Err
		if want == "" {
			if err != nil {
				t.Error(err)
			}
			continue
		}
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("tenant %d: %v, want %q", i, err, want)
		}
	}
	if n := f.Int(t, "select count(*) from (table t0002.things union all table t0003.things) t where name = "+
		"'new'"); n != 0 {
		t.Errorf("%d rows were changed", n)
	}
	if n := f.Int(t, "select count(*) from public.audit"); n != 1 {
		t.Errorf("%d rows of the audit, want 1", n)
	}
}

// TestOwnTypesAgree: an enum of each tenant's own is the same column.
func TestOwnTypesAgree(t *testing.T) {
	t.Parallel()
	f := schemas(t, 2)
	for _, tenant := range f.tenants {
		f.Exec(t, "create type "+tenant.Slug+".mood as enum ('fine')")
	}
	rows, _, report := f.run(t, "select 'fine'::mood", tenantsql.Options{})
	if len(rows) != 2 {
		t.Errorf("%v", report.Outcomes)
	}
}

func TestSchemaGone(t *testing.T) {
	t.Parallel()
	f := schemas(t, 2)
	f.Exec(t, "drop schema t0002 cascade", "create table public.things (name text, n int)")
	for _, o := range []tenantsql.Options{{}, audited(tenantsql.Options{})} {
		rows, _, report := f.run(t, "select * from public.things union all select 'mine', 1", o)
		if len(rows) != 1 || !errors.Is(report.Outcomes[1].Err, db.ErrWrongSchema) {
			t.Errorf("rows %v, %v", rows, report.Outcomes[1].Err)
		}
	}
}

// TestLeavingTheSchema: a write that ends elsewhere is rolled back.
func TestLeavingTheSchema(t *testing.T) {
	t.Parallel()
	f := schemas(t, 1)
	_, _, report := f.run(t, "update things set n = 2; select pg_catalog.set_config('search_path', 'public', true)",
		audited(tenantsql.Options{}))
	if !errors.Is(report.Outcomes[0].Err, db.ErrWrongSchema) {
		t.Errorf("%v", report.Outcomes[0])
	}
	if n := f.Int(t, "select n from t0001.things"); n != 1 {
		t.Errorf("n is %d", n)
	}
}

func TestWriteCommitsWithItsAudit(t *testing.T) {
	t.Parallel()
	f := schemas(t, 5)
	_, columns, report := f.run(t, "insert into things select 'new', g from generate_series(1, 3) g; update things set "+
		"n = 7 where name = 'new'", audited(tenantsql.Options{}))
	if len(columns) > 0 || states(report)[fleet.Done] != 5 || report.Outcomes[4].Affected != 6 {
		t.Fatalf("columns %v, %+v", columns, report.Outcomes)
	}
	if n := f.Int(t, "select count(*) from public.audit"); n != 5 {
		t.Errorf("%d rows of the audit", n)
	}
	_, _, report = f.run(t, "delete from things", audited(tenantsql.Options{DryRun: true}))
	if report.Outcomes[0].Affected != 4 {
		t.Errorf("a dry run: %+v", report.Outcomes[0])
	}
	if n := f.Int(t, "select count(*) from t0001.things"); n != 4 {
		t.Errorf("%d rows after a dry run", n)
	}
	// The last statement fails: nothing of the tenant stays.
	_, _, report = f.run(t, "delete from things; select 1 / 0", audited(tenantsql.Options{}))
	if states(report)[fleet.Failed] != 5 || f.Int(t, "select count(*) from t0003.things") != 4 {
		t.Errorf("%v", report.Outcomes)
	}
}

// TestBusyTenant: a locked table is tried again, behind the others.
func TestBusyTenant(t *testing.T) {
	t.Parallel()
	f := schemas(t, 3)
	holder := f.Connect(t)
	if _, err := holder.Exec(t.Context(), "begin; lock table t0001.things"); err != nil {
		t.Fatal(err)
	}
	tries := 0
	o := tenantsql.Options{LockTimeout: 20 * time.Millisecond, Fleet: fleet.Options{Concurrency: 2, Attempts: 20,
		Backoff: func(int) time.Duration {
			if tries++; tries == 2 {
				_, _ = holder.Exec(context.Background(), "rollback")
			}
			return time.Millisecond
		}}}
	rows, _, report := f.run(t, "select name from things", o)
	if want := []string{"t0001|t0001", "t0002|t0002", "t0003|t0003"}; !slices.Equal(rows, want) {
		t.Errorf("rows %v", rows)
	}
	if report.Outcomes[0].Attempts < 2 {
		t.Errorf("%+v", report.Outcomes[0])
	}
}

func TestMaxFailures(t *testing.T) {
	t.Parallel()
	f := schemas(t, 9)
	text := "select 1 / (current_schema() = 't0001')::int"
	_, _, report := f.run(t, text, tenantsql.Options{Fleet: fleet.Options{Concurrency: 1, StopAfter: 3}})
	if !errors.Is(report.Stopped, fleet.ErrTooManyFailures) || states(report)[fleet.Failed] != 3 ||
		states(report)[fleet.NotStarted] != 5 {
		t.Errorf("stopped %v, states %v", report.Stopped, states(report))
	}
	// The same where not even the first succeeds.
	_, columns, report := f.run(t, "select 1 / 0", tenantsql.Options{Fleet: fleet.Options{StopAfter: 2}})
	if columns != nil || !errors.Is(report.Stopped, fleet.ErrTooManyFailures) || states(report)[fleet.Failed] != 2 {
		t.Errorf("stopped %v, states %v", report.Stopped, states(report))
	}
}

// TestAnswerToCommitLost: the server is cut off between the commit and its answer, or
// before the commit. Either way the change takes place exactly once.
func TestAnswerToCommitLost(t *testing.T) {
	t.Parallel()
	for _, committed := range []bool{true, false} {
		f := schemas(t, 1)
		cut := false
		o := audited(tenantsql.Options{Fleet: fleet.Options{Attempts: 20, Backoff: soon}})
		dial := func(ctx context.Context) (*pgx.Conn, error) {
			cfg, err := db.ParseConfig(f.DSN)
			if err != nil {
				return nil, err
			}
			if !cut {
				cut = true
				cutCommit(cfg, committed)
			}
			return db.Connect(ctx, cfg)
		}
		var rows int
		report, err := tenantsql.Run(t.Context(), dial, f.tenants, script(t, "update things set n = n + 1 returning n"), o,
			func(_ []tenantsql.Column, all iter.Seq2[tenantsql.Row, error]) error {
				for range all {
					rows++
				}
				return nil
			})
		// More than one attempt may meet the lock of the session that was cut.
		if err != nil || report.Outcomes[0].State != fleet.Done || report.Outcomes[0].Attempts < 2 || rows != 1 {
			t.Errorf("committed %v: %v, %d rows, %+v", committed, err, rows, report.Outcomes[0])
		}
		if n := f.Int(t, "select n from t0001.things"); n != 2 {
			t.Errorf("committed %v: n is %d, want 2", committed, n)
		}
	}
}

func TestReaderGoesAway(t *testing.T) {
	t.Parallel()
	f := schemas(t, 6)
	gone := errors.New("gone")
	report, err := tenantsql.Run(t.Context(), f.Dial, f.tenants, script(t, "select g from generate_series(1, 1000) g"),
		tenantsql.Options{Fleet: fleet.Options{Concurrency: 1}},
		func(_ []tenantsql.Column, rows iter.Seq2[tenantsql.Row, error]) error {
			for range rows {
				return gone
			}
			return nil
		})
	if !errors.Is(err, gone) || report.Stopped == nil {
		t.Errorf("%v, stopped %v", err, report.Stopped)
	}
}

func TestDrain(t *testing.T) {
	t.Parallel()
	f := schemas(t, 6)
	drain := make(chan struct{})
	o := audited(tenantsql.Options{Fleet: fleet.Options{Concurrency: 1, Drain: drain}})
	audit := o.Audit
	n := 0
	o.Audit = func(p *db.Pipeline, e tenantsql.Event) error {
		if n++; n == 3 {
			close(drain)
			time.Sleep(20 * time.Millisecond) // the run hears of it
		}
		return audit(p, e)
	}
	_, _, report := f.run(t, "update things set n = 9", o)
	if got := states(report); got[fleet.Done] != 3 || got[fleet.NotStarted] != 3 ||
		!errors.Is(report.Stopped, fleet.ErrDrained) {
		t.Errorf("states %v, stopped %v", got, report.Stopped)
	}
	if n := f.Int(t, "select count(*) from public.audit"); n != 3 {
		t.Errorf("%d rows of the audit", n)
	}
}

// TestThroughPooler: two tenants' transactions share server connections in turn, and
// none sees the other's rows.
func TestThroughPooler(t *testing.T) {
	t.Parallel()
	f := schemas(t, 40)
	f.DSN = pgtest.Pooler(t, f.DSN)
	o := audited(tenantsql.Options{Fleet: fleet.Options{Concurrency: 8}})
	rows, _, report := f.run(t, "update things set n = n + 1 returning name", o)
	read, _, _ := f.run(t, "select name from things where n = 2", tenantsql.Options{Fleet: fleet.Options{Concurrency: 8}})
	if len(rows) != 40 || !slices.Equal(rows, read) {
		t.Errorf("%d rows written, %d read: %v", len(rows), len(read), report.Outcomes[0].Err)
	}
	for _, row := range rows {
		if tenant, name, _ := strings.Cut(row, "|"); tenant != name {
			t.Errorf("tenant %s gave the row of %s", tenant, name)
		}
	}
}
