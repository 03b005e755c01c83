package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/tabular"
)

const dirtyRows = `Titles that nobody needs;;
Name;E-Mail;Phone
Ada;ada@example.com;1
Bob;bob at example;"2;2"
Cyd;cyd@example.com;3;4
Dan;"dan@example.com" x;5
Eve;eve@example.com
"Fay;fay@example.com;6
Gus;gus@example.com;7
Hal;;
;;
` + "Ida;i\xE9da@example.com;9\nJ\x00o;jo@example.com;10\n" + ";;\"\"\n" + `Kim;kim@nowhere;11
`

const dirtyRejects = "\uFEFF" + `Name;E-Mail;Phone;_line;_column;_code;_message
Bob;bob at example;"2;2";4;E-Mail;bad_email;"""bob at example"" is not an e-mail address"
Cyd;cyd@example.com;3;4;5;;too_many_columns;4 columns where the header has 3
Dan;"dan@example.com" x;5;6;E-Mail;bad_quotes;text follows a closing quote
"Fay;fay@example.com;6;8;Name;unterminated_quote;a quote is never closed
` + "Ida;i\xE9da@example.com;9;12;E-Mail;not_utf8;it is not valid text in the file's " +
	"encoding\nJ\x00o;jo@example.com;10;13;Name;nul_byte;it holds a NUL\n" +
	`Kim;kim@nowhere;11;15;E-Mail;bad_email;"""kim@nowhere"" is not an e-mail address"
`

func TestRejectFile(t *testing.T) {
	t.Parallel()
	for name, directFrom := range paths {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			path := filepath.Join(t.TempDir(), "leads.rejected.csv")
			o := Options{Schema: schema, RejectPath: path, Encoding: "utf-8", directFrom: directFrom}
			r := importText(t, conn, dirtyRows, o)
			if got, want := tally(r), "read 11 inserted 4 updated 0 unchanged 0 rejected 7"; got != want || r.Blank != 2 {
				t.Errorf("got %s, %d blank; want %s, 2 blank", got, r.Blank, want)
			}
			if got, want := fmt.Sprint(r.RejectedByCode),
				"[{bad_email 2} {bad_quotes 1} {not_utf8 1} {nul_byte 1} {too_many_columns 1} {unterminated_quote 1}]"; got != want {
				t.Errorf("by code: got %s, want %s", got, want)
			}
			crmtest.SameLines(t, "reject file", strings.Split(readFile(t, r.RejectFile), "\n"),
				strings.Split(dirtyRejects, "\n"))
			if info, err := os.Stat(path); err != nil || runtime.GOOS != "windows" && info.Mode().Perm() != 0o600 {
				t.Errorf("mode %v, error %v; want 0600", info.Mode(), err)
			}
			crmtest.SameLines(t, "contacts", crmtest.List(t, conn, schema,
				"select email, name, phone from contacts order by name"),
				[]string{"ada@example.com|Ada|1", "eve@example.com|Eve|", "gus@example.com|Gus|7", "|Hal|"})

			// As it is, the reject file is rejected again, with its four columns
			// made anew; the first file stays.
			again := importText(t, conn, dirtyRejects, o)
			if again.Rejected != 7 || again.Read != 7 {
				t.Errorf("the reject file, not mended: %s", tally(again))
			}
			if want := filepath.Join(filepath.Dir(path), "leads.rejected-2.csv"); again.RejectFile != want {
				t.Errorf("the second reject file is %s, want %s", again.RejectFile, want)
			}
			if head, _, _ := strings.Cut(readFile(t, again.RejectFile),
				"\n"); head != "\uFEFFName;E-Mail;Phone;_line;_column;_code;_message" {
				t.Errorf("the second reject file begins %q", head)
			}
			if left, _ := filepath.Glob(filepath.Join(filepath.Dir(path), ".*")); len(left) > 0 {
				t.Errorf("left behind: %v", left)
			}

			mended := strings.NewReplacer(
				"bob at example", "bob@example.com", ";3;4;5;", ";3;5;", `"dan@example.com" x`, "dan@example.com", `"Fay`, "Fay",
				"i\xE9da", "ida", "J\x00o", "Jo", "kim@nowhere;", "kim@nowhere.org;",
			).Replace(dirtyRejects)
			r = importText(t, conn, mended, o)
			if got, want := tally(r), "read 7 inserted 7 updated 0 unchanged 0 rejected 0"; got != want || r.RejectFile != "" {
				t.Errorf("mended: got %s and file %q, want %s and none", got, r.RejectFile, want)
			}
			if got := crmtest.List(t, conn, schema, "select count(*), count(*) filter (where metadata <> '{}') from "+
				"contacts"); got[0] != "11|0" {
				t.Errorf("contacts and those with metadata: got %s, want 11|0", got[0])
			}
		})
	}
}

