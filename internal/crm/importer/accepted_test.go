package importer

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
)

// acceptedRows reads a file of accepted rows: by line its contact and what became of the row.
func acceptedRows(t *testing.T, path string) map[string][2]string {
	t.Helper()
	rows := map[string][2]string{}
	if path == "" {
		return rows
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	r := csv.NewReader(bytes.NewReader(bytes.TrimPrefix(data, []byte(byteOrderMark))))
	r.LazyQuotes, r.TrimLeadingSpace = true, true
	all, err := r.ReadAll()
	if err != nil {
		t.Fatalf("%v in\n%s", err, data)
	}
	for i, cells := range all {
		n := len(cells)
		if i == 0 {
			if got := strings.Join(cells[n-3:], " "); got != "_line _id _result" {
				t.Errorf("header %s", got)
			}
			continue
		}
		if _, there := rows[cells[n-3]]; there {
			t.Errorf("line %s is there twice", cells[n-3])
		}
		rows[cells[n-3]] = [2]string{cells[n-2], cells[n-1]}
	}
	return rows
}

// checkAccepted holds the rows against the counts, and the contacts against the ids.
func checkAccepted(t *testing.T, conn *pgx.Conn, o Options, r Result) {
	t.Helper()
	rows := acceptedRows(t, r.AcceptFile)
	counts, made := map[string]int64{}, map[string]bool{}
	there := crmtest.List(t, conn, o.Schema, "select id::text from contacts")
	for line, row := range rows {
		counts[row[1]]++
		if row[1] == "inserted" {
			if made[row[0]] {
				t.Errorf("line %s: contact %s was made twice", line, row[0])
			}
			made[row[0]] = true
		}
		if !strings.Contains(strings.Join(there, " "), row[0]) || row[0] == "" {
			t.Errorf("line %s: contact %q is not there", line, row[0])
		}
	}
	got := fmt.Sprint(counts["inserted"], counts["updated"], counts["unchanged"], counts["repeated"], len(rows))
	want := fmt.Sprint(r.Inserted, r.Updated, r.Unchanged, r.Repeated, r.Read-r.Rejected)
	if got != want {
		t.Errorf("%s/%s/%s: the file has %s, counted were %s", o.OnConflict, o.InFile, o.Key, got, want)
	}
}

// The file of accepted rows has each row that was not rejected once, with its contact, and as
// many of each result as were counted, whatever the policies, the key and the way of loading.
func TestAcceptedRowsAreWhatWasCounted(t *testing.T) {
	t.Parallel()
	for _, key := range []Key{KeyEmail, KeyPhone, KeyEmailPhone} {
		for path, directFrom := range paths {
			t.Run(fmt.Sprintf("%s/%s", key, path), func(t *testing.T) {
				t.Parallel()
				conn, schema := crmtest.Tenant(t)
				r := rand.New(rand.NewPCG(5, uint64(len(key))))
				for _, policy := range []ConflictPolicy{ConflictUpdate, ConflictMerge, ConflictSkip, ConflictError} {
					for _, inFile := range []RepeatPolicy{RepeatMerge, RepeatFirst, RepeatLast, RepeatError} {
						crmtest.Exec(t, conn, schema, "delete from contacts")
						o := Options{Schema: schema, OnConflict: policy, InFile: inFile, Key: key, directFrom: directFrom,
							sliceFrom: int64(1 + 9999*r.IntN(2))}
						for n := range 3 {
							file, _ := dirtyFile(r, 1+r.IntN(20))
							o.AcceptPath = filepath.Join(t.TempDir(), fmt.Sprintf("%d.csv", n))
							checkAccepted(t, conn, o, importText(t, conn, file, o))
						}
					}
				}
			})
		}
	}
}

// Of a table that is an application's own the keys that the server gives are told.
func TestAcceptedRowsOfAnApplicationsTable(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, "drop table contacts cascade",
		"create table contacts (id bigserial primary key, email text, name varchar(5), city text)",
		"insert into contacts (id, email, name) values (1000, 'Ann@ex.org', 'Ann'), (1001, 'bob@ex.org', 'Bob')")
	o := Options{Schema: schema, AcceptPath: filepath.Join(t.TempDir(), "a.csv")}
	r := importText(t, conn, "email,name,city\nann@ex.org,Ann,Rome\nbob@ex.org,Bob,\ncy@ex.org,Cy,Oslo\n"+
		"dee@ex.org,Deedee,\ncy@ex.org,,Bonn\n", o)
	rows := acceptedRows(t, r.AcceptFile)
	want := map[string][2]string{"2": {"1000", "updated"}, "3": {"1001", "unchanged"}, "4": {"1", "inserted"},
		"6": {"1", "repeated"}}
	if fmt.Sprint(rows) != fmt.Sprint(want) {
		t.Errorf("got %v, want %v (%s)", rows, want, tally(r))
	}
}

// In batches the file grows with what is committed; what it adds is no data when it is
// imported itself.
func TestAcceptedRowsInBatches(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	o := Options{Schema: schema, Batch: 2, AcceptPath: filepath.Join(t.TempDir(), "a.csv")}
	r := importText(t, conn, "email,name\na@ex.org,A\nb@ex.org,B\na@ex.org,AA\nnone,N\n,\"C, of \"\"X\"\"\"\n", o)
	checkAccepted(t, conn, o, r)
	if info, err := os.Stat(r.AcceptFile); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info.Mode(), err)
	}
	data, err := os.ReadFile(r.AcceptFile)
	if err != nil {
		t.Fatal(err)
	}
	before := contacts(t, conn, schema)
	again := importText(t, conn, string(data), Options{Schema: schema, OnConflict: ConflictSkip})
	if again.Inserted+again.Updated+again.Rejected != 0 {
		t.Errorf("the same again: %s", tally(again))
	}
	crmtest.SameLines(t, "contacts", contacts(t, conn, schema), before)
	var stdout bytes.Buffer
	o.AcceptPath, o.AcceptTo = "", &stdout
	importText(t, conn, "email,name\nd@ex.org,D\n", o)
	if got := stdout.String(); !strings.HasPrefix(got, byteOrderMark+"email,name,_line,_id,_result\nd@ex.org,D,2,") {
		t.Errorf("to a stream: %q", got)
	}
}
