package fleettest

import (
	"context"
	"fmt"
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
	"github.com/crmctl/crmctl/migrations"
)

// Fleet is a database with a registry.
type Fleet struct {
	DSN string

	citus bool
}

// OnCitus returns what New does in a database of the test's own on a Citus cluster, which
// pgtest.EnvCitus names; without one the test is skipped.
func OnCitus(t testing.TB) *Fleet {
	t.Helper()
	f := &Fleet{DSN: pgtest.Citus(t), citus: true}
	f.Registry(t)
	return f
}

// New returns a fresh database with the registry at its head and no tenant.
func New(t testing.TB) *Fleet {
	t.Helper()
	plan := Plan(t, migrations.Public())
	var key strings.Builder
	for _, m := range plan.Migrations {
		fmt.Fprintln(&key, m.File, m.Checksum)
	}
	dsn := pgtest.FromTemplate(t, key.String(), func(ctx context.Context, given *pgx.Conn) error {
		// The program's own connections are in exec mode, which pipelines need.
		conn, err := (&Fleet{DSN: given.Config().ConnString()}).Dial(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close(ctx) }()
		_, err = plan.ApplyPublic(ctx, conn, migrate.ApplyOptions{})
		return err
	})
	return &Fleet{DSN: dsn}
}

// Registry makes the registry in a fleet's database, for tests with a server of
// their own.
func (f *Fleet) Registry(t testing.TB) {
	t.Helper()
	if _, err := Plan(t, migrations.Public()).ApplyPublic(context.Background(), f.Connect(t),
		migrate.ApplyOptions{}); err != nil {
		t.Fatal(err)
	}
}

// Plan compiles migration files.
func Plan(t testing.TB, fsys fs.FS) *migrate.Plan {
	t.Helper()
	plan, err := migrate.Compile(context.Background(), fsys)
	if err != nil {
		t.Fatal(err)
	}
	return plan
}

// TenantPlan is the plan of the tenant migrations that crmctl ships, up to and
// including a version, or to the head for 0.
func TenantPlan(t testing.TB, version int64) *migrate.Plan {
	t.Helper()
	plan := Plan(t, migrations.Tenant())
	if version == 0 {
		return plan
	}
	to, err := plan.To(version)
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// Files makes a file system of migration files, "-- +goose Up" put before texts
// that lack it.
func Files(files map[string]string) fs.FS {
	fsys := fstest.MapFS{}
	for name, text := range files {
		if !strings.Contains(text, "+goose Up") {
			text = "-- +goose Up\n" + text
		}
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	return fsys
}

// Counted returns an empty fleet on a server of its own that counts statements, and skips the
// test where the server has no pg_stat_statements.
func Counted(t testing.TB) *Fleet {
	t.Helper()
	if n := New(t).Int(t, "select count(*) from pg_available_extensions where name = 'pg_stat_statements'"); n == 0 {
		t.Skip("the server has no pg_stat_statements")
	}
	server, _ := pgtest.Instance(t, map[string]string{"shared_preload_libraries": "pg_stat_statements", "fsync": "off"})
	f := &Fleet{DSN: server.DSN}
	f.Registry(t)
	f.Exec(t, "create extension pg_stat_statements")
	return f
}

// Connect opens a connection that ends with the test.
func (f *Fleet) Connect(t testing.TB) *pgx.Conn {
	t.Helper()
	conn, err := f.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// Dial opens a connection as the program does.
func (f *Fleet) Dial(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := db.ParseConfig(f.DSN)
	if err != nil {
		return nil, err
	}
	conn, err := db.Connect(ctx, cfg)
	if err == nil && f.citus {
		err = pgtest.Recognize(ctx, conn)
	}
	return conn, err
}

// Create makes tenants at the plan's head.
func (f *Fleet) Create(t testing.TB, plan *migrate.Plan, slugs ...string) []registry.Tenant {
	t.Helper()
	script, err := plan.Build()
	if err != nil {
		t.Fatal(err)
	}
	specs := make([]tenant.Spec, len(slugs))
	for i, s := range slugs {
		specs[i] = tenant.Spec{Slug: s}
	}
	created, results, err := tenant.CreateMany(context.Background(), f.Dial, specs, tenant.CreateOptions{
		Template: tenant.Template{Script: script, Version: plan.Head()}, Actor: "test", LockTimeout: 5 * time.Second,
	}, false, fleet.Options{})
	if err != nil {
		t.Fatal(err)
	}
	out := make([]registry.Tenant, len(slugs))
	for i, r := range results {
		if r.State != fleet.Done {
			t.Fatalf("create %s: %v", slugs[i], r.Err)
		}
		out[i] = created[i].Tenant
	}
	return out
}

// Crowd makes n tenants, t1 and so on, with the schemas tenant_1 and so on, each with empty
// tables of the given names (id int primary key, email text), past tenant.CreateMany: a
// thousand of them take a second a table.
func (f *Fleet) Crowd(t testing.TB, n int, tables ...string) {
	t.Helper()
	var create strings.Builder
	for _, table := range tables {
		fmt.Fprintf(&create, "execute format('create table tenant_%%s.%s (id int primary key, email text)', i);\n", table)
	}
	f.Exec(t, fmt.Sprintf(`do $$ begin for i in 1..%d loop
			execute format('create schema tenant_%%s', i);
			%s
			insert into %s (id, slug, display_name, schema_name)
				values (gen_random_uuid(), 't' || i, 'Tenant ' || i, 'tenant_' || i);
			if i %% 100 = 0 then commit; end if;
		end loop; end $$`, n, create.String(), registry.Default().Tenants()))
}

// Scan runs a query for one row and scans it.
func (f *Fleet) Scan(t testing.TB, dest []any, sql string, args ...any) {
	t.Helper()
	conn, err := f.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	if err := conn.QueryRow(context.Background(), sql, args...).Scan(dest...); err != nil {
		t.Fatalf("%s: %v", sql, err)
	}
}

// Int runs a query for one number.
func (f *Fleet) Int(t testing.TB, sql string, args ...any) int64 {
	t.Helper()
	var n int64
	f.Scan(t, []any{&n}, sql, args...)
	return n
}

// Exec runs statements one after another.
func (f *Fleet) Exec(t testing.TB, statements ...string) {
	t.Helper()
	conn, err := f.Dial(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	for _, sql := range statements {
		if _, err := conn.Exec(context.Background(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// DropRoles drops the roles whose names begin in one of the ways given, with their
// rights in this database. Roles belong to the cluster, which all tests share.
func (f *Fleet) DropRoles(t testing.TB, prefixes ...string) {
	t.Helper()
	ctx := context.Background()
	conn, err := f.Dial(ctx)
	if err != nil {
		t.Error(err)
		return
	}
	defer func() { _ = conn.Close(ctx) }()
	roles, err := db.Select(ctx, conn, pgx.RowTo[string],
		"select rolname::text from pg_roles where exists (select from unnest($1::text[]) p where "+
			"starts_with(rolname::text, p))", prefixes)
	if err != nil {
		t.Error(err)
	}
	for _, role := range roles {
		name := pgx.Identifier{role}.Sanitize()
		for _, sql := range []string{"drop owned by " + name + " cascade", "drop role " + name} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				t.Error(err)
			}
		}
	}
}

// Names returns n slugs, t0001 and so on.
func Names(n int) []string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprintf("t%04d", i+1)
	}
	return out
}
