package catalog_test

import (
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
)

// versionTable is what stands in a schema beside the shape's own.
var versionTable = []db.Statement{{SQL: "create table goose_db_version (id bigint, version_id bigint, is_applied " +
	"boolean, tstamp timestamp)"}}

// built returns the shape of a script.
func built(t *testing.T, conn *pgx.Conn, steps []db.Statement) *catalog.Shape {
	t.Helper()
	shape, err := catalog.Build(t.Context(), conn, steps, catalog.Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, sqlOf(steps))
	}
	return shape
}

func sqlOf(steps []db.Statement) string {
	var out []string
	for _, s := range steps {
		out = append(out, s.SQL)
	}
	return strings.Join(out, ";\n")
}

// more are things that rich lacks: names that need quotes, order that matters,
// rights of all kinds.
const more = `
create table "Odd ""Table""" ("Id" integer generated always as identity (start with -5 increment by -1),
	"select" text default 'it''s \ here',
    constraint "Odd key" primary key ("Id") with (fillfactor = 80));
create index "Odd index" on "Odd ""Table""" ("select" desc nulls last) include ("Id") with (fillfactor = 50);
comment on column "Odd ""Table"""."select" is E'line\nbreak \\ and ''quote''';
alter table "Odd ""Table""" cluster on "Odd key";
create type zebra as (stripes integer, feeling mood);
create domain a_list as text[] check (array_length(value, 1) < 10);
-- +goose StatementBegin
create function of_row(z_last text) returns integer language sql immutable as 'select length(z_last)';
-- +goose StatementEnd
create table a_first (n integer generated always as (of_row('x')) stored, l a_list, z zebra, k integer);
create function all_of() returns setof a_first language sql stable begin atomic select * from a_first; end;
create view a_view as select * from all_of();
create view b_view as select count(*) as n from a_view;
alter view b_view alter column n set default 3;
create table z_parent (k integer not null, v text, constraint z_key unique (k)) partition by list (k);
create table a_part partition of z_parent for values in (1, 2) partition by list (k);
create table a_own partition of z_parent for values in (9);
alter table a_own alter column v set default 'its own';
create table a_leaf partition of a_part for values in (1) with (fillfactor = 60);
create table z_default partition of z_parent default;
create index z_v on z_parent (v);
alter table a_first add constraint a_check check (n > 0) not valid;
alter table a_first add constraint a_k foreign key (k) references z_parent (k) on delete cascade;
create unique index z_unique on a_first (n) where n is not null;
alter table a_first alter column n set not null;
alter table a_first add constraint n_full unique (n) deferrable initially deferred;
create unique index z_plain on a_first (n);
create table refers (n integer references a_first (n));
alter table a_first replica identity full;
create trigger always after delete on a_first for each statement execute function touch();
alter table a_first enable always trigger always;
create policy strict on a_first as restrictive for update to current_user, public using (n > 1) with check (n > 2);
grant select, insert on a_first to pg_monitor with grant option;
grant usage on sequence tickets to public;
grant execute on procedure forget(bigint) to public;
revoke all on type mood from public;
-- +goose StatementBegin
do $do$ begin
	execute format($f$ create function self() returns bigint language sql set search_path = %1$I,
		pg_temp as $b$select count(*) from %1$I.people$b$ $f$, current_schema());
	execute format('grant usage on schema %I to public', current_schema());
	execute format('alter default privileges in schema %I grant select on tables to public', current_schema());
end $do$;
-- +goose StatementEnd
`

// reproducible is rich without what no DDL can make.
func reproducible(t *testing.T) *migrate.Plan {
	var kept []string
	for line := range strings.SplitSeq(rich, "\n") {
		if !strings.HasPrefix(line, "create aggregate") {
			kept = append(kept, line)
		}
	}
	text := strings.Join(kept, "\n") + more
	return fleettest.Plan(t, fleettest.Files(map[string]string{"00001_rich.sql": text}))
}

