package doctor_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/doctor"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
)

func TestHealthyFleetHasNoFindings(t *testing.T) {
	t.Parallel()
	p := healthy(t, 4)
	p.withRole(t, "roled")
	p.Exec(t, "update public.tenants set status = 'suspended' where slug = 't0002'",
		"update public.tenants set status = 'deleted', deleted_at = now(), purge_after = now() + interval '1 day' where "+
			"slug = 't0003'",
		// Schemas that are none of ours.
		"create schema tenants_archive", "create table tenants_archive.contacts (n int)", "create schema billing",
		"create table billing.goose_db_version (n int)",
		"create schema tenant_reports", "create table tenant_reports.totals (n int)")
	report := p.examine(t, doctor.Options{Skip: []doctor.Class{doctor.Autovacuum}})
	want(t, report)
	everywhere := slices.DeleteFunc(doctor.Classes(), doctor.Class.OfCluster)
	if len(report.Checked) != len(everywhere)-1 || report.Tenants != 5 {
		t.Errorf("checked %v of %d tenants", report.Checked, report.Tenants)
	}
}

func TestOrphanSchema(t *testing.T) {
	t.Parallel()
	p := healthy(t, 2)
	long := "tenant_" + strings.Repeat("x", 56)
	p.Exec(t, "create schema tenant_empty", "create schema "+long, "create table "+long+".contacts (n int)",
		"insert into "+long+".contacts values (1)",
		`create schema "Weird ""one"`, `create table "Weird ""one".goose_db_version (n int)`,
		`create table "Weird ""one".contacts (n int)`)
	want(t, p.examine(t, doctor.Options{Skip: serverWide()}),
		`warning orphan-schema Weird "one: no tenant of the registry has this schema with 2 tables`,
		"warning orphan-schema tenant_empty: no tenant of the registry has this schema with 0 tables",
		"warning orphan-schema "+long)
	done := p.fix(t, doctor.OrphanSchema, 3)
	report := p.examine(t, doctor.Options{Only: []doctor.Class{doctor.OrphanSchema, doctor.Quarantine}})
	date := time.Now().UTC().Format("20060102")
	want(t, report, `info quarantine quarantine_Weird "one_`+date+`: set aside by crmctl doctor`,
		"info quarantine quarantine_tenant_empty_"+date, "info quarantine quarantine_tenant_xxx")
	// The way back, as it was told.
	for _, d := range done {
		p.Exec(t, d.Undo)
	}
	if n := p.Int(t, "select n from "+long+".contacts"); n != 1 {
		t.Errorf("n is %d", n)
	}
	// A second one of the same day.
	p.fix(t, doctor.OrphanSchema, 3)
	p.Exec(t, "create schema tenant_empty")
	p.fix(t, doctor.OrphanSchema, 1)
	if n := p.Int(t, "select count(*) from pg_namespace where nspname = 'quarantine_tenant_empty_"+date+"_2'"); n != 1 {
		t.Error("the second has no number")
	}
}

