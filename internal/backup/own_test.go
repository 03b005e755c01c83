package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/tenant"
)

// usual is a schema with what hand-made changes are usually made to.
func usual(t testing.TB) *migrate.Plan {
	return fleettest.Plan(t, fleettest.Files(map[string]string{
		"00001_a.sql": `create table countries (code text primary key);
create table people (id bigserial primary key, name text not null, country text references countries,
	age int check (age >= 0));
create table ev (id int, at date not null, what text) partition by range (at);
create table ev_2024 partition of ev for values from ('2024-01-01') to ('2025-01-01');
create table ev_rest partition of ev default;
create view adults as select id, name from people where age >= 18;
create materialized view per_country as select country, count(*) as n from people group by country;`,
		"00002_b.sql": `create table log (id bigserial primary key, what text);
-- +goose StatementBegin
create function note() returns trigger language plpgsql as $$ begin insert into log (what)
	values (new.name); new.name := upper(new.name); return new; end $$;
-- +goose StatementEnd
create trigger note before insert on people for each row execute function note();
insert into countries values ('de'), ('fr');`,
	}))
}

var usualRows = []string{
	"insert into people (name, country, age) values ('ada', 'de', 36), ('bob', null, 3)",
	"insert into ev values (1, '2024-05-01', 'a'), (2, '2031-01-01', 'b')",
	`do $$ begin if pg_catalog.to_regclass('per_country') is not null then execute 'refresh materialized view per_country'; end if; end $$`,
}

func structuresOf(f *fleettest.Fleet, plan *migrate.Plan) *Structures {
	return &Structures{Connect: f.Dial, NewTenant: restores(plan)}
}

