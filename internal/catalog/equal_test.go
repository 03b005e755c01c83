package catalog_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// hidden has definitions that the server prints with the schema, since something hides
// the name without it: a common table expression of the same name, or a function that
// came later and whose arguments are nearer.
var hidden = []string{
	`create table orders (id integer primary key, open boolean not null, of text)`,
	`create function near(x anyelement) returns boolean language sql immutable as 'select $1 is null'`,
	`create view open_orders as with orders as (select * from orders where open) select id, 'orders. "orders.' as text
		from orders`,
	`create materialized view twice as with orders as (select id from orders) select a.id from orders a
		join orders b using (id)`,
	`create rule gone as on delete to open_orders do instead (delete from orders where id = old.id;
		insert into orders with orders as (select * from orders) select id + 1, open, of from orders)`,
	`create policy seen on orders using (exists (with orders as (select * from orders) select from orders o where o.open))
		with check (id in (with orders as (select * from orders) select id from orders))`,
	`create function busy() returns bigint language sql begin atomic with orders as (select * from orders) select count(*)
		from orders; end`,
	`create function touch() returns trigger language plpgsql as 'begin return new; end'`,
	`create trigger told before update on orders for each row when (near(new.id)) execute function touch()`,
	`alter table orders add near boolean default near(1), add always boolean generated always as (near(id)) stored`,
	`alter table orders add constraint near_check check (near(id))`,
	`create index orders_near on orders (near(id)) where near(id)`,
	`create domain whole as integer default near(1)::integer check (near(value))`,
	`create table parts (n integer) partition by list ((near(n)))`,
	`create function near(x integer) returns boolean language sql immutable as 'select false'`,
}

// forms has the list of a varchar's IN in the two trees that it comes in: the second is
// what the first has become once it was printed and read, by pg_dump say.
var forms = [2][]string{{
	`create table t (status varchar(20) check (status in ('new', 'it''s', E'a\\b', 'done')), k varchar)`,
	`create index t_open on t (k) where status not in ('new', 'done')`,
	`create view v as select k from t where status in ('new', 'done')`,
	`alter table t add also boolean generated always as (k in ('a', 'b')) stored`,
	`create policy p on t using (status in ('new', 'done'))`,
	`create rule r as on update to t where new.k in ('a', 'b') do also update t set k = 'c'`,
}, {
	`create table t (status varchar(20) check (status::text = any (array['new'::varchar::text, 'it''s'::varchar::text,
		E'a\\b'::varchar::text, 'done'::varchar::text])), k varchar)`,
	`create index t_open on t (k) where status::text <> all (array['new'::varchar::text, 'done'::varchar::text])`,
	`create view v as select k from t where status::text = any (array['new'::varchar::text, 'done'::varchar::text])`,
	`alter table t add also boolean generated always as (k::text = any (array['a'::varchar::text,
		'b'::varchar::text])) stored`,
	`create policy p on t using (status::text = any (array['new'::varchar::text, 'done'::varchar::text]))`,
	`create rule r as on update to t where new.k::text = any (array['a'::varchar::text,
		'b'::varchar::text]) do also update t set k = 'c'`,
}}

