package planted_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
)

// zoo is a fleet of one tenant, and a role that is not trusted: it may create in the
// tenant's schema and owns the schema evil.
type zoo struct {
	*fleettest.Fleet
	tenant registry.Tenant
	role   string
}

func newZoo(t *testing.T) *zoo {
	t.Helper()
	z := &zoo{Fleet: fleettest.New(t)}
	z.tenant = z.Create(t, fleettest.TenantPlan(t, 0), "acme")[0]
	var name string
	z.Scan(t, []any{&name}, "select current_database()::text")
	z.role = "mallory_" + strings.TrimPrefix(name, "crmctl_test_")
	z.Exec(t, "create role "+z.role+" login", "grant usage, create on schema tenant_acme to "+z.role,
		"grant all on all tables in schema tenant_acme to "+z.role, "create schema evil authorization "+z.role)
	t.Cleanup(func() { z.DropRoles(t, z.role) })
	return z
}

// as runs statements as the role.
func (z *zoo) as(t *testing.T, statements ...string) {
	t.Helper()
	for i, sql := range statements {
		statements[i] = strings.ReplaceAll(sql, "{role}", z.role)
	}
	conn := z.Connect(t)
	for _, sql := range append([]string{"begin", "set local role " + z.role}, append(statements, "commit")...) {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
}

// find returns what is planted in the tenant, an object a line.
func (z *zoo) find(t *testing.T, trusted ...string) []string {
	t.Helper()
	found, err := planted.Find(t.Context(), z.Connect(t), []db.Schema{z.tenant.Schema}, trusted)
	if err != nil {
		t.Fatal(err)
	}
	out := []string{}
	for _, o := range found[z.tenant.Schema.String()] {
		out = append(out, strings.ReplaceAll(o.String(), z.role, "mallory"))
	}
	return out
}

const evilFunction = `create function evil.f() returns int language plpgsql as
	'begin raise exception ''as %'', current_user; end'`

// TestFind plants each kind of code and finds it by name.
func TestFind(t *testing.T) {
	t.Parallel()
	const own = "create table tenant_acme.own (id int primary key, note text)"
	trigger := `create function evil.t() returns trigger language plpgsql as
		'begin raise exception ''as %'', current_user; end'`
	immutable := `create function evil.i(int) returns int immutable language plpgsql as
		'begin raise exception ''as %'', current_user; end'`
	for name, c := range map[string]struct {
		admin []string // before, by a superuser
		plant []string
		after []string // by a superuser
		want  []string
	}{
		"nothing": {},
		"own table": {plant: []string{own, "create index on tenant_acme.own (lower(note)) where id > 1",
			"alter table tenant_acme.own alter note set default now()::text, add check (length(note) > 0)"}},
		"function": {plant: []string{"create function tenant_acme.lower(varchar) returns text language sql as 'select " +
			"1::text'"}, want: []string{"function tenant_acme.lower(character varying) of role mallory"}},
		"aggregate": {plant: []string{"create aggregate tenant_acme.max(text) (sfunc = pg_catalog.textcat, stype = " +
			"text)"}, want: []string{"aggregate tenant_acme.max(text) of role mallory"}},
		"operator": {plant: []string{"create function evil.eq(text, text) returns bool language sql as 'select true'",
			"create operator tenant_acme.= (leftarg = text, rightarg = text, function = evil.eq)"},
			want: []string{"operator tenant_acme.=(text,text) calls evil.eq(text,text) of role mallory"}},
		"trigger": {plant: []string{trigger, "create trigger log before insert on tenant_acme.contacts for each row " +
			"execute function evil.t()"}, want: []string{"trigger log of contacts calls evil.t() of role mallory"}},
		"statement": {plant: []string{trigger, "create trigger log after truncate on tenant_acme.messages execute " +
			"function evil.t()"}, want: []string{"trigger log of messages calls evil.t() of role mallory"}},
		"constraint": {plant: []string{trigger, "create constraint trigger late after insert on tenant_acme.contacts " +
			"deferrable initially deferred for each row execute function evil.t()"},
			want: []string{"trigger late of contacts calls evil.t() of role mallory"}},
		"off": {plant: []string{trigger, "create trigger log before insert on tenant_acme.contacts for each row " +
			"execute function evil.t()"}, after: []string{"alter table tenant_acme.contacts disable trigger log"}},
		"version table": {plant: []string{trigger, "create trigger log before insert on tenant_acme.goose_db_version for " +
			"each row execute function evil.t()"}, want: []string{"trigger log of goose_db_version calls evil.t() of role " +
			"mallory"}},
		"default": {plant: []string{own, evilFunction, "alter table tenant_acme.own alter id set default evil.f()"},
			want: []string{"default id of own calls evil.f() of role mallory"}},
		"default of ours": {plant: []string{evilFunction},
			after: []string{"alter table tenant_acme.contacts add n int default 0",
				"alter table tenant_acme.contacts alter n set default evil.f()"},
			want: []string{"default n of contacts calls evil.f() of role mallory"}},
		"own functions": {plant: []string{own, "alter table tenant_acme.own alter note set default query_to_xml('select " +
			"1', true, true, '')::text"}, want: []string{"default note of own calls query_to_xml(text,boolean,boolean,text) " +
			"of role mallory"}},
		"setting": {plant: []string{own, "alter table tenant_acme.own add check (set_config('role', 'postgres', " +
			"true) is not null)"}, want: []string{"check own_check of own calls set_config(text,text,boolean) of role mallory"}},
		"check": {plant: []string{own, evilFunction,
			"alter table tenant_acme.own add constraint c check (evil.f() = 1)"},
			want: []string{"check c of own calls evil.f() of role mallory"}},
		"generated": {plant: []string{own, immutable,
			"alter table tenant_acme.own add g int generated always as (evil.i(id)) stored"},
			want: []string{"generated column g of own calls evil.i(integer) of role mallory"}},
		"index": {plant: []string{own, immutable, "create index x on tenant_acme.own ((evil.i(id)))"},
			want: []string{"index x of own calls evil.i(integer) of role mallory"}},
		"predicate": {plant: []string{own, immutable, "create index x on tenant_acme.own (id) where evil.i(id) = 1"},
			want: []string{"index x of own calls evil.i(integer) of role mallory"}},
		"statistics": {plant: []string{own, immutable,
			"create statistics tenant_acme.s on (evil.i(id)) from tenant_acme.own"},
			want: []string{"statistics s of own calls evil.i(integer) of role mallory"}},
		"rule": {plant: []string{own, "create rule r as on insert to tenant_acme.own do also select 1"},
			want: []string{"rule r of own of role mallory"}},
		"policy": {plant: []string{own, evilFunction, "create policy p on tenant_acme.own using (evil.f() = id)"},
			want: []string{"policy p of own calls evil.f() of role mallory"}},
		"view": {plant: []string{evilFunction, "create view tenant_acme.v as select evil.f()"},
			want: []string{"view v calls evil.f() of role mallory"}},
		"view of views": {plant: []string{evilFunction, "create view evil.v as select evil.f() as n",
			"create view tenant_acme.v as select n from evil.v"}, want: []string{"view v of role mallory"}},
		"harmless view": {plant: []string{own, "create view tenant_acme.v as select count(*), lower(note) from " +
			"tenant_acme.own group by 2"}},
		"domain": {plant: []string{evilFunction, "create domain evil.d as int check (evil.f() = value)",
			"create table tenant_acme.own (id evil.d)"}, want: []string{"check of type evil.d calls evil.f() of role mallory"}},
		"cast to domain": {plant: []string{own, evilFunction, "create domain evil.d as text check (evil.f() = 1)",
			"alter table tenant_acme.own add check ((note::evil.d) is not null)"},
			want: []string{"check of type evil.d calls evil.f() of role mallory"}},
		"cast within a domain": {plant: []string{evilFunction, "create domain evil.d as text check (evil.f() = 1)",
			"create domain tenant_acme.d as text check ((value::evil.d) is not null)"},
			want: []string{"check of type evil.d calls evil.f() of role mallory"}},
		"row of domains": {plant: []string{own, evilFunction, "create domain evil.d as text check (evil.f() = 1)",
			"create type evil.c as (d evil.d)",
			"create index x on tenant_acme.own ((row(note)::evil.c is null))"},
			want: []string{"check of type evil.d calls evil.f() of role mallory"}},
		"view of domain": {plant: []string{evilFunction, "create domain evil.d as text check (evil.f() = 1)",
			"create view tenant_acme.v as select count(x.a) from jsonb_to_record('{}') x (a evil.d)"},
			want: []string{"check of type evil.d calls evil.f() of role mallory"}},
		"input of a type": {plant: []string{own, "alter table tenant_acme.own add check (record_in('(x)'::cstring, 12345, " +
			"-1) is not null)"},
			want: []string{"check own_check of own calls record_in(cstring,oid,integer) of role mallory"}},
		"trigger's condition": {admin: []string{"grant trigger on tenant_acme.contacts to {role}"}, plant: []string{
			"create trigger log before update on tenant_acme.contacts for each row when (query_to_xml('select 1', true, true, " +
				"'') is not null) execute function suppress_redundant_updates_trigger()"},
			want: []string{"trigger log of contacts calls query_to_xml(text,boolean,boolean,text) of role mallory"}},
		"trigger's domain": {admin: []string{"grant trigger on tenant_acme.contacts to {role}"},
			plant: []string{evilFunction, "create domain evil.d as text check (evil.f() = 1)",
				"create trigger log before update on tenant_acme.contacts for each row when (old.name::evil.d is not null) " +
					"execute function suppress_redundant_updates_trigger()"},
			want: []string{"check of type evil.d calls evil.f() of role mallory"}},
		"our trigger": {admin: []string{"create function public.changed(text) returns boolean language sql as 'select true'",
			"create trigger log before update on tenant_acme.contacts for each row when (public.changed(old.name) and " +
				"pg_trigger_depth() = 0) execute function suppress_redundant_updates_trigger()"}},
		"nested domain": {plant: []string{evilFunction, "create domain evil.d as int check (evil.f() = value)",
			"create type evil.c as (d evil.d[])", "create table tenant_acme.own (id evil.c)"},
			want: []string{"check of type evil.d calls evil.f() of role mallory"}},
		"domain default": {plant: []string{evilFunction, "create domain evil.d as int default evil.f()",
			"create table tenant_acme.own (id evil.d)"}, want: []string{"type evil.d calls evil.f() of role mallory"}},
		"cast": {plant: []string{"create type evil.e as (n int)",
			"create function evil.c(evil.e) returns boolean language sql as 'select true'",
			"create cast (evil.e as boolean) with function evil.c(evil.e) as implicit",
			"create table tenant_acme.own (id evil.e)"},
			want: []string{"cast evil.e as boolean calls evil.c(evil.e) of role mallory"}},
		"enum": {plant: []string{"create type tenant_acme.mood as enum ('fine')",
			"create table tenant_acme.own (m tenant_acme.mood default 'fine')"}},
		"partition": {plant: []string{"create table tenant_acme.own (id int) partition by range (id)",
			"create table evil.p partition of tenant_acme.own default", evilFunction,
			"alter table evil.p add constraint c check (evil.f() = 1)"},
			want: []string{"check c of evil.p calls evil.f() of role mallory"}},
		"referrer": {plant: []string{trigger, "create table evil.r (id uuid references tenant_acme.contacts on delete " +
			"cascade)", "create constraint trigger late after delete on evil.r deferrable initially deferred for each row " +
			"execute function evil.t()"}, want: []string{"trigger late of evil.r calls evil.t() of role mallory"}},
		"referred": {admin: []string{"create table evil.users (id int primary key)", "alter table evil.users owner to {role}",
			"alter table tenant_acme.contacts add owner_id int references evil.users"},
			plant: []string{"create function evil.i(int) returns int immutable language sql as 'select 1'",
				"create index x on evil.users (evil.i(1))"},
			want: []string{"index x of evil.users calls evil.i(integer) of role mallory"}},
		"partition key": {plant: []string{immutable, "create table tenant_acme.own (id int) partition by range (evil.i(id))"},
			want: []string{"partition key of own calls evil.i(integer) of role mallory"}},
		"event trigger": {plant: []string{"create function evil.e() returns event_trigger language plpgsql as 'begin end'"},
			after: []string{"create event trigger {role} on ddl_command_end execute function evil.e()"},
			want:  []string{"event trigger mallory calls evil.e() of role mallory"}},
		"operator class": {plant: []string{"create function evil.cmp(int, int) returns int immutable language sql as " +
			"'select 0'"}, after: []string{
			"create operator class tenant_acme.ops for type int using btree as operator 1 <, operator 2 <=, operator 3 =, " +
				"operator 4 >=, operator 5 >, function 1 evil.cmp(int, int)",
			"create index x on tenant_acme.messages (length(content) tenant_acme.ops)"},
			want: []string{"index x of messages calls evil.cmp(integer,integer) of role mallory"}},
		"extension": {admin: []string{"create extension dblink schema public"},
			plant: []string{own, "alter table tenant_acme.own alter note set default public.dblink_connect('dbname=x')"},
			want:  []string{"default note of own calls public.dblink_connect(text) of role mallory"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			z := newZoo(t)
			for _, sql := range c.admin {
				z.Exec(t, strings.ReplaceAll(sql, "{role}", z.role))
			}
			z.as(t, c.plant...)
			for _, sql := range c.after {
				z.Exec(t, strings.ReplaceAll(sql, "{role}", z.role))
			}
			if c.want == nil {
				c.want = []string{}
			}
			if got := z.find(t); !slices.Equal(got, c.want) {
				t.Errorf("found\n  %s\nwant\n  %s", strings.Join(got, "\n  "), strings.Join(c.want, "\n  "))
			}
			if got := z.find(t, z.role); len(got) > 0 {
				t.Errorf("the role is trusted, and still: %q", got)
			}
		})
	}
}

// TestDatabaseRole: the owner of a database, who can give every session there a role,
// does not choose whom it trusts.
func TestDatabaseRole(t *testing.T) {
	t.Parallel()
	z := newZoo(t)
	z.as(t, "create function tenant_acme.f() returns int language sql as 'select 1'")
	want := []string{"function tenant_acme.f() of role mallory"}
	if got := z.find(t); !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	var name string
	z.Scan(t, []any{&name}, "select current_database()::text")
	z.Exec(t, "alter database "+name+" set role = "+z.role)
	t.Cleanup(func() {
		conn := z.Connect(t)
		for _, sql := range []string{"set role none", "alter database " + name + " reset role"} {
			if _, err := conn.Exec(context.Background(), sql); err != nil {
				t.Error(err)
			}
		}
	})
	if got := z.find(t); !slices.Equal(got, want) {
		t.Errorf("with the role of the database: %q", got)
	}
}

// TestFindTenants: a fleet is looked at at once, and each tenant has its own.
func TestFindTenants(t *testing.T) {
	t.Parallel()
	z := newZoo(t)
	tenants := z.Create(t, fleettest.TenantPlan(t, 0), fleettest.Names(3)...)
	z.Exec(t, "grant create, usage on schema tenant_t0002 to "+z.role)
	z.as(t, "create function tenant_t0002.f() returns int language sql as 'select 1'")
	schemas := []db.Schema{}
	for _, tenant := range tenants {
		schemas = append(schemas, tenant.Schema)
	}
	found, err := planted.Find(t.Context(), z.Connect(t), schemas, nil)
	if err != nil || len(found) != 1 || len(found["tenant_t0002"]) != 1 {
		t.Errorf("%v, %v", found, err)
	}
	err = planted.Refuse(schemas[1], found["tenant_t0002"])
	if want := fmt.Sprintf("schema tenant_t0002 would run others' code as the role of this session: function "+
		"tenant_t0002.f() of role %s", z.role); err == nil || err.Error() != want {
		t.Errorf("%v\nwant %s", err, want)
	}
}
