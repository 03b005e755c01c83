package migrate_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
)

// withExtension asks for one in the way of real histories, and uses a type and an
// operator class of it without their schema.
var withExtension = map[string]string{
	"1_a.sql": `create extension if not exists citext;
create extension if not exists "pg_trgm";
comment on extension citext is 'text whatever its case';
create table people (name text, email citext unique);
create index people_name on people using gin (name gin_trgm_ops);
-- +goose Down
drop table people;
drop extension if exists citext;
`,
}

func useExtensions(t *testing.T, f *fleettest.Fleet, plan *migrate.Plan, o migrate.ExtensionOptions) (*migrate.Plan,
	[]migrate.ExtensionUse, error) {
	t.Helper()
	return plan.UseExtensions(t.Context(), f.Connect(t), o)
}

func TestExtensionsAreMadeOnce(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.Plan(t, fleettest.Files(withExtension))
	if _, uses, err := useExtensions(t, f, plan, migrate.ExtensionOptions{DryRun: true}); err != nil || len(uses) != 2 ||
		!uses[0].Made {
		t.Fatalf("dry run: %+v, %v", uses, err)
	}
	if n := f.Int(t, "select count(*) from pg_extension where extname in ('citext', 'pg_trgm')"); n != 0 {
		t.Fatal("a dry run has made extensions")
	}
	plan, _, err := useExtensions(t, f, plan, migrate.ExtensionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	tenants := f.Create(t, plan, "acme", "globex")
	if n := f.Int(t, "select count(*) from pg_extension e join pg_namespace n on n.oid = extnamespace where nspname = "+
		"'extensions'"); n != 2 {
		t.Errorf("%d of 2 stand in the schema for extensions", n)
	}
	f.Exec(t, "insert into tenant_globex.people values ('Ada', 'Ada@example.org')")
	if n := f.Int(t, `select count(*) from tenant_globex.people
		where email operator(extensions.=) 'ada@example.org'::extensions.citext`); n != 1 {
		t.Error("the column is no citext")
	}
	// Going back leaves to the others what they use.
	report := run(t, f, plan, tenants[:1], migrate.RunOptions{Route: migrate.Route{Kind: migrate.Down, Steps: 1}})
	if out := report.Outcomes[0]; out.State != migrate.Migrated || out.To != 0 {
		t.Errorf("rollback: %s to %d: %v", out.State, out.To, out.Err)
	}
	if n := f.Int(t, "select count(*) from pg_extension where extname = 'citext'"); n != 1 {
		t.Error("the extension is gone")
	}
	// A fleet that asks for one later.
	old := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": "create table t (x int);"}))
	later := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": "create table t (x int);",
		"2_b.sql": "create extension if not exists hstore;\nalter table t add h hstore;"}))
	tenants = f.Create(t, old, "hooli", "initech")
	if later, _, err = useExtensions(t, f, later, migrate.ExtensionOptions{Schema: "ext"}); err != nil {
		t.Fatal(err)
	}
	for _, out := range run(t, f, later, tenants, migrate.RunOptions{AllowChanged: true}).Outcomes {
		if out.State != migrate.Migrated {
			t.Errorf("%s: %v", out.Tenant.Slug, out.Err)
		}
	}
}

func TestExtensionInPublic(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Exec(t, "create extension citext", "create extension pg_trgm", "create table public.people (mine int)",
		"create table public.other (mine int)")
	plan := fleettest.Plan(t, fleettest.Files(withExtension))
	used, _, err := useExtensions(t, f, plan, migrate.ExtensionOptions{})
	if err != nil {
		t.Fatal(err)
	}
	f.Create(t, used, "acme")
	if n := f.Int(t, "select count(*) from pg_class where relname = 'people' and relkind = 'r'"); n != 2 {
		t.Error("the tenant has no table of its own")
	}
	// A function of that name in public would be called in place of PostgreSQL's.
	f.Exec(t, "create function public.lower(varchar) returns text language sql as 'select null'")
	careless := fleettest.Plan(t, fleettest.Files(map[string]string{
		"1_a.sql": "create extension if not exists citext;\ncreate table t (a varchar(5), b citext);\ncreate index t_a on " +
			"t (lower(a));",
	}))
	_, _, err = useExtensions(t, f, careless, migrate.ExtensionOptions{})
	var shared *migrate.SharedNamesError
	if !errors.As(err, &shared) || strings.Join(shared.Names, " ") != "function lower" || shared.Schema != "public" {
		t.Errorf("got %v", err)
	}
	// A relation that the history does not make is somebody else's.
	careless = fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": "create extension if not exists " +
		"citext;\nalter table other add x citext;"}))
	if _, _, err = useExtensions(t, f, careless, migrate.ExtensionOptions{}); !errors.As(err, &shared) ||
		strings.Join(shared.Names, " ") != "relation other" {
		t.Errorf("got %v", err)
	}
}

