package migrate_test

import (
	"context"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
)

// service is how roles stand to each other where an application has a role of its own.
type service struct {
	name  string
	since int // the major version from which it can be
	// roles are made by a superuser: %[1]s is the application's, %[2]s the one that migrates.
	roles []string
	// schema changes a tenant's schema, which the application's role owns: %[3]s.
	schema []string
	owner  string // of what the migration makes: "app", "mig", "db"
	fails  bool   // the migration is refused, and nothing is changed
}

func services() []service {
	member := "grant %[1]s to %[2]s"
	return []service{
		{name: "superuser", roles: []string{"alter role %[2]s superuser"}, owner: "app"},
		{name: "member", roles: []string{member}, owner: "app"},
		{name: "creates roles, no superuser", roles: []string{"alter role %[2]s createrole createdb", member}, owner: "app"},
		{name: "noinherit member", roles: []string{"alter role %[2]s noinherit", member}, owner: "app"},
		{name: "member of a member", roles: []string{"create role %[1]s_dba", "grant %[1]s to %[1]s_dba",
			"grant %[1]s_dba to %[2]s"}, owner: "app"},
		{name: "set without inherit", since: 16, roles: []string{member + " with inherit false, set true"}, owner: "app"},
		{name: "inherit without set", since: 16, roles: []string{member + " with inherit true, set false"}, owner: "mig"},
		{name: "neither inherit nor set", since: 16, roles: []string{member + " with inherit false, set false"}, fails: true},
		{name: "no member", fails: true},
		{name: "the login is another role", roles: []string{member, "alter role %[2]s set role = %[1]s",
			"grant select, insert, update, delete on all tables in schema public to %[1]s",
			"grant usage on all sequences in schema public to %[1]s"}, owner: "app"},
		{name: "schema of the owner of the database", schema: []string{"alter schema %[3]s owner to pg_database_owner",
			"alter table %[3]s.c owner to pg_database_owner",
			"alter table %[3]s.goose_db_version owner to pg_database_owner"},
			roles: []string{"alter database %[4]s owner to %[2]s"}, owner: "db"},
		{name: "schema of the role, tables of the application", roles: []string{member},
			schema: []string{"alter schema %[3]s owner to %[2]s", "grant usage, create on schema %[3]s to %[1]s"}, owner: "app"},
		{name: "schema without create for the application", roles: []string{member},
			schema: []string{"alter schema %[3]s owner to %[2]s", "grant usage on schema %[3]s to %[1]s"}, owner: "mig"},
		{name: "version table of the role", roles: []string{member},
			schema: []string{"alter table %[3]s.goose_db_version owner to %[2]s", "grant usage on schema %[3]s to %[2]s"},
			owner:  "app"},
		{name: "mixed owners, of both a member", roles: []string{member},
			schema: []string{"create table %[3]s.other (id int)", "alter table %[3]s.other owner to %[2]s"}, owner: "mig"},
	}
}

// app is a tenant as an application with a role of its own makes it.
type app struct {
	*fleettest.Fleet

	app, mig string
	tenant   registry.Tenant
}

// serve makes a tenant whose schema and tables belong to the application's role, and the
// role that migrates.
func serve(t *testing.T, s service, n int) app {
	t.Helper()
	f := fleettest.New(t)
	if s.since > 0 && f.Int(t, "select current_setting('server_version_num')::int8 / 10000") < int64(s.since) {
		t.Skip("the server knows no such membership")
	}
	name := "own" + strconv.Itoa(n) + "_" + strconv.FormatInt(time.Now().UnixNano(), 36)
	a := app{Fleet: f, app: name + "_app", mig: name + "_mig"}
	a.tenant = f.Create(t, fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": "create table c (id int);"})), "a")[0]
	var database string
	f.Scan(t, []any{&database}, "select quote_ident(current_database())")
	t.Cleanup(func() {
		f.Exec(t, "alter database "+database+" owner to current_user")
		f.DropRoles(t, name)
	})
	f.Exec(t, "create role "+a.app, "create role "+a.mig+" login",
		"grant usage on schema public to "+a.mig,
		"grant select, insert, update, delete on all tables in schema public to "+a.mig,
		"grant usage on all sequences in schema public to "+a.mig,
		"alter schema tenant_a owner to "+a.app, "alter table tenant_a.c owner to "+a.app,
		"alter table tenant_a.goose_db_version owner to "+a.app)
	for _, sql := range append(append([]string{}, s.roles...), s.schema...) {
		if strings.Contains(sql, "%") {
			for i, v := range []string{a.app, a.mig, "tenant_a", database} {
				sql = strings.ReplaceAll(sql, fmt.Sprintf("%%[%d]s", i+1), v)
			}
		}
		f.Exec(t, sql)
	}
	return a
}

// Dial connects as the role that migrates.
func (a app) Dial(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := db.ParseConfig(a.DSN)
	if err != nil {
		return nil, err
	}
	cfg.User = a.mig
	return db.Connect(ctx, cfg)
}

// What a migration makes belongs to whom the rest of the schema belongs to, wherever the
// server lets the role of the session take that role; and what is altered is altered.
func TestMigrationsMakeWhatTheOwnerOwns(t *testing.T) {
	t.Parallel()
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{
		"1_a.sql": "create table c (id int);",
		"2_b.sql": "alter table c add column name text; create table d (id int); create type mood as enum ('good');",
		"3_c.sql": "-- +goose NO TRANSACTION\n-- +goose Up\ncreate index concurrently d_id on d (id);\ncreate table e (id " +
			"int);",
		"4_d.sql": "create table g (id serial);",
	}))
	for n, s := range services() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			a := serve(t, s, n)
			ledger, err := a.Dial(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = ledger.Close(context.Background()) }()
			report, err := plan.Run(t.Context(), ledger, a.Dial, []registry.Tenant{a.tenant}, migrate.RunOptions{
				Registry: registry.Default(), LockTimeout: time.Second, Actor: "test",
			})
			if err != nil {
				t.Fatal(err)
			}
			out := report.Outcomes[0]
			if s.fails {
				if out.State != migrate.Failed || db.SQLState(out.Err) != db.CodeInsufficientPrivilege {
					t.Errorf("%s: %v", out.State, out.Err)
				}
				if n := a.Int(t, "select count(*) from tenant_a.goose_db_version where version_id > 0"); n != 1 {
					t.Errorf("%d versions", n)
				}
				return
			}
			if out.State != migrate.Migrated || out.To != 4 || out.Err != nil {
				t.Fatalf("%s at %d: %v", out.State, out.To, out.Err)
			}
			want := map[string]string{"app": a.app, "mig": a.mig, "db": "pg_database_owner"}[s.owner]
			for _, what := range []string{"(select relowner from pg_class where oid = 'tenant_a.d'::regclass)",
				"(select relowner from pg_class where oid = 'tenant_a.e'::regclass)",
				"(select relowner from pg_class where oid = 'tenant_a.g_id_seq'::regclass)",
				"(select typowner from pg_type where oid = 'tenant_a.mood'::regtype)"} {
				var owner string
				a.Scan(t, []any{&owner}, "select pg_get_userbyid("+what+")")
				if owner != want {
					t.Errorf("%s belongs to %s, want %s", what, owner, want)
				}
			}
			if v := a.Int(t, "select schema_version from public.tenants where slug = 'a'"); v != 4 {
				t.Errorf("the registry has version %d", v)
			}
		})
	}
}