// TestDDLMakesTheShape builds a schema from migrations, reads it, and builds
// another from what was read.
func TestDDLMakesTheShape(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	for name, plan := range map[string]*migrate.Plan{"crm": fleettest.TenantPlan(t, 0), "rich": reproducible(t)} {
		steps, err := script(plan)(plan.Head())
		if err != nil {
			t.Fatal(err)
		}
		want := built(t, conn, steps)
		ddl, err := want.DDL()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		got := built(t, conn, slices.Concat(ddl, versionTable))
		for _, d := range catalog.Diff(want, got) {
			t.Errorf("%s: %s %s\n want %s\n  got %s", name, d.Change, d.Subject(), d.Want, d.Got)
		}
		if got.Fingerprint() != want.Fingerprint() {
			t.Errorf("%s: another shape", name)
		}
		if t.Failed() {
			t.Log(sqlOf(ddl))
		}
		again, err := got.DDL()
		if err != nil || sqlOf(again) != sqlOf(ddl) {
			t.Errorf("%s: the shape of the script has another script, %v", name, err)
		}
	}
}

// TestServerNotesAreNobodys writes what the minor releases of November 2026 write
// beside the options of a column. On them it stands there already.
func TestServerNotesAreNobodys(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	const script = "create table %s.t (a integer, b text); alter table %[1]s.t alter column b set (n_distinct = 5)"
	for i, schema := range []string{"tenant_a", "tenant_b"} {
		f.Exec(t, "create schema "+schema)
		f.Exec(t, fmt.Sprintf(script, schema))
		f.Exec(t, fmt.Sprintf(`update pg_attribute set attoptions = array['pg_attver=%d'] || array(
				select o from unnest(attoptions) o where o not like 'pg\_attver=%%')
			where attrelid = '%s.t'::regclass and attnum > 0`, 1000+i, schema))
	}
	var shapes []*catalog.Shape
	for _, name := range []string{"tenant_a", "tenant_b"} {
		schema, err := db.RegisteredSchema(name)
		if err != nil {
			t.Fatal(err)
		}
		var shape *catalog.Shape
		err = db.InTx(t.Context(), conn, db.Locals{}, func(ctx context.Context, q db.Querier) (err error) {
			shape, err = catalog.Read(ctx, q, catalog.Target{Schema: schema}, catalog.Options{})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		shapes = append(shapes, shape)
	}
	if a, b := shapes[0].Fingerprint(), shapes[1].Fingerprint(); a != b {
		t.Errorf("fingerprints %s and %s", a, b)
	}
	before, after, err := shapes[0].Halves()
	if err != nil {
		t.Fatal(err)
	}
	sql := sqlOf(slices.Concat(before, after))
	if strings.Contains(sql, "pg_attver") || !strings.Contains(sql, "n_distinct=5") {
		t.Errorf("statements\n%s", sql)
	}
}

// TestDDLNamesWhatItCannotMake has one of everything that it refuses.
func TestDDLNamesWhatItCannotMake(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	for sql, want := range map[string]string{
		"create aggregate total(integer) (sfunc = int4pl, stype = integer)": "aggregate total(integer)",
		"create type span as range (subtype = date)":                        "type span",
		"create collation german (locale = 'C')":                            "collation german",
		"create table x (n int); alter table x owner to pg_monitor":         "owner of table x",
		"create table x (n int, constraint u unique (n)); alter table x add foreign key (n) references x (n); alter table " +
			"x disable trigger all": "constraint triggers x_n_fkey on x",
	} {
		var steps []db.Statement
		for s := range strings.SplitSeq(sql, ";") {
			steps = append(steps, db.Statement{SQL: s})
		}
		_, err := built(t, conn, steps).DDL()
		var refused *catalog.IrreproducibleError
		if !errors.As(err, &refused) || len(refused.Objects) != 1 || refused.Objects[0].Subject() != want {
			t.Errorf("%s: %v, want %s", sql, err, want)
		}
	}
}
