package migrate_test

import (
	"errors"
	"slices"
	"testing"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// sharedFiles are those of an application that was written with "tenant, public": it reads
// a table, calls a function and uses a type of public without saying so.
var sharedFiles = map[string]string{
	"1_a.sql": "create table orders (id int primary key, at text references countries, mood mood, n int default " +
		"next_number());\n-- +goose Down\ndrop table orders;",
	"2_b.sql": "insert into orders (id, at) select 1, code from countries limit 1;\ncreate view sold as select * from " +
		"orders join countries on at = code;\n-- +goose Down\ndrop view sold;",
}

func sharedFleet(t *testing.T) *fleettest.Fleet {
	t.Helper()
	f := fleettest.New(t)
	f.Exec(t, "create table public.countries (code text primary key)", "insert into public.countries values ('de')",
		"create type public.mood as enum ('x')",
		"create function public.next_number() returns int language sql as 'select 7'", "create schema app",
		"create table app.users (id int)", "create table public.users (id int)")
	return f
}

func TestSharedSchemas(t *testing.T) {
	t.Parallel()
	f := sharedFleet(t)
	first := map[string]string{"1_a.sql": sharedFiles["1_a.sql"]}
	o := migrate.ExtensionOptions{Shared: []string{"app", "public"}}
	old, _, err := useExtensions(t, f, fleettest.Plan(t, fleettest.Files(first)), o)
	if err != nil {
		t.Fatal(err)
	}
	if path := old.Path(); path != db.NewPath([]string{"app", "public"}) {
		t.Errorf("path %+v", path)
	}
	tenants := f.Create(t, old, "acme", "globex")
	plan, _, err := useExtensions(t, f, fleettest.Plan(t, fleettest.Files(sharedFiles)), o)
	if err != nil {
		t.Fatal(err)
	}
	for _, out := range run(t, f, plan, tenants, migrate.RunOptions{}).Outcomes {
		if out.State != migrate.Migrated {
			t.Errorf("%s: %v", out.Tenant.Slug, out.Err)
		}
	}
	f.Create(t, plan, "hooli")
	if n := f.Int(t, "select count(*) from tenant_hooli.sold where n = 7"); n != 1 {
		t.Errorf("%d rows", n)
	}
	if n := f.Int(t, "select count(*) from pg_class where relname in ('orders', 'sold') and relnamespace in "+
		"('public'::regnamespace, 'app'::regnamespace)"); n != 0 {
		t.Errorf("%d objects were made in a shared schema", n)
	}
}

// TestSharedSchemasAreNotChanged refuses files that would change what all tenants share,
// because they name without a schema what the tenant does not have at that point.
func TestSharedSchemasAreNotChanged(t *testing.T) {
	t.Parallel()
	f := sharedFleet(t)
	o := migrate.ExtensionOptions{Shared: []string{"public"}, DryRun: true}
	for sql, want := range map[string]string{
		"insert into users values (1);":                                       "users",
		"alter table if exists users add x int;":                              "users",
		"drop table if exists users;":                                         "users",
		"update countries set code = 'x';":                                    "countries",
		"create index on users (id);":                                         "users",
		"drop function next_number();":                                        "next_number",
		"alter type mood add value 'y';":                                      "mood",
		"create table users (id int);\ndrop table users;\ndelete from users;": "users",
		"select 1;\n-- +goose Down\ndrop table users;":                        "users",

		"create table users (id serial);\nalter table users add x int;\nalter sequence users_id_seq restart;\n-- +goose " +
			"Down\ndrop table users;": "",
		"create table old (id int);\nalter table old rename to users;\ninsert into users values (1);": "",
		"create table x as select * from users;":                                                      "",
		"-- +goose StatementBegin\ndo $$ begin create table users (id int); end $$;\n-- +goose StatementEnd\ninsert into " +
			"users values (1);": "",
	} {
		plan := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": sql}))
		_, _, err := useExtensions(t, f, plan, o)
		var reach *migrate.ReachError
		switch {
		case want == "" && err != nil:
			t.Errorf("%s: %v", sql, err)
		case want != "" && (!errors.As(err, &reach) || reach.Name != want || reach.Schema != "public" ||
			reach.At.File != "1_a.sql"):
			t.Errorf("%s: got %v, want %s", sql, err, want)
		}
		if _, _, err := useExtensions(t, f, plan, migrate.ExtensionOptions{DryRun: true}); err != nil {
			t.Errorf("%s: refused without a shared schema: %v", sql, err)
		}
	}
	// What no reading sees is looked for on the canary.
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": "create table t (x int);"}))
	tenants := f.Create(t, plan, "acme", "globex")
	plan = fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": "create table t (x int);",
		"2_b.sql": "-- +goose StatementBegin\ndo $$ begin execute 'insert into users values (1)'; end $$;\n-- +goose " +
			"StatementEnd"}))
	plan, _, err := useExtensions(t, f, plan, o)
	if err != nil {
		t.Fatal(err)
	}
	report := run(t, f, plan, tenants, migrate.RunOptions{Canary: migrate.Canary{Count: 1}})
	if n := f.Int(t, "select count(*) from public.users"); n != 0 {
		t.Errorf("%d rows were written to a shared table: %+v", n, report.Outcomes)
	}
}

func TestSharedSchemasThatCannotBe(t *testing.T) {
	t.Parallel()
	f := sharedFleet(t)
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": "create table t (x int);"}))
	f.Create(t, plan, "acme")
	for _, name := range []string{"nowhere", "tenant_acme"} {
		var shared *migrate.SharedSchemaError
		_, _, err := useExtensions(t, f, plan, migrate.ExtensionOptions{Shared: []string{"public", name}})
		if !errors.As(err, &shared) || shared.Schema != name {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPathFor is about the statements of a user: the path of the migrations, less what
// might call something planted.
func TestPathFor(t *testing.T) {
	t.Parallel()
	f := sharedFleet(t)
	f.Exec(t, "create extension citext", "create schema extensions", "create extension pg_trgm schema extensions")
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": "create extension if not exists " +
		"citext;\ncreate extension if not exists pg_trgm;\ncreate extension if not exists hstore;"}))
	for sql, want := range map[string][]string{
		"select 'a'::citext":             {"extensions", "public"},
		"select next_number()":           {"extensions"},
		"select count(*) from users":     {"extensions"},
		"select word_similarity(a, 'x')": {"extensions", "public"},
	} {
		path, left, err := plan.PathFor(t.Context(), f.Connect(t), registry.Default(), nil, []db.Statement{{SQL: sql}})
		if err != nil || path != db.NewPath(want) || len(left) != 2-len(want) {
			t.Errorf("%s: %+v without %q, %v", sql, path, left, err)
		}
	}
	if path, _, err := plan.PathFor(t.Context(), f.Connect(t), registry.Default(), []string{"public"},
		[]db.Statement{{SQL: "select next_number()"}}); err != nil || path != db.NewPath([]string{"extensions", "public"}) {
		t.Errorf("public on request: %+v, %v", path, err)
	}
	f.Exec(t, "grant create on schema public to public")
	if path, left, err := plan.PathFor(t.Context(), f.Connect(t), registry.Default(), nil, nil); err != nil ||
		path != db.NewPath([]string{"extensions"}) || !slices.Equal(left, []string{"public"}) {
		t.Errorf("unknown statements: %+v without %q, %v", path, left, err)
	}
}