// Rows over the limit must not come back looking whole.
func TestRejectFileOfLongRows(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	path := filepath.Join(t.TempDir(), "r.csv")
	o := Options{Schema: schema, RejectPath: path}
	o.Limits.Cell, o.Limits.Row = 2000, 8000
	file := "email,name\na@example.com,A\nb@example.com," + strings.Repeat("long ", 10_000) + "\nc@example.com," +
		strings.Repeat("b", 3000) + "\nd@example.com,D\n"
	r := importText(t, conn, file, o)
	if got, want := fmt.Sprint(tally(r), r.RejectedByCode),
		"read 4 inserted 2 updated 0 unchanged 0 rejected 2[{cell_too_long 1} {row_too_long 1}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	lines := strings.Split(readFile(t, path), "\n")
	if want := `,,3,,row_too_long,"it is longer than 8000 bytes; it begins ""b@example.com,long long`; !strings.HasPrefix(lines[1], want) {
		t.Errorf("got %q, want it to begin %q", lines[1], want)
	}
	again := importText(t, conn, readFile(t, path), o)
	if again.Rejected != 2 {
		t.Errorf("the reject file again: %s", tally(again))
	}
}

func TestRejectedConflicts(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, "insert into contacts (email, name) values ('old@example.com', 'Old')")
	path := filepath.Join(t.TempDir(), "r.csv")
	const file = "email,name,city\nnew@example.com,New\nOLD@example.com,\"Old, " +
		"again\",Rome\nnew@example.com,Newer,Oslo\nold@example.com,,\n"
	r := importText(t, conn, file, Options{Schema: schema, RejectPath: path, OnConflict: ConflictError})
	if got, want := fmt.Sprint(tally(r), r.RejectedByCode),
		"read 4 inserted 1 updated 0 unchanged 0 rejected 3[{duplicate_email 2} {email_exists 1}]"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	crmtest.SameLines(t, "reject file", strings.Split(readFile(t, path), "\n"), []string{
		"\uFEFFemail,name,city,_line,_column,_code,_message",
		`OLD@example.com,"Old, again",Rome,3,email,email_exists,a contact has the e-mail address old@example.com`,
		`new@example.com,Newer,Oslo,4,email,duplicate_email,an earlier row has the e-mail address new@example.com`,
		`old@example.com,,,5,email,duplicate_email,an earlier row has the e-mail address old@example.com`,
		"",
	})
	crmtest.SameLines(t, "contacts", crmtest.List(t, conn, schema, "select email, name from contacts order by 1"),
		[]string{"new@example.com|New", "old@example.com|Old"})
}

