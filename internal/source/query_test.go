package source_test

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/source"
)

func differs(t *testing.T, conn *pgx.Conn, query string) (bool, error) {
	t.Helper()
	q, err := source.Parse(query)
	if err != nil {
		return false, err
	}
	d, err := q.Differs(t.Context(), conn, registry.Default(),
		source.Limits{Lock: time.Second, Statement: 2 * time.Second})
	return d.Any, err
}

// What cannot be used is refused in plain words, and changes nothing.
func TestQueries(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Exec(t, "create schema app", "create type app.state as enum ('active', 'suspended')",
		"create domain app.label as text",
		"create table app.t (id int, slug text, schema varchar(63), name app.label, state app.state, up boolean)",
		"insert into app.t values (1, 'a', 'sa', 'A', 'active', true)",
		"create function app.writes() returns text language plpgsql as $$ begin insert into app.t default values; return "+
			"'x'; end $$",
		"create function app.opens() returns text language plpgsql as $$ begin set transaction read write; return 'x'; end $$",
		"create table app.hidden (slug text, schema text)", "alter table app.hidden enable row level security")
	conn := f.Connect(t)
	for query, want := range map[string]string{
		"select slug, schema from app.t":                                      "",
		"select slug, schema from app.t; -- the tenants":                      "",
		"select slug, schema from app.t -- the tenants":                       "",
		"with x as (select * from app.t) select slug, schema from x":          "",
		"values ('a', 'b')":                                                   `returns a column "column1"`,
		"select schema, slug, state as status, name from app.t":               "",
		"select slug, schema as schema_name, name as display_name from app.t": "",
		"select slug, schema, up as status from app.t":                        "",
		"":                   "has 0 commands",
		"select 1; select 2": "has 2 commands",
		"select slug, schema from app.t limit $1":                          "has parameters",
		"select slug from app.t":                                           "returns no column schema",
		"select slug, slug, schema from app.t":                             "returns slug twice",
		"select slug, schema, schema as schema_name from app.t":            "returns schema twice",
		"select slug, schema, id from app.t":                               `returns a column "id"`,
		"select id as slug, schema from app.t":                             "returns slug as integer, want text",
		"select slug, schema, id as status from app.t":                     "returns status as integer, want text",
		"select slug, array[schema] as schema from app.t":                  "returns schema as character varying[], want text",
		"select slug, schema, up as display_name from app.t":               "returns display_name as boolean, want text",
		"select slug, schema from t":                                       "every name needs its schema",
		"select slug, schema from app.t where":                             "syntax error",
		"select slug, schema from app.t for update":                        "may only read",
		"select slug, schema from app.t for share":                         "may only read",
		"select app.writes() as slug, schema from app.t":                   "may only read",
		"select app.opens() as slug, schema from app.t":                    "read-write mode",
		"select slug, schema from app.t, pg_sleep(10)":                     "took longer than 2s",
		"select slug, schema from app.t, pg_advisory_lock(1)":              "changes the session, or takes a lock",
		"select set_config('role', 'x', false) as slug, schema from app.t": "changes the session, or takes a lock",
		"insert into app.t default values returning slug, schema":          "is no select",
		"truncate app.t": "is no select",
		"with x as (insert into app.t default values returning *) select slug, schema from x": "data-modifying",
		"select slug, schema into app.made from app.t":                                        "",
	} {
		_, err := differs(t, conn, query)
		switch {
		case strings.Contains(query, "into app.made"):
			if !errors.Is(err, source.ErrQuery) {
				t.Errorf("%s: %v", query, err)
			}
		case want == "" && err != nil:
			t.Errorf("%s: %v", query, err)
		case want != "" && (err == nil || !strings.Contains(err.Error(), want) || !errors.Is(err, source.ErrQuery)):
			t.Errorf("%s: %v, want %q", query, err, want)
		}
		if conn.PgConn().TxStatus() != 'I' {
			t.Fatalf("%s leaves a transaction behind", query)
		}
	}
	if n := f.Int(t, "select count(*) from app.t") + f.Int(t,
		"select count(*) from pg_locks where locktype = 'advisory'"); n != 1 {
		t.Errorf("%d rows and locks, want 1", n)
	}
}