// TestMissingExtension: a name of an extension that is not in the database is explained,
// whatever else fails is not.
func TestMissingExtension(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	first := map[string]string{"1_a.sql": "create table t (a text);"}
	tenants := f.Create(t, fleettest.Plan(t, fleettest.Files(first)), "acme")
	for sql, want := range map[string]string{
		"alter table t add b citext;":                         "citext",
		"alter table t add b hstore default '';":              "hstore",
		"alter table t add b uuid default uuid_generate_v4()": "uuid-ossp",
		"create index i on t using gin (a gin_trgm_ops);":     "pg_trgm",
		"select encode(digest(a, 'sha256'), 'hex') from t;":   "pgcrypto",
		"select unaccent('x');":                               "unaccent",

		"alter table t add b nothing;": "",
		"select nothing('x');":         "",
		"select * from citext;":        "",
		"select citext from t;":        "",
	} {
		plan := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": first["1_a.sql"],
			"2_b.sql": strings.TrimSuffix(sql, ";") + ";"}))
		err := run(t, f, plan, tenants, migrate.RunOptions{AllowChanged: true}).Outcomes[0].Err
		found, _ := errors.AsType[*migrate.ElsewhereError](err)
		switch {
		case err == nil:
			t.Errorf("%s: no error", sql)
		case want == "" && found != nil, want != "" && (found == nil || found.Extension != want || found.Schema != ""):
			t.Errorf("%s: got %v, want %q", sql, err, want)
		}
	}
}

// TestGrantInBlock: what the refusal of GRANT ... IN SCHEMA says to write instead works.
func TestGrantInBlock(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	if _, err := migrate.Compile(t.Context(), fleettest.Files(map[string]string{"1_a.sql": "grant select on all tables " +
		"in schema tenant_acme to public;"})); err == nil || !strings.Contains(err.Error(), "current_schema()") {
		t.Errorf("got %v", err)
	}
	first := map[string]string{"1_a.sql": "create table t (a text);"}
	tenants := f.Create(t, fleettest.Plan(t, fleettest.Files(first)), "acme", "globex")
	first["2_b.sql"] = `-- +goose Up
-- +goose StatementBegin
do $$ begin
	execute format('grant usage on schema %I to public', current_schema());
	execute format('grant select on all tables in schema %I to public', current_schema());
	execute format('alter default privileges in schema %I grant select on tables to public', current_schema());
end $$;
-- +goose StatementEnd`
	for _, out := range run(t, f, fleettest.Plan(t, fleettest.Files(first)), tenants,
		migrate.RunOptions{Canary: migrate.Canary{Count: 1}}).Outcomes {
		if out.State != migrate.Migrated {
			t.Errorf("%s: %v", out.Tenant.Slug, out.Err)
		}
	}
	if n := f.Int(t, "select count(*) from pg_class where relname = 't' and relacl::text ~ '[{,]=r/'"); n != 2 {
		t.Errorf("%d tables may be read", n)
	}
}

func TestExtensionRefused(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plain := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": "create table t (x int);"}))
	f.Create(t, plain, "acme")
	f.Exec(t, "create extension citext schema tenant_acme")
	plan := fleettest.Plan(t, fleettest.Files(withExtension))
	if _, _, err := useExtensions(t, f, plan, migrate.ExtensionOptions{}); !errors.Is(err, migrate.ErrExtensionInTenant) ||
		!strings.Contains(err.Error(), "1_a.sql:2") {
		t.Errorf("in a tenant's schema: %v", err)
	}
	f.Exec(t, "drop extension citext", "create schema extensions", "grant create on schema extensions to public")
	if _, _, err := useExtensions(t, f, plan, migrate.ExtensionOptions{}); !errors.Is(err, migrate.ErrExtensionSchema) {
		t.Errorf("in a schema where others create: %v", err)
	}
	unknown := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": "create extension no_such_extension;"}))
	var extension *migrate.ExtensionError
	if _, _, err := useExtensions(t, f, unknown, migrate.ExtensionOptions{Schema: "ext"}); !errors.As(err, &extension) ||
		extension.Extension.Name != "no_such_extension" {
		t.Errorf("unknown: %v", err)
	}
	if n := f.Int(t, "select count(*) from pg_namespace where nspname = 'ext'"); n != 0 {
		t.Error("a schema was left behind")
	}
}
