package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/staging"
	"github.com/crmctl/crmctl/internal/tenant"
)

// staged is a history that no single transaction takes: a value of an enum, rows under a
// deferred key, a setting that ends with its file, and a procedure that commits.
func staged() map[string]string {
	return map[string]string{
		"1_a.sql": "create type st as enum ('open');\ncreate table deals (id int primary key, s st not null, up int " +
			"references deals deferrable initially deferred, at timestamp default '2024-01-01 00:00');",
		"2_b.sql": "alter type st add value 'won';",
		"3_c.sql": "insert into deals values (1, 'won', 1);",
		"4_d.sql": "set local timezone = 'Asia/Tokyo';\nalter table deals add column n text;",
		"5_e.sql": "alter table deals alter column at type timestamptz;",
		"6_f.sql": "-- +goose NO TRANSACTION\n-- +goose Up\n-- +goose StatementBegin\ncreate procedure fill() language " +
			"plpgsql as $$ begin insert into deals (id, s) values (2, 'won'); commit; insert into deals (id, s) values (3, " +
			"'open'); end $$;\n-- +goose StatementEnd\ncall fill();\ndrop procedure fill;",
	}
}

// right counts one for a tenant as the history makes it.
const right = `select count(*) from (select count(*) as n, count(*) filter (where s = 'won') as won,
	bool_and(id <> 1 or at = '2024-01-01 00:00'::timestamp at time zone current_setting('timezone')) as at
		from tenant_acme.deals) d
	where n = 3 and won = 2 and at and (select count(*) from tenant_acme.goose_db_version) = 7`

func stagedOptions(t testing.TB, files map[string]string) tenant.CreateOptions {
	t.Helper()
	plan := fleettest.Plan(t, fleettest.Files(files))
	script, err := plan.Build()
	if err != nil {
		t.Fatal(err)
	}
	return tenant.CreateOptions{Template: tenant.Template{Script: script, Version: plan.Head()}, Actor: "test",
		Program: "test", LockTimeout: 5 * time.Second}
}

// nothing makes sure that a create which failed has left nothing.
func nothing(t testing.TB, f *fleettest.Fleet) {
	t.Helper()
	if n := f.Int(t, `select (select count(*) from public.tenants) + (select count(*) from public.tenant_builds)
		+ (select count(*) from public.tenant_events) + (select count(*) from pg_catalog.pg_namespace
			where nspname ~ '^tenant_')`); n != 0 {
		t.Errorf("%d things are left", n)
	}
}

func TestCreateInStages(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	if _, err := tenant.Create(t.Context(), f.Connect(t), tenant.Spec{Slug: "acme"},
		stagedOptions(t, staged())); err != nil {
		t.Fatal(err)
	}
	if f.Int(t, right) != 1 {
		t.Error("the tenant is not what its history makes")
	}
	if n := f.Int(t, `select (select count(*) from public.tenant_builds) + 10 * (select count(*) from public.tenant_events
		where action = 'create')
		+ 100 * (select schema_version from public.tenants)`); n != 610 {
		t.Errorf("builds, events and version: %d", n)
	}
	if _, err := tenant.Create(t.Context(), f.Connect(t), tenant.Spec{Slug: "acme"},
		stagedOptions(t, staged())); !errors.Is(err, registry.ErrExists) {
		t.Errorf("a second time: %v", err)
	}
	if f.Int(t, right) != 1 {
		t.Error("the second time has changed the tenant")
	}
}

// TestStagedRole has the rights of a role that is made when the tables are there.
func TestStagedRole(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	made, err := tenant.Create(t.Context(), f.Connect(t), tenant.Spec{Slug: unique("s"), Role: true},
		stagedOptions(t, staged()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Exec(t, "drop owned by "+made.Role, "drop role "+made.Role) })
	schema := made.Schema.Quoted()
	f.Exec(t, "create table "+schema+".later (n int)")
	for sql, allowed := range map[string]bool{
		"insert into " + schema + ".deals (id, s) values (9, 'open')":          true,
		"insert into " + schema + ".later values (1)":                          true,
		"insert into " + schema + ".goose_db_version (version_id) values (99)": false,
		"create table " + schema + ".more (n int)":                             false,
	} {
		if can(t, f, made.Role, sql) != allowed {
			t.Errorf("%s: allowed is not %t", sql, allowed)
		}
	}
}

func TestStagedFailureLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]string{"4_d.sql": "select 1 / 0;",
		"5_e.sql": "create table more (n int);\nselect pg_sleep(600);",
		"7_g.sql": "-- +goose NO TRANSACTION\n-- +goose Up\ncall missing();"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			files := staged()
			files[name] = c
			ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
			defer cancel()
			if _, err := tenant.Create(ctx, f.Connect(t), tenant.Spec{Slug: "acme"}, stagedOptions(t, files)); err == nil {
				t.Fatal("it was made")
			}
			nothing(t, f)
		})
	}
}

// TestStagedBusy meets a builder of the same name that is at work.
func TestStagedBusy(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	schema, err := db.SchemaForSlug("acme")
	if err != nil {
		t.Fatal(err)
	}
	site, err := staging.Open(t.Context(), f.Connect(t), staging.Options{Schema: schema, Slug: "acme",
		LockTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	_, err = tenant.Create(t.Context(), f.Connect(t), tenant.Spec{Slug: "acme"}, stagedOptions(t, staged()))
	if !errors.Is(err, db.ErrBusy) {
		t.Errorf("while another builds it: %v", err)
	}
	if err := site.Clear(t.Context()); err != nil {
		t.Fatal(err)
	}
	nothing(t, f)
	if _, err := tenant.Create(t.Context(), f.Connect(t), tenant.Spec{Slug: "acme"},
		stagedOptions(t, staged())); err != nil || f.Int(t, right) != 1 {
		t.Errorf("afterwards: %v", err)
	}
}

// TestPlainCreateMeetsABuild makes a tenant in one transaction where another run builds one
// of that name, and where such a run is dead.
func TestPlainCreateMeetsABuild(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	schema, err := db.SchemaForSlug("acme")
	if err != nil {
		t.Fatal(err)
	}
	site, err := staging.Open(t.Context(), f.Connect(t), staging.Options{Schema: schema, Slug: "acme",
		LockTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = site.Clear(t.Context()) }()
	plain := stagedOptions(t, map[string]string{"1_a.sql": "create table t (n int);"})
	if _, err := tenant.Create(t.Context(), f.Connect(t), tenant.Spec{Slug: "acme"}, plain); !errors.Is(err, db.ErrBusy) {
		t.Errorf("while another builds it: %v", err)
	}
	f.Exec(t, `select pg_catalog.pg_terminate_backend(pid, 10000) from pg_catalog.pg_stat_activity
		where datname = pg_catalog.current_database() and state = 'idle in transaction'`)
	if _, err := tenant.Create(t.Context(), f.Connect(t), tenant.Spec{Slug: "acme"}, plain); err != nil {
		t.Errorf("the other is dead: %v", err)
	}
	if n := f.Int(t, "select (select count(*) from public.tenant_builds) + (select count(*) from tenant_acme.t)"); n != 0 {
		t.Error(n)
	}
}

// TestStagedManyAtOnce builds several by several workers.
func TestStagedManyAtOnce(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	specs := []tenant.Spec{{Slug: "acme"}, {Slug: "b"}, {Slug: "c"}, {Slug: "d"}, {Slug: "e"}, {Slug: "f"}}
	_, results, err := tenant.CreateMany(t.Context(), f.Dial, specs, stagedOptions(t, staged()), false,
		fleet.Options{Concurrency: 3})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range results {
		if r.Err != nil {
			t.Error(r.Err)
		}
	}
	if n := f.Int(t, "select count(*) from public.tenants"); n != int64(len(specs)) || f.Int(t, right) != 1 {
		t.Errorf("%d tenants", n)
	}
}

// TestStagedKeepsWhatOthersMade finds a schema under the name of one that a dead builder
// has left, made by somebody else.
func TestStagedKeepsWhatOthersMade(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Exec(t, "create schema tenant_acme", "create table tenant_acme.mine (n int)",
		"insert into public.tenant_builds (schema_name, id, schema_oid, slug, actor) values ('tenant_acme', "+
			"gen_random_uuid(), 1, 'acme', 'x')")
	_, err := tenant.Create(t.Context(), f.Connect(t), tenant.Spec{Slug: "acme"}, stagedOptions(t, staged()))
	if !errors.Is(err, registry.ErrExists) {
		t.Errorf("%v", err)
	}
	if n := f.Int(t, "select count(*) from tenant_acme.mine"); n != 0 {
		t.Error(n)
	}
}

// TestStagedBehindAPooler builds behind PgBouncer what it can, and refuses the rest.
func TestStagedBehindAPooler(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, f.DSN)}
	_, err := tenant.Create(t.Context(), pooled.Connect(t), tenant.Spec{Slug: "acme"}, stagedOptions(t, staged()))
	if !errors.Is(err, staging.ErrPooled) {
		t.Errorf("a procedure that commits: %v", err)
	}
	nothing(t, f)
	o := stagedOptions(t, staged())
	o.Direct = f.Dial
	if _, err := tenant.Create(t.Context(), pooled.Connect(t), tenant.Spec{Slug: "acme"}, o); err != nil ||
		f.Int(t, right) != 1 {
		t.Errorf("with a way past it: %v", err)
	}
	files := staged()
	delete(files, "6_f.sql")
	if _, err := tenant.Create(t.Context(), pooled.Connect(t), tenant.Spec{Slug: "b"},
		stagedOptions(t, files)); err != nil {
		t.Errorf("without: %v", err)
	}
}

// TestStagedPool makes a schema of the pool in stages, and a tenant of it.
func TestStagedPool(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	o := stagedOptions(t, staged())
	o.Template.Key, o.Pool = "k", true
	change, err := tenant.FillPool(t.Context(), f.Dial, 1, tenant.PoolOptions{Template: o.Template, Actor: "test",
		LockTimeout: time.Second})
	if err != nil || change.Made != 1 || f.Int(t, "select count(*) from public.tenant_builds") != 0 {
		t.Fatalf("%+v, %v", change, err)
	}
	created, results, err := tenant.CreateMany(t.Context(), f.Dial, []tenant.Spec{{Slug: "acme"}, {Slug: "b"}}, o, false,
		fleet.Options{Concurrency: 1})
	if err != nil || results[0].Err != nil || results[1].Err != nil {
		t.Fatal(err, results)
	}
	if !created[0].Pooled || created[1].Pooled || f.Int(t, right) != 1 {
		t.Errorf("%+v", created)
	}
}

// stagedChild makes this test binary the process that is killed: the database, and the
// file that sleeps.
const stagedChild = "CRMCTL_STAGED_CHILD"

// sleeping is the history with a file that does not end.
func sleeping(file string) map[string]string {
	files := staged()
	if text, ok := files[file]; ok {
		files[file] = strings.Replace(text, "call fill();", "call fill();\nselect pg_sleep(600);", 1)
		if files[file] == text {
			files[file] = text + "\nselect pg_sleep(600);"
		}
	}
	return files
}

func child() int {
	parts := strings.Split(os.Getenv(stagedChild), "\n")
	f := &fleettest.Fleet{DSN: parts[0]}
	err := func() error {
		ctx := context.Background()
		plan, err := migrate.Compile(ctx, fleettest.Files(sleeping(parts[1])))
		if err != nil {
			return err
		}
		script, err := plan.Build()
		if err != nil {
			return err
		}
		conn, err := f.Dial(ctx)
		if err != nil {
			return err
		}
		_, err = tenant.Create(ctx, conn, tenant.Spec{Slug: "acme"}, tenant.CreateOptions{
			Template: tenant.Template{Script: script, Version: plan.Head()}, Actor: "test", Program: "test",
			LockTimeout: 5 * time.Second,
		})
		return err
	}()
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// TestKilledStages kills a create, the hard way, in each of its stages and in the
// transaction that makes the tenant: there is none afterwards, and the next create of
// that name makes it whole.
func TestKilledStages(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"1_a.sql", "2_b.sql", "4_d.sql", "6_f.sql", "the registry"} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			if file == "the registry" {
				f.Exec(t, `create function public.wait() returns trigger language plpgsql as $$ begin
					perform pg_catalog.pg_sleep(600); return new; end $$`,
					`create trigger wait before insert on public.tenants for each row execute function public.wait()`)
			}
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), stagedChild+"="+f.DSN+"\n"+file)
			cmd.Stderr = os.Stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			const asleep = `select count(*) from pg_catalog.pg_stat_activity where datname = pg_catalog.current_database()
				and wait_event = 'PgSleep'`
			for end := time.Now().Add(30 * time.Second); f.Int(t, asleep) == 0; time.Sleep(20 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("the child does not sleep")
				}
			}
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
			if n := f.Int(t, "select (select count(*) from public.tenants) + 10 * (select count(*) from "+
				"public.tenant_builds)"); n != 10 {
				t.Errorf("tenants and builds: %d", n)
			}
			if file == "the registry" {
				f.Exec(t, "drop trigger wait on public.tenants")
			}
			_, results, err := tenant.CreateMany(t.Context(), f.Dial, []tenant.Spec{{Slug: "acme"}}, stagedOptions(t, staged()),
				false, fleet.Options{Attempts: 40})
			if err != nil || results[0].Err != nil {
				t.Fatal(err, results[0].Err)
			}
			if f.Int(t, right) != 1 || f.Int(t, "select count(*) from public.tenant_builds") != 0 {
				t.Error("the tenant is not what its history makes")
			}
		})
	}
}