// TestPool: what the pool lists is in order, what it does not list is set aside, and
// what it lists and is gone is told.
func TestPool(t *testing.T) {
	t.Parallel()
	p := healthy(t, 2)
	version := p.plan.Head()
	pooled := func(name string) string {
		return fmt.Sprintf(`insert into public.tenant_pool (schema_name, key, version) values ('%s', 'x', %d)`, name, version)
	}
	// As the pool makes them: with the tables of a tenant.
	table := func(name string) []string {
		return []string{"create schema " + name, "create table " + name + ".contacts (n int)", "create table " + name +
			".goose_db_version (n int)", "insert into " + name + ".contacts values (1)"}
	}
	p.Exec(t, append(table("crmctl_pool_0001"), pooled("crmctl_pool_0001"))...)
	want(t, p.examine(t, doctor.Options{Skip: serverWide()}))
	p.Exec(t, append(table("crmctl_pool_0002"), pooled("crmctl_pool_0003"))...)
	p.Exec(t, `create schema "crmctl_pool_""odd"`)
	report := p.examine(t, doctor.Options{Skip: serverWide()})
	want(t, report, "error pool crmctl_pool_0003: the pool lists it, but the schema is gone",
		`warning pool crmctl_pool_"odd: a schema of the pool that the pool does not list`,
		"warning pool crmctl_pool_0002: a schema of the pool that the pool does not list")
	if c := report.Findings[0].Command; c != "crmctl tenant pool drain, then crmctl tenant pool fill" ||
		report.Findings[0].Fixable() {
		t.Errorf("what mends a lost schema: %q", c)
	}
	done := p.fix(t, doctor.Pool, 2)
	if n := p.Int(t, "select n from quarantine_crmctl_pool_0002_"+time.Now().UTC().Format("20060102")+
		".contacts"); n != 1 {
		t.Errorf("n is %d", n)
	}
	p.Exec(t, "delete from public.tenant_pool where schema_name = 'crmctl_pool_0003'")
	want(t, p.examine(t, doctor.Options{Skip: append(serverWide(), doctor.Quarantine)}))
	for _, d := range done {
		p.Exec(t, d.Undo)
	}
	// Listed by the time of the fix, it stays.
	conn := p.Connect(t)
	report, err := doctor.Examine(t.Context(), conn, p.fleet(t, conn), doctor.Options{Only: []doctor.Class{doctor.Pool}})
	if err != nil || len(report.Findings) != 2 {
		t.Fatalf("%v, %+v", err, report)
	}
	p.Exec(t, pooled("crmctl_pool_0002"), "drop schema \"crmctl_pool_\"\"odd\"")
	for _, d := range doctor.Fix(t.Context(), conn, report.Findings, doctor.FixOptions{}) {
		if !errors.Is(d.Err, doctor.ErrMended) {
			t.Errorf("%+v", d)
		}
	}
	// A registry without a pool has none: nothing may bear such a name.
	p.Exec(t, "drop table public.tenant_pool")
	want(t, p.examine(t, doctor.Options{Skip: append(serverWide(), doctor.Quarantine)}),
		"warning pool crmctl_pool_0001: a schema of the pool that the pool does not list", "warning pool crmctl_pool_0002")
	p.fix(t, doctor.Pool, 2)
}

func TestGhostRow(t *testing.T) {
	t.Parallel()
	p := healthy(t, 3)
	p.Exec(t, "drop schema tenant_t0002 cascade", "drop schema tenant_t0003 cascade",
		"update public.tenants set status = 'deleted', deleted_at = now(), purge_after = now() + interval '1 day' where "+
			"slug = 't0003'")
	want(t, p.examine(t, doctor.Options{Skip: serverWide()}), "error ghost-row t0002: its schema tenant_t0002 is gone",
		"info ghost-row t0003")
	p.fix(t, doctor.GhostRow, 1)
	var status, from string
	p.Scan(t, []any{&status, &from}, "select status, deleted_from from public.tenants where slug = 't0002' and "+
		"purge_after > now() + interval '29 days'")
	if status != "deleted" || from != "active" || p.audit(t, registry.ActionDelete) != 1 {
		t.Errorf("status %q from %q", status, from)
	}
}

func TestPurges(t *testing.T) {
	t.Parallel()
	p := healthy(t, 3)
	p.Exec(t, "update public.tenants set status = 'deleted', deleted_at = now() - interval '60 days', purge_after = "+
		"now() - interval '30 days' where slug <> 't0003'",
		"update public.tenants set purge_started_at = now() - interval '2 days' where slug = 't0002'",
		"update public.tenants set status = 'deleted', deleted_at = now() - interval '60 days', purge_after = now() - "+
			"interval '1 day' where slug = 't0003'")
	want(t, p.examine(t, doctor.Options{Skip: serverWide()}), "warning purge-stuck t0002: its purge began 2 days ago",
		"warning purge-overdue t0001: due for purge since 30 days")
}

func TestDirtyAndOpenRuns(t *testing.T) {
	t.Parallel()
	p := healthy(t, 3)
	p.Exec(t, `insert into public.tenant_dirty (tenant_id, version, file, checksum, statements, running, since)
		select id, 5, '00005_index.sql', '', 2, slug <> 't0001',
			case when slug = 't0003' then now() else now() - interval '2 days' end from public.tenants`,
		"insert into public.migration_runs (actor, target_version, tenants) values ('x', 4, 3)",
		"insert into public.migration_runs (actor, target_version, tenants, heartbeat_at) values ('x', 4, 3, now())")
	want(t, p.examine(t, doctor.Options{Skip: serverWide()}),
		"error dirty t0001: dirty: in the middle of 00005_index.sql (statement 1 of 2 failed)",
		"error dirty t0002: dirty: in the middle of 00005_index.sql (statement 1 of 2 was cut off",
		"warning open-run run 1: killed, and open in the ledger")
	p.fix(t, doctor.OpenRun, 1)
	if n := p.Int(t, "select count(*) from public.migration_runs where state = 'killed'"); n != 1 {
		t.Errorf("%d runs are closed", n)
	}
}

