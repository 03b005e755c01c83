package importer

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
)

// A table that an application has made is filled as it is: columns by their own names, those
// without a place told, and what the table needs asked for.
func TestImportIntoAnApplicationsTable(t *testing.T) {
	t.Parallel()
	const rails = `create table contacts (id bigserial primary key, email varchar(255) not null unique,
		first_name varchar(50), last_name varchar(50),
		city text, age integer, state text not null default 'new', created_at timestamp(6) not null,
			updated_at timestamp(6) not null)`
	for _, tt := range []struct {
		name   string
		before []string
		file   string
		o      Options
		want   string
		reject string
		left   string
		sql    string
		rows   []string
		narrow bool // the table has no column metadata
	}{
		{
			name: "insert and update",
			before: []string{rails, "insert into contacts (email, first_name, city, created_at, updated_at) values " +
				"('Ann@ex.org', 'Ann', 'Rome', '2020-01-01', '2020-01-01')"},
			file: "ID,First Name,Last Name,Email,Town,Age,Shoe " +
				"size\n77,Anna,Lee,ann@ex.org,,30,9\n78,Bob,May,bob@ex.org,Oslo,,8\n79,Bob,Mayer,BOB@ex.org,Oslo,,8\n80,Cy,No,,,,\n",
			o:    Options{Map: []string{"Town=city"}},
			want: "read 4 inserted 1 updated 1 unchanged 0 rejected 1 repeated 1", reject: "[{no_key 1}]",
			left: "ID, Shoe size", narrow: true,
			sql: "select email, first_name, last_name, city, age, state, id < 10, created_at > '2026-01-01' from contacts " +
				"order by lower(email)",
			rows: []string{"Ann@ex.org|Anna|Lee|Rome|30|new|true|false", "bob@ex.org|Bob|Mayer|Oslo||new|true|true"},
		},
		{
			name: "only filled", narrow: true, o: Options{OnConflict: ConflictMerge},
			before: []string{rails, "insert into contacts (email, first_name, created_at, updated_at) values ('ann@ex.org', " +
				"'Ann', '2020-01-01', '2020-01-01')"},
			file: "First Name,Email,City\nAnna,ann@ex.org,Rome\n", want: "read 1 inserted 0 updated 1 unchanged 0 rejected 0",
			reject: "[]",
			sql:    "select email, first_name, city from contacts", rows: []string{"ann@ex.org|Ann|Rome"},
		},
		{
			name: "another key, metadata, a value that is needed", o: Options{Key: KeyPhone},
			before: []string{
				"create table contacts (contact_no uuid primary key default gen_random_uuid(), phone text, name text not null, " +
					"metadata jsonb not null default '{}', kind text)",
				"insert into contacts (phone, name, metadata) values ('1', 'Ann', '{\"a\": 1}')",
			},
			file: "Phone,Name,Kind,Email,City\n1,Anna,vip,ann@ex.org,Rome\n2,,vip,bob@ex.org,\n3,Cy,,,Oslo\n",
			want: "read 3 inserted 1 updated 1 unchanged 0 rejected 1", reject: "[{missing_value 1}]", left: "",
			sql:  "select phone, name, kind, metadata::text from contacts order by 1",
			rows: []string{`1|Anna|vip|{"a": 1, "City": "Rome"}`, `3|Cy||{"City": "Oslo"}`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			crmtest.Exec(t, conn, schema, append([]string{"drop table contacts cascade"}, tt.before...)...)
			o := tt.o
			o.Schema, o.directFrom, o.RejectPath = schema, 1, filepath.Join(t.TempDir(), "r.csv")
			dry := o
			dry.DryRun = true
			foretold := importText(t, conn, tt.file, dry)
			r := importText(t, conn, tt.file, o)
			if tally(r) != tt.want || fmt.Sprint(r.RejectedByCode) != tt.reject || tally(foretold) != tt.want ||
				strings.Join(r.NoPlace, ", ") != tt.left || !r.Own || r.Narrow != tt.narrow {
				t.Errorf("got %s %v, foretold %s, left out %q; want %s %s %q", tally(r), r.RejectedByCode, tally(foretold),
					r.NoPlace, tt.want, tt.reject, tt.left)
			}
			crmtest.SameLines(t, "contacts", crmtest.List(t, conn, schema, tt.sql), tt.rows)
			if again := importText(t, conn, tt.file, o); again.Inserted+again.Updated != 0 {
				t.Errorf("the same again: %s", tally(again))
			}
			crmtest.SameLines(t, "contacts after the same again", crmtest.List(t, conn, schema, tt.sql), tt.rows)
		})
	}
}

// TestWhatANarrowTableLeavesOut: of several columns for one field it is said which are left
// out where a row has a value before them, and that the import cannot be taken back.
func TestWhatANarrowTableLeavesOut(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, "drop table contacts cascade",
		"create table contacts (id bigserial primary key, name text, email text unique, phone text)")
	r := importText(t, conn, "Name,Email,Second Email,Phone,Mobile\nAnn,ann@ex.org,a2@ex.org,1,2\n",
		Options{Schema: schema, Keep: "5f3a4c0e-3a53-4b9e-9d3f-111111111111"})
	if spare := strings.Join(r.Spare, ", "); len(r.Spare) != 2 || !strings.Contains(spare, "Second Email") ||
		!r.Own || !r.Narrow || r.Undoable {
		t.Errorf("left out %q, own %t, narrow %t, undoable %t", spare, r.Own, r.Narrow, r.Undoable)
	}
}

func TestApplicationsTableIsAskedFor(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		table, want string
		o           Options
	}{
		"a value": {"create table contacts (id bigserial primary key, email text unique, owner_id text not null)",
			"needs a value for its column owner_id", Options{}},
		"the key":     {"create table contacts (id bigserial primary key, fax text)", "has no column email", Options{}},
		"primary key": {"create table contacts (email text)", "has no primary key of one column", Options{}},
		"a column": {"create table contacts (id bigserial primary key, email text)", `there is no field "cyty"`,
			Options{Map: []string{"City=cyty"}}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			crmtest.Exec(t, conn, schema, "drop table contacts cascade", tt.table)
			o := tt.o
			o.Schema = schema
			_, err := Import(t.Context(), conn, strings.NewReader("Email,City\nann@ex.org,Rome\n"), o)
			var mapping *MappingError
			if !errors.As(err, &mapping) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
			if name == "a value" && (len(mapping.Candidates) != 1 || mapping.Candidates[0].Header != "City") {
				t.Errorf("candidates %v", mapping.Candidates)
			}
		})
	}
}