// A table that somebody else holds is waited for as long as a lock may be, no longer.
func TestQueryWaits(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Exec(t, "create schema app", "create table app.t (slug text, schema text)")
	holder, err := f.Connect(t).Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := holder.Exec(t.Context(), "lock table app.t in access exclusive mode"); err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	_, err = differs(t, f.Connect(t), "select slug, schema from app.t")
	if err == nil || time.Since(begun) > 10*time.Second || !(errors.Is(err, db.ErrBusy) ||
		errors.Is(err, source.ErrQuery)) {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
	if err := holder.Rollback(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestDiffersMissesNothing holds the statement that compares in the server against the
// comparison in Go: where the former says that nothing differs, the latter has no change, and
// where it finds tenants that only wait for their schemas, the latter has these alone.
func TestDiffersMissesNothing(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	f.Exec(t, "create schema app", "create schema s1",
		"create table app.t (slug text, schema text, display_name text, status text)")
	pick := func(from ...string) string { return from[rand.N(len(from))] }
	same, waiting := 0, 0
	for range 400 {
		f.Exec(t, "truncate app.t", "delete from public.tenants")
		for i := range 2 {
			slug, schema := fmt.Sprint("t-", i), fmt.Sprint("s", i)
			if rand.N(6) > 0 {
				f.Exec(t, fmt.Sprintf(`insert into public.tenants (id, slug, display_name, schema_name, status, deleted_from,
					deleted_at, purge_after) select gen_random_uuid(), '%s', '%s', '%s', s, case when s = 'gone' then 'active' end,
					case when s = 'deleted' then now() end, case when s = 'deleted' then now() end from (select '%s'::text as s) x`,
					slug, pick(slug, "D"), schema, pick("active", "active", "suspended", "gone", "deleted")))
			}
			if rand.N(6) > 0 {
				f.Exec(t, fmt.Sprintf("insert into app.t values (%s, %s, %s, %s)",
					pick("'"+slug+"'", "'"+slug+"'", "'T_"+fmt.Sprint(i)+"'", "'t-0'", "null", "' t-1 '"),
					pick("'"+schema+"'", "'"+schema+"'", "'"+schema+"'", "'s0'", "null", "'S1'"),
					pick("null", "''", "'D'", "'"+slug+"'", "' D '"),
					pick("null", "'active'", "'ACTIVE '", "'suspended'", "'deleted'", "'odd'", "' Paused'", "''", "E'gone\\t'")))
			}
		}
		query := "select slug, schema, display_name, status from app.t"
		if rand.N(2) == 0 {
			query = "select slug, schema, display_name from app.t"
		}
		q, err := source.Parse(query)
		if err != nil {
			t.Fatal(err)
		}
		differs, err := q.Differs(t.Context(), conn, registry.Default(), source.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		known, invalid, err := registry.Default().ListAll(t.Context(), conn, registry.Filter{})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := q.Read(t.Context(), conn, source.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		found := lines(source.Compare(rows, source.Known{Tenants: known, Invalid: invalid, Exists: func(s string) bool {
			return s == "s1"
		}}))
		if !differs.Any {
			same++
			if len(found) > 0 {
				t.Errorf("the server sees no difference:\n%s", strings.Join(found, "\n"))
			}
		}
		only, plain := source.OnlyWaiting(differs.Waiting, db.Schema{})
		taken := slices.ContainsFunc(known, func(t registry.Tenant) bool {
			return slices.ContainsFunc(only.Changes, func(ch source.Change) bool { return ch.To.Slug == t.Slug })
		})
		if plain && !taken && len(only.Changes) > 0 {
			waiting++
			if got := lines(only); !slices.Equal(got, found) {
				t.Errorf("of those that wait the server finds:\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(found, "\n"))
			}
		}
	}
	if same == 0 || waiting == 0 {
		t.Errorf("nothing was the same: %d; nothing waited: %d", same, waiting)
	}
}

// Files that came along call nothing but what makes texts of texts.
func TestCheckPlain(t *testing.T) {
	t.Parallel()
	for query, plain := range map[string]bool{
		"select lower(replace(slug, '.', '-')) as slug, schema from app.t where x in (1, 2) and exists (select 1)": true,
		"select pg_catalog.lower(slug) as slug, 'tenant' || id::varchar(10) as schema from app.t":                  true,
		"select slug, data ->> 'schema' as schema from app.t":                                                      true,
		"select pg_read_file('x') as slug, schema from app.t":                                                      false,
		`select "pg_read_file" ('x') as slug, schema from app.t`:                                                   false,
		"select app.lower(slug) as slug, schema from app.t":                                                        false,
		"select slug, schema from dblink('x', 'y') as d (slug text, schema text)":                                  false,
		"select slug, schema from app.t where pg_catalog.pg_sleep(1) is null":                                      false,
		"select slug, schema from app.t where query_to_xml('delete', true, true, '') is null":                      false,
		"select pg_read_file/* */('x') as slug, schema from app.t":                                                 false,
	} {
		q, err := source.Parse(query)
		if err != nil {
			t.Fatal(err)
		}
		if err := q.CheckPlain(); (err == nil) != plain {
			t.Errorf("%s: %v", query, err)
		}
	}
}
