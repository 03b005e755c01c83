package importer

import (
	"fmt"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
)

// Merging unites lists in the metadata: what the contact has comes first and stays as it
// is, what the row has more is added once. A dry run foretells it, and again it changes
// nothing.
func TestMergeUnitesLists(t *testing.T) {
	t.Parallel()
	for name, o := range map[string]Options{
		"email":       {OnConflict: ConflictMerge},
		"email kept":  {OnConflict: ConflictMerge, Keep: keepID(0)},
		"slices":      {OnConflict: ConflictMerge, sliceFrom: 1},
		"slices kept": {OnConflict: ConflictMerge, sliceFrom: 1, Keep: keepID(0)},
		"phone":       {OnConflict: ConflictMerge, Key: KeyPhone},
		"phone kept":  {OnConflict: ConflictMerge, Key: KeyPhone, Keep: keepID(0)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			o.Schema = schema
			crmtest.Exec(t, conn, schema, `insert into contacts (email, phone, metadata) values
				('a@example.com', '+491', '{"emails": [{"value": "a@example.com", "type": "home"}, {"value": "old@example.com"}], "tag": "x"}'),
				('b@example.com', '+492', '{"emails": "none", "tag": ["y"]}'),
				('c@example.com', '+493', '{"emails": [{"value": "c@example.com"}, {"value": "c2@example.com"}, 7]}')`)
			file := "email,phone,name,Other Email\n" +
				"a@example.com,+491,A,a2@example.com\nb@example.com,+492,,b2@example.com\nc@example.com,+493,,c2@example.com\n" +
				"d@example.com,+494,,d2@example.com\n"
			o.Map = []string{"email=email", "Other Email=email"}
			dry := o
			dry.DryRun = true
			foretold := importText(t, conn, file, dry)
			got := importText(t, conn, file, o)
			if want := "read 4 inserted 1 updated 1 unchanged 2 rejected 0"; tally(got) != want || tally(foretold) != want {
				t.Errorf("got %s, foretold %s, want %s", tally(got), tally(foretold), want)
			}
			list := func(more string) string { return `{"emails": ` + more + `}` }
			crmtest.SameLines(t, "contacts", crmtest.List(t, conn, schema,
				"select email, name, metadata::text from contacts order by 1"), []string{
				`a@example.com|A|{"tag": "x", "emails": [{"type": "home", "value": "a@example.com"}, {"value": "old@example.com"}, {"type": "other", "value": "a2@example.com"}]}`,
				`b@example.com||{"tag": ["y"], "emails": "none"}`,
				fmt.Sprint(`c@example.com||`, list(`[{"value": "c@example.com"}, {"value": "c2@example.com"}, 7]`)),
				fmt.Sprint(`d@example.com||`, list(`[{"value": "d@example.com"}, {"type": "other", "value": "d2@example.com"}]`)),
			})
			if again := importText(t, conn, file, o); again.Unchanged != 4 {
				t.Errorf("again: %s", tally(again))
			}
		})
	}
}

// Rows of one file with the same key keep all that their lists have, each once and in the
// order of the file, whether the first of them is a contact already or waits with the others.
func TestRepeatsUniteLists(t *testing.T) {
	t.Parallel()
	const file = "email,phone,name,Other Email,Third Email,City\n" +
		"a@example.com,+4915112345671,A,a2@example.com,,Rome\n" +
		"b@example.com,+4915112345672,B,,,\n" +
		"a@example.com,+4915112345671,,a3@example.com,a2@example.com,Oslo\n" +
		"a@example.com,+4915112345671,,,,\n"
	for name, o := range map[string]Options{
		"staged": {KeepIndexes: true},
		"direct": {directFrom: 1},
		"phone":  {Key: KeyPhone},
		"merge":  {OnConflict: ConflictMerge},
		"kept":   {directFrom: 1, Keep: keepID(0)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			o.Schema, o.Map = schema, []string{"email=email", "Other Email=email", "Third Email=email"}
			got := importText(t, conn, file, o)
			if want := "read 4 inserted 2 updated 0 unchanged 0 rejected 0 repeated 2"; tally(got) != want {
				t.Errorf("got %s, want %s", tally(got), want)
			}
			crmtest.SameLines(t, "contacts", crmtest.List(t, conn, schema,
				"select email, name, metadata ->> 'City', x ->> 'value' from contacts "+
					"left join jsonb_array_elements(metadata -> 'emails') with ordinality e (x, n) on true order by email, n"),
				[]string{"a@example.com|A|Oslo|a@example.com", "a@example.com|A|Oslo|a2@example.com",
					"a@example.com|A|Oslo|a3@example.com", "b@example.com|B||"})
		})
	}
}
