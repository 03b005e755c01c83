package cli

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"go.yaml.in/yaml/v3"
)

// guest is a row as the commands have them.
type guest struct {
	slug    string
	status  string
	size    int64
	took    time.Duration
	created time.Time
	name    string
	note    string
}

type guestRecord struct {
	Tenant    string    `json:"tenant"`
	SizeBytes int64     `json:"size_bytes"`
	CreatedAt time.Time `json:"created_at"`
	Name      string    `json:"name"`
}

func guestList() List[guest] {
	return List[guest]{
		Plural: "tenants",
		Empty:  "no tenants",
		Name:   func(g guest) string { return g.slug },
		Record: func(g guest) any { return guestRecord{g.slug, g.size, g.created.UTC(), g.name} },
		Footer: func() string { return "3 tenants" },
		Columns: []Column[guest]{
			{Name: "tenant", Value: func(g guest) any { return g.slug }},
			{Name: "status", Value: func(g guest) any {
				if g.status == "deleted" {
					return Styled{g.status, Red}
				}
				return g.status
			}},
			{Name: "size_bytes", Title: "SIZE", Right: true, Value: func(g guest) any { return ByteSize(g.size) }},
			{Name: "seconds", Title: "TOOK", Right: true, Wide: true, Value: func(g guest) any { return g.took }},
			{Name: "created_at", Title: "CREATED", Value: func(g guest) any { return Day(g.created) }},
			{Name: "display_name", Value: func(g guest) any { return g.name }},
			{Name: "note", Blank: true, Value: func(g guest) any { return g.note }},
		},
	}
}

func guests() []guest {
	berlin := time.FixedZone("CET", 3600)
	return []guest{
		{"acme-corp", "active", 1_204_331_008, 18 * time.Millisecond, time.Date(2026, 3, 1, 0, 30, 0, 0, berlin),
			"Acme Corp.", ""},
		{"globex", "suspended", 310_400_000, 200 * time.Second, time.Date(2026, 3, 14, 12, 0, 0, 0, berlin),
			"東京 \x1b[31mGlobex\u202e", ""},
		{"old-customer", "deleted", 96_000_000, 0, time.Date(2025, 11, 2, 12, 0, 0, 0, berlin), "=Old\tCustomer",
			"purged after 2026-12-20"},
	}
}

// papers hold what a printer wrote.
type papers struct{ out, err bytes.Buffer }

func newPrinter(b *papers, format string) *Printer {
	return &Printer{
		Out: &b.out, ErrOut: &b.err, Format: format, Width: 100, Unicode: true,
		Show: Presentation{Loc: time.UTC, Now: time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)},
	}
}

func TestListFormats(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		format string
		change func(p *Printer)
		want   string
	}{
		{"table", "table", func(p *Printer) { p.Terminal = true }, `TENANT        STATUS       SIZE  CREATED     DISPLAY NAME
acme-corp     active     1.2 GB  2026-02-28  Acme Corp.
globex        suspended  310 MB  2026-03-14  東京 \x1b[31mGlobex\u202e
old-customer  deleted     96 MB  2025-11-02  =Old\tCustomer             purged after 2026-12-20

3 tenants
`},
		{"wide", "wide", func(p *Printer) { p.Terminal = true },
			`TENANT        STATUS       SIZE   TOOK  CREATED     DISPLAY NAME
acme-corp     active     1.2 GB  18 ms  2026-02-28  Acme Corp.
globex        suspended  310 MB  3m20s  2026-03-14  東京 \x1b[31mGlobex\u202e
old-customer  deleted     96 MB    0 s  2025-11-02  =Old\tCustomer             purged after 2026-12-20

3 tenants
`},
		{"narrow", "table", func(p *Printer) { p.Terminal, p.Width = true, 76 },
			`TENANT        STATUS       SIZE  CREATED     DISPLAY NAME
acme-corp     active     1.2 GB  2026-02-28  Acme Corp.
globex        suspended  310 MB  2026-03-14  東京 \x1b[31m…
old-customer  deleted     96 MB  2025-11-02  =Old\tCustomer  purged after 2…
`, // the footer is left out below
		},
		{"colour", "table", func(p *Printer) { p.Terminal, p.Painter = true, Painter{On: true} }, "" +
			"TENANT        STATUS       SIZE  CREATED     DISPLAY NAME\n" +
			"acme-corp     active     1.2 GB  2026-02-28  Acme Corp.\n" +
			"globex        suspended  310 MB  2026-03-14  東京 \\x1b[31mGlobex\\u202e\n" +
			"old-customer  \x1b[31mdeleted\x1b[0m     96 MB  2025-11-02  =Old\\tCustomer             purged after 2026-12-20\n"},
		{"piped", "table", nil, "TENANT\tSTATUS\tSIZE\tCREATED\tDISPLAY NAME\tNOTE\n" +
			"acme-corp\tactive\t1204331008\t2026-02-28T23:30:00Z\tAcme Corp.\t\n" +
			"globex\tsuspended\t310400000\t2026-03-14T11:00:00Z\t東京 \\x1b[31mGlobex\\u202e\t\n" +
			"old-customer\tdeleted\t96000000\t2025-11-02T11:00:00Z\t=Old\\tCustomer\tpurged after 2026-12-20\n"},
		{"csv", "csv", nil, "tenant,status,size_bytes,seconds,created_at,display_name,note\n" +
			"acme-corp,active,1204331008,0.018,2026-02-28T23:30:00Z,Acme Corp.,\n" +
			"globex,suspended,310400000,200,2026-03-14T11:00:00Z,東京 \x1b[31mGlobex\u202e,\n" +
			"old-customer,deleted,96000000,0,2025-11-02T11:00:00Z,'=Old\tCustomer,purged after 2026-12-20\n"},
		{"ndjson", "ndjson", nil, `{"tenant":"acme-corp","size_bytes":1204331008,"created_at":"2026-02-28T23:30:00Z","name":"Acme Corp."}
{"tenant":"globex","size_bytes":310400000,"created_at":"2026-03-14T11:00:00Z","name":"東京 \u001b[31mGlobex\u202e"}
{"tenant":"old-customer","size_bytes":96000000,"created_at":"2025-11-02T11:00:00Z","name":"=Old\tCustomer"}
`},
		{"quiet", "table", func(p *Printer) { p.Quiet = true }, "acme-corp\nglobex\nold-customer\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := &papers{}
			p := newPrinter(b, tt.format)
			if tt.change != nil {
				tt.change(p)
			}
			l := guestList()
			if !strings.Contains(tt.want, "3 tenants") {
				l.Footer = nil
			}
			if err := PrintList(p, l, guests()); err != nil {
				t.Fatal(err)
			}
			same(t, "stdout", b.out.String(), tt.want)
			same(t, "stderr", b.err.String(), "")
		})
	}
}

