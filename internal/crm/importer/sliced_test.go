package importer

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
)

// meanwhile calls something while an import merges, once the first slice is done.
type meanwhile struct {
	do    func()
	steps []int
}

func (m *meanwhile) Planned(Plan) {}

func (m *meanwhile) Progressed(p Progress) {
	if p.Phase != PhaseMerge {
		return
	}
	if m.steps = append(m.steps, p.Step); p.Step > 0 && m.do != nil {
		m.do()
		m.do = nil
	}
}

// Contacts that others change, make or remove between two slices of a merge are merged
// as they are then, counted once, and the progress goes on to the last row.
func TestMergeInSlicesBesideOthers(t *testing.T) {
	t.Parallel()
	for _, keep := range []string{"", keepID(0)} {
		t.Run("keep="+keep, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			other := crmtest.Connect(t, conn.Config().ConnString())
			const rows = 40_000
			crmtest.Exec(t, conn, schema, fmt.Sprintf(`insert into contacts (id, email, company, name)
				select ('00000000-0000-4000-8000-' || lpad(i::text, 12, '0'))::uuid, 'c' || lpad(i::text, 6,
					'0') || '@example.com', 'old', 'Old'
				from generate_series(0, %d) i`, rows/2-1))
			w := &meanwhile{do: func() {
				last, gone, taken := rows/2-1, rows/2-2, rows-1
				crmtest.Exec(t, other, schema, fmt.Sprintf(`update contacts set name = 'Changed', metadata = '{"by": "other"}'
					where email = 'c%06d@example.com'`, last))
				crmtest.Exec(t, other, schema, fmt.Sprintf(`delete from contacts where email = 'c%06d@example.com'`, gone))
				crmtest.Exec(t, other, schema, fmt.Sprintf(`insert into contacts (email, name, company)
					values ('c%06d@example.com', 'Made', 'x')`, taken))
			}}
			var file strings.Builder
			file.WriteString("email,company\n")
			for i := range rows {
				fmt.Fprintf(&file, "c%06d@example.com,new\n", i)
			}
			r := importText(t, conn, file.String(), Options{Schema: schema, Observer: w, Keep: keep})
			// Half are new, but one of them was made, and one of the others removed.
			if want := "read 40000 inserted 20000 updated 20000 unchanged 0 rejected 0"; tally(r) != want {
				t.Errorf("got %s, want %s", tally(r), want)
			}
			crmtest.SameLines(t, "contacts", crmtest.List(t, conn, schema, `select name, company, metadata::text, count(*)::text
				from contacts group by 1, 2, 3 order by 4, 1`), []string{
				`Changed|new|{"by": "other"}|1`, `Made|new|{}|1`, `Old|new|{}|19998`, `|new|{}|20000`,
			})
			if n := len(w.steps); n < 3 || !slices.IsSorted(w.steps) || w.steps[0] != 0 || w.steps[n-1] != rows {
				t.Errorf("progress of the merge: %v", w.steps)
			}
			if keep == "" {
				return
			}
			// What was there when it was replaced is kept, in the state of the other session.
			crmtest.SameLines(t, "kept", crmtest.List(t, conn, schema,
				`select name, company, metadata::text, (xid is null)::text, count(*)::text
				from `+UndoTable+` group by 1, 2, 3, 4 order by 5, 1`), []string{
				`Changed|old|{"by": "other"}|false|1`, `|||true|1`, `Old|old|{}|false|19998`,
			})
		})
	}
}

// Where a contact has no one place, as in a table that others inherit from, all rows are
// merged by one statement.
func TestMergeWithoutPlaces(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, "create table former () inherits (contacts)")
	crmtest.Exec(t, conn, schema, "insert into contacts (email, name) values ('a@example.com', 'Old'), "+
		"('b@example.com', 'B')")
	w := &meanwhile{}
	r := importText(t, conn, "email,name\na@example.com,A\nb@example.com,B\nc@example.com,C\n",
		Options{Schema: schema, sliceFrom: 1, Observer: w, Keep: keepID(0)})
	if want := "read 3 inserted 1 updated 1 unchanged 1 rejected 0"; tally(r) != want {
		t.Errorf("got %s, want %s", tally(r), want)
	}
	if len(w.steps) != 1 {
		t.Errorf("merged in slices: %v", w.steps)
	}
}
