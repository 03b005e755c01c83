package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/doctor"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
	"github.com/crmctl/crmctl/migrations"
)

// patient is a database with a fleet to be examined.
type patient struct {
	*fleettest.Fleet

	plan *migrate.Plan
}

// healthy makes a fleet of n tenants in which nothing is wrong. Before PostgreSQL 15 a
// new database is not without fault.
func healthy(t testing.TB, n int) *patient {
	t.Helper()
	p := &patient{Fleet: fleettest.New(t), plan: fleettest.TenantPlan(t, 0)}
	p.Exec(t, "revoke create on schema public from public")
	p.Create(t, p.plan, fleettest.Names(n)...)
	return p
}

// withRole makes a tenant with a role of its own, which goes with the test. Roles belong
// to the cluster: the name has the database in it.
func (p *patient) withRole(t testing.TB, prefix string) registry.Tenant {
	t.Helper()
	script, err := p.plan.Build()
	if err != nil {
		t.Fatal(err)
	}
	slug := prefix + "-" + strings.TrimPrefix(p.database(t), "crmctl_test_")
	created, results, err := tenant.CreateMany(t.Context(), p.Dial, []tenant.Spec{{Slug: slug, Role: true}},
		tenant.CreateOptions{
			Template: tenant.Template{Script: script, Version: p.plan.Head()}, Actor: "test", LockTimeout: 5 * time.Second,
		}, false, fleet.Options{})
	if err != nil || results[0].Err != nil {
		t.Fatal(err, results[0].Err)
	}
	role := created[0].Tenant.Role
	t.Cleanup(func() { p.Exec(t, "drop owned by "+role, "drop role "+role) })
	return created[0].Tenant
}

func (p *patient) database(t testing.TB) (name string) {
	t.Helper()
	p.Scan(t, []any{&name}, "select current_database()")
	return name
}

func (p *patient) fleet(t testing.TB, conn *pgx.Conn) doctor.Fleet {
	t.Helper()
	tenants, invalid, err := registry.Default().ListAll(t.Context(), conn, registry.Filter{})
	if err != nil {
		t.Fatal(err)
	}
	version, unread := migrate.PublicVersion(t.Context(), conn, registry.Default())
	f := doctor.Fleet{
		Head: p.plan.Head(), RegistryHead: fleettest.Plan(t, migrations.Public()).Head(), RegistryVersion: version,
		RegistryErr: unread,
		Tables:      []string{"contacts", "conversations", "messages"},
	}
	for _, t := range tenants {
		f.Tenants = append(f.Tenants, doctor.Tenant{Tenant: t})
	}
	f.Invalid = invalid
	f.Versions = func(ctx context.Context, tenants []doctor.Tenant) ([]doctor.ActualVersion, error) {
		list := make([]registry.Tenant, len(tenants))
		for i, t := range tenants {
			list[i] = t.Tenant
		}
		actual, err := p.plan.Verify(ctx, conn, list, time.Second)
		out := make([]doctor.ActualVersion, len(actual))
		for i, t := range actual {
			out[i] = doctor.ActualVersion{Version: t.Version, Err: t.Err, Gone: errors.Is(t.Err, db.ErrWrongSchema),
				Unmanaged: errors.Is(t.Err, migrate.ErrNotManaged)}
			for _, m := range t.Late {
				out[i].Late = append(out[i].Late, m.Name())
			}
		}
		return out, err
	}
	f.Dirty = func(ctx context.Context) ([]doctor.Dirty, error) {
		dirty, err := migrate.Dirty(ctx, conn, registry.Default())
		var out []doctor.Dirty
		for _, d := range dirty {
			what, _, _ := strings.Cut(d.Error(), "; look at the schema") // as the command does
			out = append(out, doctor.Dirty{Slug: d.Slug, What: what, Running: d.Running, Since: d.Since})
		}
		return out, err
	}
	f.DeadRuns = func(ctx context.Context) ([]int64, error) { return registry.Default().DeadRuns(ctx, conn) }
	return f
}

