package importer

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
)

// Contacts are found by other keys than the address, rows of one file with one key are one
// contact, and what is in doubt is rejected. A dry run foretells it, and the same again
// changes nothing.
func TestImportByKey(t *testing.T) {
	t.Parallel()
	const (
		ann = "insert into contacts (email, phone, name) values ('ann@ex.org', '1', 'Ann')"
		bob = "insert into contacts (phone, name, metadata) values ('2', 'Bob', '{\"external_id\": \"B\"}')"
	)
	for _, tt := range []struct {
		name   string
		before []string
		file   string
		o      Options
		want   string
		reject string
		rows   []string
	}{
		{
			name: "phone", before: []string{ann, bob}, o: Options{Key: KeyPhone},
			file:   "email,phone,name,city\nnew@ex.org,1,Anna,Rome\n,2,Bob,\n,3,Cy,\n,3,Cyd,Oslo\nd@ex.org,,Dan,\n",
			want:   "read 5 inserted 1 updated 1 unchanged 1 rejected 1 repeated 1",
			reject: "[{no_key 1}]",
			rows:   []string{`new@ex.org|1|Anna||{"city": "Rome"}`, `|2|Bob||{"external_id": "B"}`, `|3|Cyd||{"city": "Oslo"}`},
		},
		{
			name: "phone, only filled", before: []string{ann, bob}, o: Options{Key: KeyPhone, OnConflict: ConflictMerge},
			file: "email,phone,name\nnew@ex.org,1,Anna\nbob@ex.org,2,Robert\n",
			want: "read 2 inserted 0 updated 1 unchanged 1 rejected 0", reject: "[]",
			rows: []string{`ann@ex.org|1|Ann||{}`, `bob@ex.org|2|Bob||{"external_id": "B"}`},
		},
		{
			name: "phone, contacts left alone", before: []string{ann}, o: Options{Key: KeyPhone, OnConflict: ConflictSkip},
			file: "email,phone,name\nnew@ex.org,1,Anna\n,2,Bob\n,2,Bobby\n",
			want: "read 3 inserted 1 updated 0 unchanged 1 rejected 0 repeated 1", reject: "[]",
			rows: []string{`ann@ex.org|1|Ann||{}`, `|2|Bob||{}`},
		},
		{
			name: "another contact has the address", before: []string{ann, bob}, o: Options{Key: KeyPhone},
			file: "email,phone,name\nann@ex.org,2,Bob\nann@ex.org,4,New\nz@ex.org,5,Z\nz@ex.org,6,Zz\n",
			want: "read 4 inserted 1 updated 0 unchanged 0 rejected 3", reject: "[{email_exists 2} {duplicate_email 1}]",
			rows: []string{`ann@ex.org|1|Ann||{}`, `z@ex.org|5|Z||{}`, `|2|Bob||{"external_id": "B"}`},
		},
		{
			name: "several contacts have the number", before: []string{ann,
				"insert into contacts (phone, name) values ('1', 'Other')"}, o: Options{Key: KeyPhone},
			file: "phone,name\n1,Anna\n1,Annie\n", want: "read 2 inserted 0 updated 0 unchanged 0 rejected 2",
			reject: "[{ambiguous_key 2}]",
			rows:   []string{`ann@ex.org|1|Ann||{}`, `|1|Other||{}`},
		},
		{
			name: "another program's identifier", before: []string{ann, bob}, o: Options{Key: KeyExternalID,
				Map: []string{"ID=external_id"}},
			file: "ID,email,name\nB,bob@ex.org,Robert\nC,c@ex.org,Cy\nC,c2@ex.org,Cy\n",
			want: "read 3 inserted 1 updated 1 unchanged 0 rejected 0 repeated 1", reject: "[]",
			rows: []string{`ann@ex.org|1|Ann||{}`, `bob@ex.org|2|Robert||{"external_id": "B"}`,
				`c2@ex.org||Cy||{"external_id": "C"}`},
		},
		{
			name: "address, else number", before: []string{ann, bob}, o: Options{Key: KeyEmailPhone},
			file: "email,phone,name\nann@ex.org,9,Ann\nbob@ex.org,2,Bob\nx@ex.org,1,Xaver\n,7,Gil\ngil@ex.org,7,\n",
			want: "read 5 inserted 2 updated 2 unchanged 0 rejected 0 repeated 1", reject: "[]",
			rows: []string{`ann@ex.org|9|Ann||{}`, `bob@ex.org|2|Bob||{"external_id": "B"}`, `gil@ex.org|7|Gil||{}`,
				`x@ex.org|1|Xaver||{}`},
		},
		{
			name: "conflicts and repeats are errors", before: []string{ann}, o: Options{Key: KeyPhone,
				OnConflict: ConflictError},
			file: "phone,name\n1,Anna\n2,Bob\n2,Bobby\n", want: "read 3 inserted 1 updated 0 unchanged 0 rejected 2",
			reject: "[{duplicate_key 1} {key_exists 1}]",
			rows:   []string{`ann@ex.org|1|Ann||{}`, `|2|Bob||{}`},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			crmtest.Exec(t, conn, schema, tt.before...)
			o := tt.o
			o.Schema, o.directFrom, o.RejectPath = schema, 1, filepath.Join(t.TempDir(), "r.csv")
			dry := o
			dry.DryRun = true
			foretold := importText(t, conn, tt.file, dry)
			r := importText(t, conn, tt.file, o)
			if tally(r) != tt.want || fmt.Sprint(r.RejectedByCode) != tt.reject || tally(foretold) != tt.want {
				t.Errorf("got %s %v, foretold %s, want %s %s", tally(r), r.RejectedByCode, tally(foretold), tt.want, tt.reject)
			}
			crmtest.SameLines(t, "contacts", contacts(t, conn, schema), tt.rows)
			if r.Rejected > 0 && !strings.Contains(readFile(t, r.RejectFile), string(r.RejectedByCode[0].Code)) {
				t.Errorf("the reject file is\n%s", readFile(t, r.RejectFile))
			}
			if again := importText(t, conn, tt.file, o); again.Inserted+again.Updated != 0 {
				t.Errorf("the same again: %s", tally(again))
			}
			crmtest.SameLines(t, "contacts after the same again", contacts(t, conn, schema), tt.rows)
		})
	}
	t.Run("no such column", func(t *testing.T) {
		t.Parallel()
		conn, schema := crmtest.Tenant(t)
		_, err := Import(t.Context(), conn, strings.NewReader("email,name\na@ex.org,A\n"),
			Options{Schema: schema, Key: KeyPhone})
		if _, ok := errors.AsType[*MappingError](err); !ok {
			t.Errorf("got %v", err)
		}
	})
}