func TestVersions(t *testing.T) {
	t.Parallel()
	p := healthy(t, 6)
	p.Exec(t, "update public.tenants set schema_version = 2 where slug = 't0001'",
		"insert into tenant_t0002.goose_db_version (version_id, is_applied) values (99, true)",
		"insert into tenant_t0003.goose_db_version (version_id, is_applied) values (99, true)",
		"update public.tenants set schema_version = 99 where slug = 't0003'",
		"delete from tenant_t0004.goose_db_version where version_id = 2", "drop table tenant_t0005.goose_db_version",
		"delete from tenant_t0006.goose_db_version where version_id > 3",
		"update public.tenants set schema_version = 3 where slug = 't0006'")
	only := doctor.Options{Only: []doctor.Class{doctor.Version, doctor.Behind}}
	want(t, p.examine(t, only),
		"error version t0001: its schema is at version 4, the registry says 2",
		"error version t0002: its schema is at version 99, the registry says 4",
		"error version t0005: its schema tenant_t0005 has no goose_db_version",
		"warning version t0003: at version 99, newer than the files (4)",
		"warning version t0004: never applied: 00002_",
		"info behind t0006: has pending migrations")
	p.fix(t, doctor.Version, 2)
	if n := p.Int(t, "select schema_version from public.tenants where slug = 't0001'"); n != 4 ||
		p.audit(t, registry.ActionRepair) != 2 {
		t.Errorf("version %d, %d rows of the audit", n, p.audit(t, registry.ActionRepair))
	}
}

func TestIndexes(t *testing.T) {
	t.Parallel()
	p := healthy(t, 4)
	// A build that fails leaves an invalid index.
	p.Exec(t, "insert into tenant_t0002.contacts (name) values ('a'), ('a')")
	conn := p.Connect(t)
	if _, err := conn.Exec(t.Context(), "create unique index concurrently idx_twice on tenant_t0002.contacts "+
		"(name)"); err == nil {
		t.Fatal("the index was built")
	}
	p.Exec(t, "drop index tenant_t0003.idx_contacts_phone", "create index idx_more on tenant_t0004.contacts (name)")
	want(t, p.examine(t, doctor.Options{Skip: serverWide()}),
		"error invalid-index t0002: index idx_twice of contacts is invalid",
		"warning missing-index t0003: lacks contacts.idx_contacts_phone")
	done := p.fix(t, doctor.InvalidIndex, 1)
	if !strings.HasPrefix(done[0].Undo, "CREATE UNIQUE INDEX idx_twice") || p.audit(t, registry.ActionRepair) != 1 {
		t.Errorf("%+v", done[0])
	}
	if n := p.Int(t, "select count(*) from pg_class where relname = 'idx_twice'"); n != 0 {
		t.Error("the index is there")
	}
}

// TestIndexBeingBuilt: what is under way is no finding.
func TestIndexBeingBuilt(t *testing.T) {
	t.Parallel()
	p := healthy(t, 1)
	holder, builder := p.Connect(t), p.Connect(t)
	if _, err := holder.Exec(t.Context(), "begin; select txid_current(); lock table tenant_t0001.contacts in row "+
		"exclusive mode"); err != nil {
		t.Fatal(err)
	}
	built := make(chan error, 1)
	go func() {
		_, err := builder.Exec(context.Background(), "create index concurrently idx_slow on tenant_t0001.contacts (name)")
		built <- err
	}()
	for p.Int(t, "select count(*) from pg_class where relname = 'idx_slow'") == 0 {
		time.Sleep(5 * time.Millisecond)
	}
	want(t, p.examine(t, doctor.Options{Only: []doctor.Class{doctor.InvalidIndex}}))
	if _, err := holder.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	if err := <-built; err != nil {
		t.Fatal(err)
	}
}

func TestOwners(t *testing.T) {
	t.Parallel()
	p := healthy(t, 2)
	role := "owner_" + p.database(t)
	p.Exec(t, "create role "+role, "grant create, usage on schema tenant_t0001 to "+role,
		"alter table tenant_t0001.contacts owner to "+role, "create type tenant_t0001.mood as enum ('fine')",
		"alter type tenant_t0001.mood owner to "+role, "revoke create on schema tenant_t0001 from "+role)
	t.Cleanup(func() { p.Exec(t, "drop owned by "+role+" cascade", "drop role "+role) })
	want(t, p.examine(t, doctor.Options{Skip: serverWide()}),
		"warning owner t0001: table tenant_t0001.contacts belongs to "+role, "warning creators "+role+
			": owns 1 table in 1 tenant: t0001")
	want(t, p.examine(t, doctor.Options{Only: []doctor.Class{doctor.Creators}, Trusted: []string{role}}))
}