func (p *patient) examine(t testing.TB, o doctor.Options) *doctor.Report {
	t.Helper()
	conn := p.Connect(t)
	o.LockTimeout = time.Second
	// Other tests prepare transactions and open connections on the same server.
	report, err := doctor.Examine(t.Context(), conn, p.fleet(t, conn), o)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// want compares the findings with "severity class subject: what", of which a part is
// enough.
func want(t testing.TB, report *doctor.Report, lines ...string) {
	t.Helper()
	var got []string
	for _, f := range report.Findings {
		got = append(got, fmt.Sprintf("%s %s %s: %s", f.Severity, f.Class, f.Subject, f.What))
		if f.Why == "" || f.Command == "" {
			t.Errorf("a finding without a reason or a command: %+v", f)
		}
	}
	ok := len(got) == len(lines)
	for i := range min(len(got), len(lines)) {
		ok = ok && strings.Contains(got[i], lines[i])
	}
	if !ok {
		t.Errorf("findings\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(lines, "\n  "))
	}
	for _, n := range report.NotChecked {
		t.Errorf("not checked: %s: %s", n.Class, n.Why)
	}
}

// everything returns what a fix must not lose: every schema by its oid, and every
// relation with its file and its rows.
func (p *patient) everything(t testing.TB) []string {
	t.Helper()
	conn := p.Connect(t)
	rows, err := db.Select(t.Context(), conn, pgx.RowTo[string], `
		select 'schema ' || n.oid from pg_namespace n where n.nspname !~ '^pg_' union all
		select 'relation ' || c.oid || ' ' || c.relname || ' ' || c.relfilenode || ' ' || pg_relation_size(c.oid)
			from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname !~ '^pg_' and n.nspname not in ('information_schema', 'public') and (c.relkind <> 'i'
			or exists (select from pg_index x where x.indexrelid = c.oid and x.indisvalid))
		union all select 'tenant ' || id from public.tenants order by 1`)
	if err != nil {
		t.Fatal(err)
	}
	return rows
}

// fix mends the given class, sees that nothing is lost, and that it is in order then.
func (p *patient) fix(t testing.TB, class doctor.Class, fixes int) []doctor.Fixed {
	t.Helper()
	before := p.everything(t)
	conn := p.Connect(t)
	report, err := doctor.Examine(t.Context(), conn, p.fleet(t, conn), doctor.Options{Only: []doctor.Class{class},
		LockTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	o := doctor.FixOptions{
		LockTimeout: time.Second, Retention: 30 * 24 * time.Hour, Direct: p.Dial, Actor: "test",
		CloseRuns: func(ctx context.Context) error { return registry.Default().CloseRuns(ctx, conn) },
	}
	done := doctor.Fix(t.Context(), conn, report.Findings, o)
	if len(done) != fixes {
		t.Errorf("%d fixes, want %d", len(done), fixes)
	}
	for _, d := range done {
		if d.Err != nil {
			t.Error(d.Err)
		}
	}
	if after := p.everything(t); !slices.Equal(before, after) {
		t.Errorf("something was lost:\n%s\nis now\n%s", strings.Join(before, "\n"), strings.Join(after, "\n"))
	}
	report, err = doctor.Examine(t.Context(), conn, p.fleet(t, conn), doctor.Options{Only: []doctor.Class{class},
		LockTimeout: time.Second})
	if err != nil || slices.ContainsFunc(report.Findings, doctor.Finding.Fixable) {
		t.Errorf("after the fix: %v, %+v", err, report.Findings)
	}
	// What was found before is not mended twice.
	for _, d := range doctor.Fix(t.Context(), conn, done1(done), o) {
		if d.Err == nil && d.Finding.Class != doctor.OpenRun {
			t.Errorf("mended again: %+v", d)
		}
	}
	return done
}

func done1(done []doctor.Fixed) []doctor.Finding {
	var out []doctor.Finding
	for _, d := range done {
		out = append(out, d.Finding)
	}
	return out
}

func (p *patient) audit(t testing.TB, action string) int64 {
	t.Helper()
	return p.Int(t, "select count(*) from public.tenant_events where action = $1 and actor = 'test' and detail ? "+
		"'class'", action)
}

// serverWide are the classes that other tests on the same server disturb.
func serverWide() []doctor.Class {
	return []doctor.Class{doctor.Connections, doctor.Locks, doctor.Autovacuum}
}