// Whose code it is stays what counts: a trigger of the application's role would run as the
// session's, for it can go back to that.
func TestOwnersCodeIsRefusedUnlessTrusted(t *testing.T) {
	t.Parallel()
	a := serve(t, service{roles: []string{"grant %[1]s to %[2]s"}}, 99)
	a.Exec(t, "create function tenant_a.f() returns trigger language plpgsql as "+
		"$$ begin perform set_config('role', 'none', true); return new; end $$",
		"alter function tenant_a.f() owner to "+a.app,
		"create trigger t before insert on tenant_a.c for each row execute function tenant_a.f()")
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{"1_a.sql": "create table c (id int);",
		"2_b.sql": "create table d (id int);"}))
	for _, trusted := range [][]string{nil, {a.app}} {
		ledger, err := a.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		report, err := plan.Run(t.Context(), ledger, a.Dial, []registry.Tenant{a.tenant}, migrate.RunOptions{
			Registry: registry.Default(), LockTimeout: time.Second, Actor: "test", Trusted: trusted,
		})
		_ = ledger.Close(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if out := report.Outcomes[0]; (out.State == migrate.Migrated) != (trusted != nil) {
			t.Errorf("trusted %v: %s, %v", trusted, out.State, out.Err)
		}
	}
}

// TestOwnersBehindAPooler: a role that a transaction takes ends with it, so that nobody who
// gets the pooler's session next works as the owner.
func TestOwnersBehindAPooler(t *testing.T) {
	t.Parallel()
	a := serve(t, service{roles: []string{"grant %[1]s to %[2]s"}}, 99)
	address, err := url.Parse(a.DSN)
	if err != nil {
		t.Fatal(err)
	}
	address.User = url.User(a.mig)
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, address.String())}
	files := map[string]string{"1_a.sql": "create table c (id int);"}
	for v := int64(2); v <= 4; v++ {
		files[fmt.Sprintf("%d_x.sql", v)] = fmt.Sprintf("create table t%d (id int);", v)
		plan := fleettest.Plan(t, fleettest.Files(files))
		conn, err := pooled.Dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		report, err := plan.Run(t.Context(), conn, pooled.Dial, []registry.Tenant{a.tenant}, migrate.RunOptions{
			Registry: registry.Default(), LockTimeout: time.Second, Actor: "test",
		})
		if err != nil || report.Count(migrate.Migrated) != 1 {
			t.Fatalf("%v: %+v", err, report.Outcomes)
		}
		a.tenant = report.Outcomes[0].Tenant
		var who string
		if err := conn.QueryRow(t.Context(), "select current_user::text").Scan(&who); err != nil || who != a.mig {
			t.Errorf("the session's role is %q afterwards, want %q: %v", who, a.mig, err)
		}
		_ = conn.Close(t.Context())
	}
	if n := a.Int(t, `select count(*) from pg_class c join pg_roles r on r.oid = c.relowner
		where c.relnamespace = 'tenant_a'::regnamespace and c.relname ~ '^t[234]$' and r.rolname = '`+a.app+`'`); n != 3 {
		t.Errorf("%d of 3 tables belong to the application's role", n)
	}
}