// inSchema makes a schema of statements and returns its shape.
func inSchema(t *testing.T, conn *pgx.Conn, name string, statements ...string) *catalog.Shape {
	t.Helper()
	schema, err := db.RegisteredSchema(name)
	if err != nil {
		t.Fatal(err)
	}
	for _, sql := range append([]string{"create schema " + schema.Quoted(), "set search_path to " + schema.Quoted() +
		", pg_temp"}, statements...) {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	shape, err := catalog.Read(t.Context(), conn, catalog.Target{Schema: schema}, catalog.Options{})
	if err != nil {
		t.Fatal(err)
	}
	readings, err := catalog.Fingerprints(t.Context(), conn, []catalog.Target{{Schema: schema}}, catalog.Options{})
	if err != nil || readings[0].Fingerprint != shape.Fingerprint() {
		t.Errorf("%s: the server's fingerprint is %v, %v, want %v", name, readings, err, shape.Fingerprint())
	}
	return shape
}

func inSchemaOf(t *testing.T, conn *pgx.Conn, name string, script []db.Statement) *catalog.Shape {
	t.Helper()
	var statements []string
	for _, s := range script {
		statements = append(statements, s.SQL)
	}
	return inSchema(t, conn, name, statements...)
}

func same(t *testing.T, what string, want, got *catalog.Shape) {
	t.Helper()
	for _, d := range catalog.Diff(want, got) {
		t.Errorf("%s: %s %s\n want %s\n  got %s", what, d.Change, d.Subject(), d.Want, d.Got)
	}
	if want.Fingerprint() != got.Fingerprint() {
		t.Errorf("%s: another fingerprint", what)
	}
}

// TestEqualSchemasAreEqual makes the same in schemas of all sorts of names, and once more
// from the DDL that was read.
func TestEqualSchemasAreEqual(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	want := inSchema(t, conn, "tenant_a", hidden...)
	named := 0
	for _, o := range want.Objects {
		if strings.Contains(o.Definition, "tenant_a") {
			t.Errorf("%s names its schema: %s", o.Subject(), o.Definition)
		}
		if strings.Contains(o.Definition, "{own schema}") {
			named++
		}
	}
	if named != 12 {
		t.Errorf("%d definitions needed their schema, want 12", named)
	}
	for _, name := range []string{"c", "new_tenant", "Odd Tenant", `o'ha"ra`, "t$1", "日本"} {
		same(t, name, want, inSchema(t, conn, name, hidden...))
	}
	// A statement cannot choose the function whose arguments are further.
	want = inSchema(t, conn, "tenant_e", hidden[:len(hidden)-1]...)
	ddl, err := want.DDL()
	if err != nil {
		t.Fatal(err)
	}
	same(t, "by its DDL", want, inSchemaOf(t, conn, "tenant_f", ddl))
}

// TestNamesThatAreNoSchema has a schema called like a table, an alias and a function's
// argument of its own: their names are left alone.
func TestNamesThatAreNoSchema(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	history := []string{
		`create table t (id integer, n integer)`,
		`create view v as select alias.id from t alias join t other on alias.n = other.n`,
		`create table called (id integer)`,
		`create policy p on called using (exists (select from t where t.id = called.id))`,
		`create function touch() returns trigger language plpgsql as 'begin return new; end'`,
		`create trigger told before update on t for each row when (new.id <> old.id) execute function touch()`,
	}
	want := inSchema(t, conn, "tenant_a", history...)
	for _, name := range []string{"alias", "called", "new", "old", "t", "id"} {
		same(t, name, want, inSchema(t, conn, name, history...))
	}
}

// TestListsOfAVarchar compares both forms of such a list, and makes each from DDL as it is.
func TestListsOfAVarchar(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	text := func(schema string) string {
		return query(t, conn, `select pg_get_constraintdef(oid) from pg_constraint where conname = 't_status_check'
			and connamespace = $1::text::regnamespace`, schema)
	}
	want := inSchema(t, conn, "tenant_a", forms[0]...)
	dumped := inSchema(t, conn, "tenant_b", forms[1]...)
	if text("tenant_a") == text("tenant_b") {
		t.Fatal("the server prints both alike")
	}
	same(t, "after pg_dump", want, dumped)
	other := slices.Clone(forms[0])
	other[0] = strings.Replace(other[0], "'done'", "'gone'", 1)
	if d := catalog.Diff(want, inSchema(t, conn, "tenant_c", other...)); len(d) != 1 ||
		d[0].Subject() != "constraint t_status_check on t" {
		t.Errorf("another list: %v", d)
	}
	for name, shape := range map[string]*catalog.Shape{"tenant_a": want, "tenant_b": dumped} {
		ddl, err := shape.DDL()
		if err != nil {
			t.Fatal(err)
		}
		same(t, name, want, inSchemaOf(t, conn, name+"_again", ddl))
		if a, b := text(name), text(name+"_again"); a != b {
			t.Errorf("%s: %s\nfrom its DDL: %s", name, a, b)
		}
	}
}

// query returns one text.
func query(t *testing.T, conn *pgx.Conn, sql string, args ...any) (text string) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), sql, args...).Scan(&text); err != nil {
		t.Fatal(err)
	}
	return text
}