// by runs statements in a schema.
func by(t testing.TB, conn *pgx.Conn, schema db.Schema, statements ...string) {
	t.Helper()
	err := db.InTx(t.Context(), conn, db.Locals{Schema: schema}, func(ctx context.Context, q db.Querier) error {
		for _, sql := range statements {
			if _, err := q.Exec(ctx, sql); err != nil {
				return fmt.Errorf("%.70s: %w", sql, err)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// stands returns what stands in a schema: its shape, and the rows of every table.
func stands(t testing.TB, conn *pgx.Conn, schema db.Schema) string {
	t.Helper()
	shape, err := catalog.Read(t.Context(), conn, catalog.Target{Schema: schema}, catalog.Options{Ignore: rights()})
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, o := range shape.Objects {
		fmt.Fprintln(&out, o.Kind, o.Parent, o.Name, o.Definition)
	}
	names, err := db.Select(t.Context(), conn, pgx.RowTo[string],
		`select c.relname::text from pg_class c where c.relnamespace = (select oid from pg_namespace where nspname = $1)
		and c.relkind in ('r', 'm') and c.relispopulated order by 1`, schema.String())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		var rows string
		err := conn.QueryRow(t.Context(), "select coalesce(pg_catalog.string_agg(r::text, '|' order by r::text collate "+
			"\"C\"), '') from only "+qualified(schema, name)+" r").Scan(&rows)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&out, name, rows)
	}
	// What no shape has.
	more, err := db.Select(t.Context(), conn, pgx.RowTo[string],
		`select pg_catalog.format('schema: %s', pg_catalog.obj_description(n.oid, 'pg_namespace'))
			from pg_catalog.pg_namespace n where n.nspname = $1
		union all select pg_catalog.format('%s.%s inherited: %s', c.relname, a.attname, not a.attislocal)
			from pg_catalog.pg_class c join pg_catalog.pg_attribute a on a.attrelid = c.oid
			where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1) and a.attinhcount > 0
				and not c.relispartition and not a.attisdropped
		order by 1`, schema.String())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintln(&out, strings.Join(more, "\n"))
	return out.String()
}

// handmade are changes that no migration made, and what a purge and a restore do.
var handmade = []struct {
	name    string
	change  []string
	refused string // by the purge, which then destroys nothing
	left    string // what the manifest says is not in the file
	same    bool   // the structure comes from the migrations all the same
}{
	{name: "nothing", same: true},
	{name: "a partition", change: []string{"create table ev_2026 partition of ev for values from ('2026-01-01') to " +
		"('2027-01-01')", "insert into ev values (3, '2026-06-01', 'c')"}},
	{name: "a partition of partitions", change: []string{
		"create table ev_2027 partition of ev for values from ('2027-01-01') to ('2028-01-01') partition by list (what)",
		"create table ev_2027_x partition of ev_2027 for values in ('x', null)",
		"insert into ev values (4, '2027-06-01', 'x'), (5, '2027-07-01', null)",
	}},
	{name: "a partition that was a table", change: []string{
		"create table old (what text default 'none', at date not null, id int)",
		"insert into old values ('o', '2020-02-02', 9)",
		"alter table ev attach partition old for values from ('2020-01-01') to ('2021-01-01')",
	}},
	{name: "a default of a partition", change: []string{"alter table ev_2024 alter column what set default 'x'"}},
	{name: "a partition detached", change: []string{"alter table ev detach partition ev_2024"}},
	{name: "a partition dropped", change: []string{"drop table ev_2024"}},
	{name: "the default partition dropped", change: []string{"drop table ev_rest"}},
	{name: "a column", change: []string{"alter table people add column note text default 'x'",
		"update people set note = 'é' where id = 1"}},
	{name: "a column less", change: []string{"alter table people drop column country cascade"}},
	{name: "a column of another type", change: []string{"drop view adults",
		"alter table people alter column age type numeric(5, 1) using age + 0.5"}},
	{name: "a table", change: []string{`create table "Odd ""name" (id int generated always as identity, "a b" int[],
		doubled int generated always as (1 + 1) stored)`, `insert into "Odd ""name" ("a b") values ('{1,2}')`}},
	{name: "a table less", change: []string{"drop table log cascade", "drop function note cascade"}},
	{name: "a table without columns", change: []string{"create table nothing ()", "insert into nothing default values",
		"insert into nothing default values"}},
	{name: "an unlogged table", change: []string{"create unlogged table quick (id int)", "insert into quick values (7)"}},
	{name: "a child", change: []string{"create table staff (boss bigint) inherits (people)",
		"insert into staff (name, boss) values ('eve', 1)"}},
	{name: "a child with a column of its parent's",
		change: []string{"create table staff (name text, boss bigint) inherits (people)"}},
	{name: "a child that was a table", change: []string{"create table staff (boss bigint, like people including all)",
		"alter table staff inherit people"}},
	{name: "a child with a default of its own", change: []string{"create table staff (boss bigint) inherits (people)",
		"alter table staff alter column name set default 'x'"}},
	{name: "a comment on the schema", same: true,
		change: []string{"do $$ begin execute pg_catalog.format('comment on schema %I is %L', pg_catalog.current_schema(), " +
			"'it''s \\ Acme'); end $$"}},
	{name: "an enum and a domain", change: []string{"create type mood as enum ('good', 'bad')",
		"create domain short as text check (length(value) < 9)",
		"create table moods (m mood, s short)", "insert into moods values ('bad', 'x')"}},
	{name: "a sequence", change: []string{"create sequence numbers start 5 increment 3", "select nextval('numbers')"}},
	{name: "indexes", change: []string{"create index on people (lower(name))",
		"create unique index on people (name) where age > 99", "create index on ev (what)"}},
	{name: "a check and a default", change: []string{"alter table people add check (length(name) < 100)",
		"alter table log alter column what set default now()::text"}},
	{name: "a key", change: []string{"alter table log add column person bigint references people on delete cascade",
		"insert into log (person) values (1)"}},
	{name: "a view", change: []string{"create view names as select name from people order by name"}},
	{name: "a view that is not filled", change: []string{"create materialized view later as select id from people with " +
		"no data"}},
	{name: "a policy", change: []string{"alter table log enable row level security",
		"create policy own on log using (what = current_setting('app.who', true))"}},
	{name: "statistics and comments", change: []string{"create statistics pair on id, what from log",
		"comment on table log is 'by hand'", "alter table log alter column what set statistics 500"}},
	{name: "a cluster and options", change: []string{"alter table log set (fillfactor = 70)", "cluster log using log_pkey",
		"alter table log replica identity full"}},
	{name: "a switched off trigger", change: []string{"alter table people disable trigger note"}},
	{name: "a grant", change: []string{"grant select on people to public"},
		left: "grant on table people to public", same: true},
	{name: "a function", change: []string{"create function f() returns int language sql as 'select 1'"},
		refused: "function f()"},
	{name: "a trigger", change: []string{"create trigger again before update on people for each row execute function " +
		"note()"}, refused: "trigger again"},
	{name: "a rule", change: []string{"create rule quiet as on delete to log do instead nothing"}, refused: "rule quiet"},
	{name: "a default that reads a file", change: []string{"alter table log alter column what set default " +
		"pg_catalog.pg_read_file('/etc/passwd')"}, refused: "pg_read_file"},
	{name: "a view of others", change: []string{"create view others as select slug from public.tenants"},
		refused: "reads public.tenants"},
	{name: "a view of passwords", change: []string{"create view others as select rolpassword from pg_catalog.pg_authid"},
		refused: "reads pg_authid"},
	{name: "an index by a function", change: []string{"create index on people (note2(name))"}, refused: "note2"},
	{name: "a large object", change: []string{"create table d (id int, body oid)",
		"insert into d values (1, lo_from_bytea(0, 'x'))"}, refused: "large object"},
	{name: "large objects in a list", change: []string{"create table d (id int, body oid[])",
		"insert into d values (1, array[lo_from_bytea(0, 'x')])"}, refused: "large object"},
	{name: "oids that are none", change: []string{"create table d (id int, body oid)", "insert into d values (1, 4711)"}},
	{name: "a range type", change: []string{"create type span as range (subtype = int)"}, refused: "type span"},
	{name: "an operator", change: []string{"create operator === (leftarg = int, rightarg = int, function = " +
		"pg_catalog.int4eq)"}, refused: "operator"},
}

// TestWayBack: a backup that is proven restores the tenant as it is, whatever was done
// to it by hand, or is refused by name.
func TestWayBack(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	wayBack(t, f, f.Dial)
}

// The same for a role that is no superuser, but may make roles.
func TestWayBackWithoutSuperuser(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	role := "wayback_" + strings.ToLower(f.DSN[len(f.DSN)-8:])
	role = strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '_' {
			return r
		}
		return 'x'
	}, role)
	f.Exec(t, "create role "+role+" login createrole", "grant all on database "+
		pgx.Identifier{database(t, f)}.Sanitize()+" to "+role,
		"grant all on all tables in schema public to "+role, "grant all on all sequences in schema public to "+role)
	t.Cleanup(func() { f.DropRoles(t, role) })
	wayBack(t, f, func(ctx context.Context) (*pgx.Conn, error) {
		cfg, err := db.ParseConfig(f.DSN)
		if err != nil {
			return nil, err
		}
		cfg.User = role
		return db.Connect(ctx, cfg)
	})
}

func database(t testing.TB, f *fleettest.Fleet) string {
	t.Helper()
	var name string
	f.Scan(t, []any{&name}, "select current_database()::text")
	return name
}

func wayBack(t *testing.T, f *fleettest.Fleet, dial func(context.Context) (*pgx.Conn, error)) {
	plan := usual(t)
	st := &Structures{Connect: dial, NewTenant: restores(plan)}
	connect := func() *pgx.Conn {
		conn, err := dial(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close(context.Background()) })
		return conn
	}
	conn := connect()
	var super bool
	if err := conn.QueryRow(t.Context(), "select rolsuper from pg_catalog.pg_roles where rolname = "+
		"current_user").Scan(&super); err != nil {
		t.Fatal(err)
	}
	script, err := plan.Build()
	if err != nil {
		t.Fatal(err)
	}
	for i, c := range handmade {
		if !super && strings.Contains(strings.Join(c.change, " "), "pg_authid") || !super &&
			strings.Contains(c.name, "reads a file") {
			continue
		}
		made, err := tenant.Create(t.Context(), conn, tenant.Spec{Slug: fmt.Sprintf("t%d", i)}, tenant.CreateOptions{
			Template: tenant.Template{Script: script, Version: plan.Head()}, Actor: "test",
		})
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(c.name, "by a function") {
			by(t, conn, made.Schema, "create function note2(text) returns text immutable language sql as 'select $1'")
		}
		by(t, conn, made.Schema, append(slices.Clone(usualRows[:1]), append(slices.Clone(c.change), usualRows[2])...)...)
		if !strings.Contains(c.name, "default partition") {
			by(t, conn, made.Schema, usualRows[1])
		}
		t.Run(c.name, func(t *testing.T) {
			before := stands(t, conn, made.Schema)
			var file bytes.Buffer
			m, err := Write(t.Context(), connect(), Source{ID: made.ID, Slug: made.Slug, Schema: made.Schema}, &file,
				WriteOptions{Structures: st, Prove: true})
			if c.refused != "" {
				if !errors.Is(err, ErrNotRestorable) || !strings.Contains(err.Error(), c.refused) {
					t.Errorf("error %v, want %q", err, c.refused)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if (m.Structure.From == FromMigrations) != c.same {
				t.Errorf("the structure comes from %s: %v", m.Structure.From, m.Structure.Differs)
			}
			if !c.same && len(m.Structure.Differs) == 0 {
				t.Error("it is not said in what it differs")
			}
			if c.left != "" && !strings.Contains(strings.Join(m.LeftOut, "; "), c.left) {
				t.Errorf("left out: %v", m.LeftOut)
			}
			by(t, conn, db.Public, "drop schema "+made.Schema.Quoted()+" cascade", "delete from public.tenants where slug = '"+
				made.Slug+"'")
			if _, err := Restore(t.Context(), connect(), bytes.NewReader(file.Bytes()),
				RestoreOptions{NewTenant: restores(plan)}); err != nil {
				t.Fatal(err)
			}
			if after := stands(t, conn, made.Schema); after != before {
				t.Errorf("it comes back as another:\n%s\nit was\n%s", after, before)
			}
			if n := f.Int(t, `select count(*) from pg_catalog.pg_class c where c.relnamespace = $1::pg_catalog.regnamespace
				and c.relowner <> (select n.nspowner from pg_catalog.pg_namespace n where n.oid = c.relnamespace)`,
				made.Schema.String()); n != 0 {
				t.Errorf("%d relations belong to somebody else than the schema", n)
			}
		})
	}
	if n := f.Int(t, "select count(*) from pg_catalog.pg_roles where rolname ~ '^crmctl_restore'"); n != 0 {
		t.Errorf("%d roles stayed", n)
	}
}

// TestRowsGoThroughTheParent: where the migrations do not make the partition that the
// rows lay in, or make it for other rows, these find their place from the top.
func TestRowsGoThroughTheParent(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := usual(t)
	for name, change := range map[string][]string{
		"one that is not there": {"create table ev_2026 partition of ev (at, what, id) for values from ('2026-01-01') to " +
			"('2027-01-01')"},
		"one of another order": {"create table ev_2026 (what text, at date not null, id int)",
			"alter table ev attach partition ev_2026 for values from ('2026-01-01') to ('2027-01-01')"},
		"one more in the migrations": {"alter table ev detach partition ev_2024", "drop table ev_2024"},
		"one with other bounds": {"alter table ev detach partition ev_2024",
			"alter table ev attach partition ev_2024 for values from ('2024-01-01') to ('2028-01-01')"},
		"one that went": {"drop table ev_2024"},
	} {
		t.Run(name, func(t *testing.T) {
			slug := strings.ReplaceAll(name, " ", "-")
			made := f.Create(t, plan, slug)[0]
			conn := f.Connect(t)
			by(t, conn, made.Schema, change...)
			by(t, conn, made.Schema, "insert into ev values (1, '2024-05-01', 'a'), (2, '2026-06-01', E'b\\tc'), (3, "+
				"'2031-01-01', null)")
			// A file that says nothing of its structure.
			var file bytes.Buffer
			if _, err := Write(t.Context(), f.Connect(t), Source{ID: made.ID, Slug: slug, Schema: made.Schema}, &file,
				WriteOptions{}); err != nil {
				t.Fatal(err)
			}
			rows := func() (text string) {
				f.Scan(t, []any{&text}, "select pg_catalog.string_agg(e::text, '|' order by id) from "+made.Schema.Quoted()+".ev e")
				return text
			}
			before := rows()
			if _, err := Try(t.Context(), f.Connect(t), bytes.NewReader(file.Bytes()), restores(plan)); err != nil {
				t.Error(err)
			}
			by(t, conn, db.Public, "drop schema "+made.Schema.Quoted()+" cascade",
				"delete from public.tenants where slug = '"+slug+"'")
			if _, err := Restore(t.Context(), f.Connect(t), bytes.NewReader(file.Bytes()),
				RestoreOptions{NewTenant: restores(plan)}); err != nil {
				t.Fatal(err)
			}
			if after := rows(); after != before {
				t.Errorf("%s, it was %s", after, before)
			}
		})
	}
}

// TestTrustedCode: a function made by hand comes back where the file is trusted, and
// while its rows are written it runs as the role of the moment.
func TestTrustedCode(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := usual(t)
	made := f.Create(t, plan, "acme")[0]
	conn := f.Connect(t)
	by(t, conn, made.Schema, append(usualRows,
		"create function fine(text) returns boolean language plpgsql as $$ begin return current_user like "+
			"'crmctl_restore%' or pg_catalog.current_setting('test.own', true) = 'yes'; end $$",
		"set local test.own = 'yes'", "alter table countries add constraint good check (fine(code))")...)
	before := stands(t, conn, made.Schema)
	var file bytes.Buffer
	m, err := Write(t.Context(), f.Connect(t), Source{ID: made.ID, Slug: "acme", Schema: made.Schema}, &file,
		WriteOptions{Structures: structuresOf(f, plan)})
	if err != nil {
		t.Fatal(err)
	}
	if code := strings.Join(m.Structure.Code, "; "); !strings.Contains(code, "function fine(text)") ||
		!strings.Contains(code, "constraint good on countries") {
		t.Errorf("code: %s", code)
	}
	by(t, conn, db.Public, "drop schema tenant_acme cascade", "delete from public.tenants")
	n := restores(plan)
	if _, err := Restore(t.Context(), f.Connect(t), bytes.NewReader(file.Bytes()),
		RestoreOptions{NewTenant: n}); !errors.Is(err, ErrCode) {
		t.Errorf("without trust: %v", err)
	}
	n.TrustCode = true
	if _, err := Restore(t.Context(), f.Connect(t), bytes.NewReader(file.Bytes()),
		RestoreOptions{NewTenant: n}); err != nil {
		t.Fatal(err)
	}
	if after := stands(t, conn, made.Schema); after != before {
		t.Errorf("it comes back as another:\n%s\nit was\n%s", after, before)
	}
}