func TestMaxRejects(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	const file = "email,name\na@example.com,A\nbad,B\nworse,C\na@example.com,D\n"
	tests := []struct {
		max    int64
		policy ConflictPolicy
		stops  bool
	}{{0, ConflictError, false}, {NoRejects, ConflictUpdate, true}, {1, ConflictUpdate, true}, {2, ConflictUpdate, false},
		{2, ConflictError, true}, {3, ConflictError, false}}
	for _, tt := range tests {
		crmtest.Exec(t, conn, schema, "delete from contacts")
		path := filepath.Join(t.TempDir(), "r.csv")
		_, err := Import(t.Context(), conn, strings.NewReader(file), Options{Schema: schema, OnConflict: tt.policy,
			MaxRejects: tt.max, RejectPath: path})
		var tooMany *TooManyRejectsError
		if errors.As(err, &tooMany) != tt.stops || !tt.stops && err != nil {
			t.Errorf("at most %d with %s: got %v", tt.max, tt.policy, err)
		}
		want := 1
		if tt.stops {
			want = 0
		}
		if n := len(contacts(t, conn, schema)); n != want {
			t.Errorf("at most %d with %s: %d contacts, want %d", tt.max, tt.policy, n, want)
		}
		if !strings.Contains(readFile(t, path), "bad,B,3,email,bad_email,") {
			t.Errorf("at most %d with %s: the reject file lacks its row", tt.max, tt.policy)
		}
	}
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// A reject file is mended row by row and given to the same command each time, whatever that
// says of the header, and whatever was done to the columns. What is not mended yet comes
// back as it was, and its reasons do not pile up.
func TestRejectsAreMendedStepByStep(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		file  string
		o     Options
		mend  [][2]string // in the order of the rounds
		names []string
	}{
		"no header": {
			file: "Ann,ann@ex.org\nBob,bad\nCy,worse\n", o: Options{HeaderRow: tabular.NoHeader,
				Map: []string{"column 1=name", "column 2=email"}},
			mend:  [][2]string{{"Bob,bad,", "Bob,bob@ex.org,"}, {"Cy,worse,", "Cy,cy@ex.org,"}},
			names: []string{"Ann", "Bob", "Cy"},
		},
		"header in line 3": {
			file: "Our list\n\nName;Email\nAnn;ann@ex.org\nBob;bad\n", o: Options{HeaderRow: 3, Delimiter: ";"},
			mend: [][2]string{{"Bob;bad;", "Bob;bob@ex.org;"}}, names: []string{"Ann", "Bob"},
		},
		"another encoding": {
			file: "Name,Email\nJos\xe9,bad\n", o: Options{Encoding: "windows-1252"},
			mend: [][2]string{{",bad,", ",jose@ex.org,"}}, names: []string{"José"},
		},
		"a column added behind": {
			file: "Name,Email\nAnn,bad\nBob,worse\n",
			mend: [][2]string{{"_message", "_message,Checked"}, {"Ann,bad,", "Ann,ann@ex.org,"},
				{"Bob,worse,", "Bob,bob@ex.org,"}}, names: []string{"Ann", "Bob"},
		},
		"quotes": {
			file: "Name,Email\n\"Ann\" A,ann@ex.org\nBob,bad\n",
			mend: [][2]string{{"Bob,bad,", "Bob,bob@ex.org,"}, {"\"Ann\" A,", "Ann,"}}, names: []string{"Ann", "Bob"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			o := tt.o
			o.Schema = schema
			text := tt.file
			dir := t.TempDir()
			for round := 0; ; round++ {
				o.RejectPath = filepath.Join(dir, fmt.Sprintf("r%d.csv", round))
				r := importText(t, conn, text, o)
				if round == len(tt.mend) {
					if r.Rejected != 0 {
						t.Errorf("at the end %s %v", tally(r), r.RejectedByCode)
					}
					break
				}
				text = readFile(t, r.RejectFile)
				if n := strings.Count(text, "_line"); n != 1 {
					t.Errorf("round %d: the header has _line %d times:\n%s", round, n, text)
				}
				if !strings.Contains(text, tt.mend[round][0]) {
					t.Fatalf("round %d: no %q in\n%s", round, tt.mend[round][0], text)
				}
				text = strings.Replace(text, tt.mend[round][0], tt.mend[round][1], 1)
			}
			crmtest.SameLines(t, "names", crmtest.List(t, conn, schema, "select name from contacts order by 1"), tt.names)
			if keys := crmtest.List(t, conn, schema, "select k from contacts, jsonb_object_keys(metadata) k where k like "+
				"'\\_%' or k like 'column%'"); len(keys) > 0 {
				t.Errorf("in the metadata: %q", keys)
			}
		})
	}
}

// Rejected rows can go to a writer: all of them when the import is done, none when
// nothing was kept.
func TestRejectsToAWriter(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	var out bytes.Buffer
	importText(t, conn, "Name,Email\nAnn,bad\n", Options{Schema: schema, RejectTo: &out})
	if want := "\uFEFFName,Email,_line,_column,_code,_message\nAnn,bad,2,Email,bad_email,"; !strings.HasPrefix(out.String(), want) {
		t.Errorf("got %q", out.String())
	}
	out.Reset()
	refuse := func(context.Context, db.Querier, Result) error { return errors.New("no") }
	if _, err := Import(t.Context(), conn, strings.NewReader("Name,Email\nAnn,bad\n"),
		Options{Schema: schema, RejectTo: &out, AfterLoad: refuse}); err == nil || out.Len() != 0 {
		t.Errorf("%v, and %q", err, out.String())
	}
}

// Where nobody knows what became of the commit, the writer gets the rejected rows, since
// the others may be kept.
func TestRejectsToAWriterWhereTheCommitIsUnknown(t *testing.T) {
	t.Parallel()
	direct, schema := crmtest.Tenant(t)
	proxy := pgtest.NewProxy(t, connString(direct), 0)
	conn := crmtest.Connect(t, proxy.DSN)
	proxy.CutAfter("\x0bcommit\x00", 1)
	proxy.RefuseAfterCut()
	var out bytes.Buffer
	_, err := Import(t.Context(), conn, strings.NewReader("Name,Email\nAnn,bad\nBob,bob@ex.org\n"),
		Options{Schema: schema, RejectTo: &out})
	if !errors.Is(err, db.ErrCommitUnknown) || len(contacts(t, direct, schema)) != 1 {
		t.Fatalf("got %v, want %v, and %d contacts, want 1", err, db.ErrCommitUnknown, len(contacts(t, direct, schema)))
	}
	if !strings.Contains(out.String(), "\nAnn,bad,2,Email,bad_email,") {
		t.Errorf("got %q", out.String())
	}
}
