package crm

import (
	"testing"
)

// paths are the two ways to load: straight into an empty table, or by staging.
var paths = map[string]int64{"direct": 1, "staged": 1 << 40}

func TestImport(t *testing.T) {
	t.Parallel()
	const file = `Name,E-mail Address,Phone,Company,City,Notes
Ada Lovelace, Ada@Example.COM ,+44 20 7946 0000,Analytical Engines,London,"likes ""engines"""
Charles Babbage,charles@example.com,,,,
,,+49 (30) 1234,,Berlin,no address
=cmd(),,,"@sum(A1)",,
Bad Address,not-an-address,,,,
,,,,Nowhere,nothing to make a contact of
`
	for name, directFrom := range paths {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, schema := tenant(t)
			o := ImportOptions{Schema: schema, directFrom: directFrom}
			r := importText(t, conn, file, o)
			if got, want := tally(r), "read 6 inserted 4 updated 0 unchanged 0 rejected 2"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
			want := []string{
				`ada@example.com|+44 20 7946 0000|Ada Lovelace|Analytical Engines|{"City": "London", "Notes": "likes \"engines\""}`,
				`charles@example.com||Charles Babbage||{}`,
				`|+49 (30) 1234|||{"City": "Berlin", "Notes": "no address"}`,
				`||=cmd()|@sum(A1)|{}`,
			}
			sameLines(t, "contacts", contacts(t, conn, schema), want)
			again := importText(t, conn, file, o)
			if got, want := tally(again), "read 6 inserted 0 updated 0 unchanged 4 rejected 2"; got != want {
				t.Errorf("the second time: got %s, want %s", got, want)
			}
			sameLines(t, "contacts after the second import", contacts(t, conn, schema), want)
		})
	}
}