func TestGrants(t *testing.T) {
	t.Parallel()
	p := healthy(t, 1)
	for i, c := range []struct {
		breaks []string
		what   string
	}{
		{[]string{"revoke usage on schema %[1]s from %[2]s"}, "lacks usage on the schema"},
		{[]string{"revoke update on %[1]s.contacts from %[2]s", "revoke select on %[1]s.goose_db_version from %[2]s"},
			"lacks rights on contacts, goose_db_version"},
		{[]string{"create sequence %[1]s.s", "revoke update on sequence %[1]s.s from %[2]s"}, "lacks rights on s"},
		{[]string{"alter default privileges in schema %[1]s revoke insert on tables from %[2]s"},
			"lacks default privileges on tables to come"},
		{[]string{"alter default privileges in schema %[1]s revoke all on sequences from %[2]s"},
			"lacks default privileges on sequences to come"},
		{[]string{"update public.tenants set status = 'suspended' where schema_name = '%[1]s'"},
			"it is suspended, and its role"},
	} {
		made := p.withRole(t, fmt.Sprintf("roled%d", i))
		for _, sql := range c.breaks {
			p.Exec(t, fmt.Sprintf(sql, made.Schema, made.Role))
		}
		report := p.examine(t, doctor.Options{Skip: serverWide()})
		want(t, report, "error grants "+made.Slug+": "+strings.ReplaceAll(c.what, "lacks", "its role "+made.Role+" lacks"))
		commands(t, report, "crmctl doctor --fix grants")
		p.fix(t, doctor.Grants, 1)
		want(t, p.examine(t, doctor.Options{Skip: serverWide()}))
	}
	if n := p.audit(t, registry.ActionRepair); n != 6 {
		t.Errorf("%d rows of the audit", n)
	}
	p.Exec(t, "update public.tenants set role_name = 'nobody_of_that_name' where slug = 't0001'")
	report := p.examine(t, doctor.Options{Skip: serverWide()})
	want(t, report, "error grants t0001: its role nobody_of_that_name is gone")
	var id string
	p.Scan(t, []any{&id}, "select id::text from public.tenants where slug = 't0001'")
	commands(t, report, `create role "nobody_of_that_name" nologin; comment on role "nobody_of_that_name" is 'crmctl: role of tenant `+id+`', then crmctl doctor --fix grants`)
	// What it says, for a role of the test's own: the name is the cluster's.
	role := "regained_" + strings.TrimPrefix(p.database(t), "crmctl_test_")
	p.Exec(t, "update public.tenants set role_name = '"+role+"' where slug = 't0001'")
	report = p.examine(t, doctor.Options{Skip: serverWide()})
	sql, _, _ := strings.Cut(report.Findings[0].Command, ", then ")
	p.Exec(t, strings.Split(sql, "; ")...)
	t.Cleanup(func() { p.Exec(t, "drop owned by "+role, "drop role "+role) })
	p.fix(t, doctor.Grants, 1)
	want(t, p.examine(t, doctor.Options{Skip: serverWide()}))
	if n := p.Int(t, "select count(*) from pg_roles where rolname = $1 and not rolcanlogin and has_table_privilege(oid, "+
		"'tenant_t0001.contacts', 'insert')", role); n != 1 {
		t.Error("the role that came back has no rights")
	}
}

