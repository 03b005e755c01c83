package importer

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/tabular"
)

// Every file from the wild gives the right rows or an error that says why.
func TestFilesFromTheWild(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "..", "..", "shared", "data")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("contact files from the wild are not here: %v", err)
	}
	tests := []struct {
		file string
		o    Options
		want string // the counts, or the error
		row  string // one contact that must be there
	}{
		{
			file: "dotgov-current-full.csv", o: Options{Null: []string{"(blank)"},
				Map: []string{"Security contact email=email", "Organization name=company"}},
			want: "read 16539 inserted 14143 updated 0 unchanged 0 rejected 0 repeated 2396",
			row:  `govdnssecurity@36thdistrictcourt.org|||36th District Court|{"City": "Detroit", "State": "MI", "Domain name": "36thdistrictcourtmi.gov", "Domain type": "City"}`,
		},
		{
			file: "google-shared-contacts-sample1.csv", want: "read 16 inserted 16 updated 0 unchanged 0 rejected 0",
		},
		{file: "outlook-style.csv", want: "read 3 inserted 3 updated 0 unchanged 0 rejected 0",
			row: `danielireland@restty.com|+1 555 3227 8543|Daniel Ireland||{"ID": "241a444f0b330b22", "Action": "delete", "Job Title": "Receptionist"}`},
		{file: "salesforce-npsp-import-template.csv", want: "read 0 inserted 0 updated 0 unchanged 0 rejected 0"},
		{file: "messy-latin1-spanish.csv", want: "no column holds an e-mail address"},
		{file: "messy-latin1-spanish.csv", o: Options{Map: []string{"Descripción=name"}},
			want: "read 115 inserted 114 updated 0 unchanged 0 rejected 1"},
		{file: "messy-head-padding.csv", want: "no column holds an e-mail address"},
		{file: "semicolon-latin1-firstnames.csv", want: "no column holds an e-mail address"},
		{file: "semicolon-latin1-firstnames.csv", o: Options{Map: []string{"prenoms=first_name"}},
			want: "read 10121 inserted 10114 updated 0 unchanged 0 rejected 0 repeated 7",
			row:  `||Abigaël||{"sexe": "F", "annee": "2004", "nombre": "6", "first_name": "Abigaël"}`},
		{file: "mac-newlines.csv", want: "no column holds an e-mail address"},
		{file: "mac-newlines.csv", o: Options{Map: []string{"a=name"}},
			want: "read 2 inserted 2 updated 0 unchanged 0 rejected 0", row: "||Once upon\ra time||" + `{"b": "5", "c": "6"}`},
		{file: "null-byte.csv", o: Options{Map: []string{"a=name"}},
			want: "read 1 inserted 0 updated 0 unchanged 0 rejected 1"},
		{file: "bom-utf8.csv", o: Options{Map: []string{"column1=name"}},
			want: "read 2 inserted 2 updated 0 unchanged 0 rejected 0",
			row:  `||row1-1||{"column2": "row1-2", "column3": "row1-3"}`},
		{file: "bom-utf16le.csv", o: Options{Map: []string{"column1=name"}},
			want: "read 2 inserted 2 updated 0 unchanged 0 rejected 0",
			row:  `||row1-1||{"column2": "row1-2", "column3": "row1-3"}`},
		{file: "bom-utf32le.csv", o: Options{Map: []string{"column1=name"}},
			want: "read 2 inserted 2 updated 0 unchanged 0 rejected 0",
			row:  `||row1-1||{"column2": "row1-2", "column3": "row1-3"}`},
		{file: "vcard-gmail.vcf", want: "read 1 inserted 1 updated 0 unchanged 0 rejected 0"},
		{file: "vcard-outlook.vcf", want: "read 1 inserted 1 updated 0 unchanged 0 rejected 0"},
		{file: "vcard21-broken-photo.vcf", want: "read 1 inserted 0 updated 0 unchanged 0 rejected 1"},
	}
	for _, tt := range tests {
		t.Run(tt.file, func(t *testing.T) {
			t.Parallel()
			data, err := os.ReadFile(filepath.Join(dir, tt.file))
			if err != nil {
				t.Skip(err)
			}
			conn, schema := crmtest.Tenant(t)
			tt.o.Schema = schema
			r, err := Import(t.Context(), conn, strings.NewReader(string(data)), tt.o)
			if err != nil {
				if !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got the error %v, want %q", err, tt.want)
				}
				return
			}
			if tally(r) != tt.want {
				t.Errorf("got %s, want %s", tally(r), tt.want)
			}
			all := contacts(t, conn, schema)
			if int64(len(all)) != r.Inserted {
				t.Errorf("%d contacts, %d inserted", len(all), r.Inserted)
			}
			if tt.row != "" && !slices.Contains(all, tt.row) {
				t.Errorf("%s is not among the contacts; they begin %q", tt.row, all[:min(len(all), 5)])
			}
			if again, err := Import(t.Context(), conn, strings.NewReader(string(data)), tt.o); err != nil || again.Unchanged+
				again.Repeated+again.Rejected != r.Read {
				t.Errorf("the same again: %s, %v", tally(again), err)
			}
		})
	}
}

