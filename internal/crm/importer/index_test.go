package importer

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/db"
)

// The indexes after a load are those before it, whatever they are, and the load
// left alone those it could not have made again.
func TestIndexesSurvive(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema,
		`create index "Odd ""name""" on contacts using btree (lower(name) collate "C" desc nulls last,
			company) include (phone) with (fillfactor = 70) where name is not null`,
		"create index by_source on contacts ((metadata ->> 'Source')) where metadata ? 'Source'",
		"create unique index as_identity on contacts (id, created_at)",
		"alter table contacts replica identity using index as_identity",
		"create index clustered on contacts (updated_at)", "alter table contacts cluster on clustered",
		"create index noted on contacts (company)", "comment on index noted is 'for the sales report'",
		"create index counted on contacts (lower(company))", "alter index counted alter column 1 set statistics 300",
		"alter table contacts add constraint no_twins unique (id, email)",
		"create table follows (email text references contacts (email))",
	)
	const indexes = `select i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid), indisvalid, indisready,
		indisclustered, indisreplident, obj_description(i.indexrelid),
		(select array_agg(attstattarget)::text from pg_attribute a where a.attrelid = i.indexrelid)
		from pg_index i where indrelid = 'contacts'::regclass order by 1`
	before := crmtest.List(t, conn, schema, indexes)
	r := importText(t, conn, "email,name,Source\na@example.com,A,web\nb@example.com,B,\na@example.com,C,\n",
		Options{Schema: schema, directFrom: 1})
	if got, want := tally(r), "read 3 inserted 2 updated 0 unchanged 0 rejected 0 repeated 1"; got != want || !r.FastPath {
		t.Errorf("got %s, fast path %t; want %s", got, r.FastPath, want)
	}
	crmtest.SameLines(t, "indexes", crmtest.List(t, conn, schema, indexes), before)
	if stats := crmtest.List(t, conn, schema, "select reltuples from pg_class where oid = "+
		"'contacts'::regclass"); stats[0] != "2" {
		t.Errorf("the planner takes the table for %s rows, want 2", stats[0])
	}
	// The indexes can be used.
	crmtest.Exec(t, conn, schema, "set local enable_seqscan = off",
		"insert into contacts (email) values ('c@example.com')")
	if got := crmtest.List(t, conn, schema, "select name from contacts where metadata ->> 'Source' = 'web'"); !slices.Equal(got, []string{"C"}) {
		t.Errorf("by source: %q", got)
	}
}

// Somebody who reads the contacts must not wait for the whole load: the import
// takes the other path.
func TestBusyTableIsStaged(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	other := crmtest.Connect(t, connString(conn))
	err := db.InTx(t.Context(), other, db.Locals{Schema: schema}, func(ctx context.Context, q db.Querier) error {
		if _, err := q.Exec(ctx, "select count(*) from contacts"); err != nil {
			return err
		}
		r := importText(t, conn, "email,name\na@example.com,A\n", Options{Schema: schema, directFrom: 1})
		if r.FastPath || r.Inserted != 1 {
			t.Errorf("%s, fast path %t", tally(r), r.FastPath)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// The role of a tenant owns nothing and still imports.
func TestRoleWithoutOwnership(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	role := strings.ReplaceAll(conn.Config().Database, "-", "_") + "_role"
	crmtest.Exec(t, conn, schema, `create role "`+role+`"`, `grant usage on schema `+schema.Quoted()+` to "`+role+`"`,
		`grant select, insert, update on contacts to "`+role+`"`)
	t.Cleanup(func() {
		ctx := context.WithoutCancel(t.Context())
		_, _ = conn.Exec(ctx, `drop owned by "`+role+`"`)
		_, _ = conn.Exec(ctx, `drop role "`+role+`"`)
	})
	r := importText(t, conn, "email,name\na@example.com,A\na@example.com,B\n",
		Options{Schema: schema, Role: role, directFrom: 1})
	if got, want := tally(r), "read 2 inserted 1 updated 0 unchanged 0 rejected 0 repeated 1"; got != want || r.FastPath {
		t.Errorf("got %s, fast path %t; want %s on the other", got, r.FastPath, want)
	}
}