// commands compares what the findings say mends them.
func commands(t *testing.T, report *doctor.Report, want ...string) {
	t.Helper()
	var got []string
	for _, f := range report.Findings {
		got = append(got, f.Command)
	}
	if !slices.Equal(got, want) {
		t.Errorf("commands\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(want, "\n  "))
	}
}

func TestSequences(t *testing.T) {
	t.Parallel()
	p := healthy(t, 3)
	p.Exec(t, "create table tenant_t0001.invoices (id bigint generated always as identity primary key, n serial)",
		"insert into tenant_t0001.invoices overriding system value values (41)",
		`create table tenant_t0002."in voices" (id serial primary key)`,
		`insert into tenant_t0002."in voices" values (default), (2)`,
		"create table tenant_t0003.fine (id serial primary key)", "insert into tenant_t0003.fine values (default), (default)",
		"create table tenant_t0003.one (id serial primary key)",
		"create table tenant_t0003.untouched (id serial primary key)", "insert into tenant_t0003.one values (1)")
	want(t, p.examine(t, doctor.Options{Only: []doctor.Class{doctor.Sequence}}),
		"error sequence t0001: sequence invoices_id_seq is at 0, but invoices.id has 41",
		"error sequence t0002: sequence in voices_id_seq is at 1, but in voices.id has 2",
		"error sequence t0003: sequence one_id_seq is at 0, but one.id has 1")
	p.fix(t, doctor.Sequence, 3)
	p.Exec(t, "insert into tenant_t0001.invoices default values", `insert into tenant_t0002."in voices" default values`,
		"insert into tenant_t0003.one default values")
}

func TestPublic(t *testing.T) {
	t.Parallel()
	p := healthy(t, 2)
	p.Exec(t, "create table public.contacts (n int)", "create table public.other (n int)",
		"create function public.lower(text) returns text language sql as 'select $1'",
		"create function public.own(text) returns text language sql as 'select $1'",
		"create function public.same(text, int) returns bool language sql as 'select true'",
		"create operator public.= (leftarg = text, rightarg = int, function = public.same)")
	if _, err := p.Connect(t).Exec(t.Context(), "create extension citext"); err != nil {
		t.Log("without citext:", err)
	}
	report := p.examine(t, doctor.Options{Skip: serverWide()})
	want(t, report, "warning public-object public.contacts", "warning shadowing public.= (text, integer)",
		"warning shadowing public.lower(text)")
}

func TestServer(t *testing.T) {
	t.Parallel()
	server, _ := pgtest.Instance(t, map[string]string{"max_prepared_transactions": "2", "max_connections": "12",
		"max_locks_per_transaction": "10"})
	p := &patient{Fleet: &fleettest.Fleet{DSN: server.DSN}, plan: fleettest.TenantPlan(t, 0)}
	p.Registry(t)
	p.Exec(t, "revoke create on schema public from public")
	p.Create(t, p.plan, "acme")
	p.Exec(t, "alter table tenant_acme.contacts set (autovacuum_enabled = off)")
	conn := p.Connect(t)
	count := func(sql string, args ...any) (n int) {
		t.Helper()
		if err := conn.QueryRow(t.Context(), sql, args...).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	// The server notices a moment later that a session has gone.
	others := func() int {
		return count("select count(*) from pg_stat_activity where backend_type = 'client backend' and pid <> " +
			"pg_backend_pid()")
	}
	until := func(done func() bool) {
		t.Helper()
		for range 500 {
			if done() {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatalf("it does not come; %d other sessions", others())
	}
	set := func(autovacuum string) {
		t.Helper()
		for _, sql := range []string{"alter system set autovacuum = " + autovacuum, "select pg_reload_conf()"} {
			if _, err := conn.Exec(t.Context(), sql); err != nil {
				t.Fatal(err)
			}
		}
		until(func() bool { return count("select count(*) where current_setting('autovacuum') = $1", autovacuum) == 1 })
	}
	set("off")
	if _, err := conn.Exec(t.Context(), "begin; create table held (n int); prepare transaction 'it''s'"); err != nil {
		t.Fatal(err)
	}
	until(func() bool { return others() == 1 }) // that which made the registry
	var held []*pgx.Conn
	for range 6 {
		held = append(held, p.Connect(t))
	}
	// 140 locks are the whole table.
	if _, err := held[0].Exec(t.Context(), "select pg_advisory_lock(g) from generate_series(1, 80) g"); err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return time.Now().Add(time.Hour) }
	report := p.examine(t, doctor.Options{Now: now})
	want(t, report,
		"error connections server: ", "warning locks server: the lock table holds ", "warning prepared it's: prepared by ",
		"warning autovacuum acme: autovacuum is off for contacts", "warning autovacuum server: autovacuum is off")
	commands(t, report, "put a pooler before it, or raise max_connections",
		"find who holds them in pg_locks, or raise max_locks_per_transaction",
		`ask its owner, then: rollback prepared 'it''s'`, `alter table "tenant_acme"."contacts" reset (autovacuum_enabled)`,
		"alter system set autovacuum = on; select pg_reload_conf()")
	for _, f := range report.Findings[2:4] {
		_, sql, found := strings.Cut(f.Command, "then: ")
		if !found {
			sql = f.Command
		}
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	set("on")
	for _, conn := range held {
		_ = conn.Close(t.Context())
	}
	until(func() bool { return others() == 2 }) // and that of the first look
	want(t, p.examine(t, doctor.Options{Now: now}))
}

func TestRegistry(t *testing.T) {
	t.Parallel()
	p := healthy(t, 1)
	conn := p.Connect(t)
	f := p.fleet(t, conn)
	for version, line := range map[int64]string{f.RegistryHead - 1: "error registry registry: at version", f.RegistryHead +
		1: "warning registry registry: at version"} {
		f.RegistryVersion = version
		report, err := doctor.Examine(t.Context(), conn, f, doctor.Options{Only: []doctor.Class{doctor.Registry}})
		if err != nil {
			t.Fatal(err)
		}
		want(t, report, line)
	}
}

// TestPoorRole: what a role may not read is told, and nothing fails.
func TestPoorRole(t *testing.T) {
	t.Parallel()
	p := healthy(t, 3)
	role := "poor_" + p.database(t)
	p.Exec(t, "create role "+role+" login", "grant usage on schema public to "+role,
		"grant select on public.tenants to "+role,
		"grant usage on schema tenant_t0001 to "+role, "grant select on tenant_t0001.goose_db_version to "+role,
		"create table tenant_t0002.invoices (id serial primary key)")
	t.Cleanup(func() { p.Exec(t, "drop owned by "+role, "drop role "+role) })
	u, err := url.Parse(p.DSN)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(role)
	poor := &patient{Fleet: &fleettest.Fleet{DSN: u.String()}, plan: p.plan}
	conn := poor.Connect(t)
	report, err := doctor.Examine(t.Context(), conn, poor.fleet(t, conn), doctor.Options{Skip: serverWide()})
	if err != nil {
		t.Fatal(err)
	}
	if len(report.Findings) != 0 {
		t.Errorf("%+v", report.Findings)
	}
	var classes []string
	for _, n := range report.NotChecked {
		classes = append(classes, string(n.Class))
	}
	if got := strings.Join(classes, " "); got != "registry orphan-schema half-built pool transfer dirty open-run version sequence" {
		t.Errorf("not checked: %s: %+v", got, report.NotChecked)
	}
}

// TestBusySchema: a schema that somebody works on is not touched.
func TestBusySchema(t *testing.T) {
	t.Parallel()
	p := healthy(t, 1)
	p.Exec(t, "update public.tenants set schema_version = 2")
	holder, conn := p.Connect(t), p.Connect(t)
	f := p.fleet(t, conn)
	for _, sql := range []string{"begin", "select from public.tenants where id = '" + f.Tenants[0].ID +
		"' for no key update"} {
		if _, err := holder.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	report, err := doctor.Examine(t.Context(), conn, f, doctor.Options{Only: []doctor.Class{doctor.Version}})
	if err != nil {
		t.Fatal(err)
	}
	done := doctor.Fix(t.Context(), conn, report.Findings, doctor.FixOptions{})
	if len(done) != 1 || !errors.Is(done[0].Err, db.ErrBusy) || !strings.Contains(done[0].Err.Error(),
		fmt.Sprintf("pid %d (", holder.PgConn().PID())) {
		t.Errorf("%+v", done)
	}
}

// TestMendedMeanwhile: what is in order by the time of the fix stays as it is.
func TestMendedMeanwhile(t *testing.T) {
	t.Parallel()
	p := healthy(t, 2)
	p.Exec(t, "alter schema tenant_t0001 rename to tenant_lost")
	conn := p.Connect(t)
	report, err := doctor.Examine(t.Context(), conn, p.fleet(t, conn),
		doctor.Options{Only: []doctor.Class{doctor.GhostRow, doctor.OrphanSchema}})
	if err != nil || len(report.Findings) != 2 {
		t.Fatalf("%v, %+v", err, report)
	}
	p.Exec(t, "create schema tenant_t0001", "update public.tenants set schema_name = 'tenant_lost' where slug = 't0002'")
	for _, d := range doctor.Fix(t.Context(), conn, report.Findings, doctor.FixOptions{}) {
		if !errors.Is(d.Err, doctor.ErrMended) {
			t.Errorf("%+v", d)
		}
	}
	if n := p.Int(t, "select count(*) from public.tenants where status = 'active'"); n != 2 {
		t.Errorf("%d active tenants", n)
	}
}