// JSON and YAML are the same document, and hold what the rows held.
func TestDocuments(t *testing.T) {
	t.Parallel()
	var texts [2]string
	for i, format := range []string{"json", "yaml"} {
		b := &papers{}
		if err := PrintList(newPrinter(b, format), guestList(), guests()); err != nil {
			t.Fatal(err)
		}
		text := b.out.String()
		if strings.ContainsAny(text, "\x1b\u202e") {
			t.Errorf("%s holds raw escapes:\n%s", format, text)
		}
		var document struct {
			Version int
			Tenants []map[string]any
		}
		unmarshal := yaml.Unmarshal
		if format == "json" {
			unmarshal = json.Unmarshal
		}
		if err := unmarshal([]byte(text), &document); err != nil {
			t.Fatalf("%s: %v\n%s", format, err, text)
		}
		if document.Version != 1 || len(document.Tenants) != 3 || document.Tenants[1]["name"] != "東京 \x1b[31mGlobex\u202e" {
			t.Errorf("%s: %+v", format, document)
		}
		texts[i] = fmt.Sprint(document.Tenants[0]["tenant"], document.Tenants[0]["size_bytes"])
	}
	if !strings.HasPrefix(texts[0], "acme-corp") || !strings.HasPrefix(texts[1], "acme-corp") {
		t.Errorf("%q", texts)
	}
}

func TestEmptyList(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		format   string
		terminal bool
		want     string
	}{
		{"table", true, "TENANT  STATUS  SIZE  CREATED  DISPLAY NAME\n"},
		{"table", false, "TENANT\tSTATUS\tSIZE\tCREATED\tDISPLAY NAME\tNOTE\n"},
		{"csv", false, "tenant,status,size_bytes,seconds,created_at,display_name,note\n"},
		{"json", false, "{\n  \"version\": 1,\n  \"tenants\": []\n}\n"},
		{"yaml", false, "version: 1\ntenants: []\n"},
		{"ndjson", false, ""},
	} {
		b := &papers{}
		p := newPrinter(b, tt.format)
		p.Terminal = tt.terminal
		if err := PrintList(p, guestList(), nil); err != nil {
			t.Fatal(err)
		}
		same(t, tt.format+" stdout", b.out.String(), tt.want)
		same(t, tt.format+" stderr", b.err.String(), "no tenants\n")
	}
}

func TestRowErrorsAreReturned(t *testing.T) {
	t.Parallel()
	lost := errors.New("connection lost")
	for _, format := range []string{"table", "wide", "json", "yaml", "csv", "ndjson"} {
		for _, terminal := range []bool{true, false} {
			p := newPrinter(&papers{}, format)
			p.Terminal = terminal
			err := PrintRows(p, guestList(), func(yield func(guest, error) bool) {
				if yield(guests()[0], nil) {
					yield(guest{}, lost)
				}
			})
			if !errors.Is(err, lost) {
				t.Errorf("%s: got %v", format, err)
			}
		}
	}
}