// What becomes of every file from the wild when nothing is said about it, as a
// table; each row is read, or the reason says what to say.
func TestTableOfFiles(t *testing.T) {
	t.Parallel()
	dir := filepath.Join("..", "..", "..", "..", "shared", "data")
	if _, err := os.Stat(dir); err != nil {
		t.Skipf("contact files from the wild are not here: %v", err)
	}
	conn, schema := crmtest.Tenant(t)
	var table strings.Builder
	row := func(cells ...any) {
		fmt.Fprintf(&table, "%-46v %-6v %-13v %7v %9v %9v  %v\n", cells...)
	}
	row("file", "format", "encoding", "read", "inserted", "rejected", "why")
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !slices.Contains([]string{".csv", ".vcf", ".json"}, filepath.Ext(path)) {
			return err
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		name, _ := filepath.Rel(dir, path)
		r, err := Import(t.Context(), conn, strings.NewReader(string(data)), Options{Schema: schema, DryRun: true})
		var fileErr *tabular.Error
		var mappingErr *MappingError
		switch {
		case errors.As(err, &mappingErr), errors.As(err, &fileErr):
			row(name, "", "", "", "", "", err)
		case err != nil:
			t.Errorf("%s: %v", name, err)
		default:
			why := ""
			for _, c := range r.RejectedByCode {
				why += fmt.Sprintf("%s %d ", c.Code, c.Count)
			}
			row(name, r.Plan.Format.Kind, r.Plan.Format.Encoding, r.Read, r.Inserted, r.Rejected, why)
			if r.Inserted+r.Updated+r.Unchanged+r.Repeated+r.Rejected != r.Read {
				t.Errorf("%s: the rows do not add up: %s", name, tally(r))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("\n%s", table.String())
}

// The sample that comes with the project: what the README and the demo promise
// of it.
func TestSample(t *testing.T) {
	t.Parallel()
	file := readFile(t, filepath.Join("..", "..", "..", "testdata", "contacts", "sample.csv"))
	conn, schema := crmtest.Tenant(t)
	o := Options{Schema: schema, Null: []string{"(none)"}}
	r := importText(t, conn, file, o)
	want := "read 200 inserted 193 updated 0 unchanged 0 rejected 5 repeated 2, 2 blank [{bad_email 2} {bad_quotes 1} " +
		"{empty_contact 1} {too_many_columns 1}]"
	if got := fmt.Sprintf("%s, %d blank %v", tally(r), r.Blank, r.RejectedByCode); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	again := importText(t, conn, file, o)
	if again.Unchanged+again.Repeated != r.Read-r.Rejected {
		t.Errorf("the same again: %s", tally(again))
	}
}