func TestObjectFormats(t *testing.T) {
	t.Parallel()
	o := Object{
		Kind: "tenant", Name: "acme-corp",
		Record: guestRecord{"acme-corp", 5, time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC), "=Acme"},
		Fields: []Field{{Name: "tenant", Value: "acme-corp"}, {Name: "display_name", Value: "=Acme"},
			{Name: "size_bytes", Value: ByteSize(1500)}, {Name: "role", Value: "r", Wide: true}},
	}
	for _, tt := range []struct {
		format   string
		terminal bool
		want     string
	}{
		{"table", true, "tenant         acme-corp\ndisplay name   =Acme\nsize bytes     1.5 kB\n"},
		{"wide", true, "tenant         acme-corp\ndisplay name   =Acme\nsize bytes     1.5 kB\nrole           r\n"},
		{"table", false, "tenant\tacme-corp\ndisplay_name\t=Acme\nsize_bytes\t1500\n"},
		{"csv", false, "tenant,display_name,size_bytes,role\nacme-corp,'=Acme,1500,r\n"},
		{"json", false, "{\n  \"version\": 1,\n  \"tenant\": {\n    \"tenant\": \"acme-corp\",\n    \"size_bytes\": 5,\n   " +
			" \"created_at\": \"2026-03-01T00:00:00Z\",\n    \"name\": \"=Acme\"\n  }\n}\n"},
		{"yaml", false, "version: 1\ntenant:\n  tenant: acme-corp\n  size_bytes: 5\n  created_at: " +
			"\"2026-03-01T00:00:00Z\"\n  name: =Acme\n"},
		{"ndjson", false, "{\"tenant\":\"acme-corp\",\"size_bytes\":5,\"created_at\":\"2026-03-01T00:00:00Z\",\"name\":\"=Acme\"}\n"},
	} {
		b := &papers{}
		p := newPrinter(b, tt.format)
		p.Terminal = tt.terminal
		if err := PrintObject(p, o); err != nil {
			t.Fatal(err)
		}
		same(t, tt.format, b.out.String(), tt.want)
	}
}

func TestGuardFormula(t *testing.T) {
	t.Parallel()
	for _, s := range []string{"=1+1", "=cmd|' /C calc'!A0", "+cmd()", "-2+3+cmd()", "@SUM(1)", "\tx", "\r=x", "+49=1",
		"-", "+", "--1"} {
		if got := guardFormula(s); got != "'"+s {
			t.Errorf("%q became %q", s, got)
		}
	}
	for _, s := range []string{"", "acme", "+49 30 901820", "+49-30-901820", "+1 (555) 010-9999", "-5", "-5.25", "+.5",
		"1=2", " =x", "a@b"} {
		if got := guardFormula(s); got != s {
			t.Errorf("%q became %q", s, got)
		}
	}
}

func FuzzCSVCell(f *testing.F) {
	f.Add("=cmd()")
	f.Add("a\r\n\"b\"")
	f.Fuzz(func(t *testing.T, s string) {
		var b bytes.Buffer
		w := csv.NewWriter(&b)
		if err := w.WriteAll([][]string{{(&Printer{}).CSVCell(s), "x"}}); err != nil {
			t.Fatal(err)
		}
		row, err := csv.NewReader(&b).Read()
		if err != nil {
			t.Fatal(err)
		}
		if row[0] != "" && strings.ContainsRune("=@\t\r", rune(row[0][0])) {
			t.Errorf("%q is exported as %q", s, row[0])
		}
	})
}

func FuzzVisible(f *testing.F) {
	for _, s := range []string{"plain", "\x1b[31m", "a\tb\nc\r", "\u202eabc", "\xff\xfe", "👩‍👩‍👧",
		"\U000e0001", "\u009b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		got := Visible(s)
		if !utf8.ValidString(got) {
			t.Fatalf("%q became invalid: %q", s, got)
		}
		for _, r := range got {
			if r != utf8.RuneError && Hazardous(r) {
				t.Errorf("%q lets %U through", s, r)
			}
		}
		if again := Visible(got); again != got {
			t.Errorf("%q becomes %q, then %q", s, got, again)
		}
	})
}

// What is printed as JSON or YAML reads back as what it was.
func FuzzEncode(f *testing.F) {
	for _, s := range []string{"plain", "no", "0x1", "\x1b[31m", "\u202e\u009b", "- a: b", "'\"", " x ", "\u2028",
		"\U000e0001", "~", "2026-01-01", "a\nb"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if !utf8.ValidString(s) {
			t.Skip("encoding/json replaces invalid bytes")
		}
		var back struct{ V string }
		text, err := EncodeJSON(map[string]string{"v": s}, "", "  ")
		if err != nil || json.Unmarshal(text, &back) != nil || back.V != s {
			t.Errorf("JSON of %q: %s, %v", s, text, err)
		}
		text, err = encodeYAML(map[string]string{"v": s})
		if err != nil || yaml.Unmarshal(text, &back) != nil || back.V != s {
			t.Errorf("YAML of %q: %s, read as %q, %v", s, text, back.V, err)
		}
		if bytes.ContainsFunc(text, func(r rune) bool { return r != '\n' && r != utf8.RuneError && Hazardous(r) }) {
			t.Errorf("YAML of %q holds raw escapes: %q", s, text)
		}
	})
}

// same compares texts and shows both in full.
func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n--- got\n%s\n--- want\n%s", what, got, want)
	}
}
