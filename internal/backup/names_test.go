package backup

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"

	"time"

	"github.com/crmctl/crmctl/internal/anonymize"
)

func TestNames(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 24, 9, 15, 0, 0, time.UTC)
	for want, n := range map[string]Name{
		"acme-corp-20261124T091500Z-v4.crmctl": {Slug: "acme-corp", TakenAt: at, Version: 4,
			Format: FormatContainer},
		"acme-20261124T091500Z-v4.crmctl.age": {Slug: "acme", TakenAt: at, Version: 4, Format: FormatContainer,
			Encrypted: true},
		"acme-20261124T091500Z-v20261124091500.dump": {Slug: "acme", TakenAt: at, Version: 20261124091500,
			Format: FormatPgDump},
		"_registry-20261124T091500Z-v6.crmctl": {TakenAt: at, Version: 6, Format: FormatContainer},
		"a-20200101T000000Z-v1-20261124T091500Z-v4.crmctl": {Slug: "a-20200101T000000Z-v1", TakenAt: at, Version: 4,
			Format: FormatContainer},
		"información-20261124T091500Z-v4.crmctl": {Slug: "información", TakenAt: at, Version: 4,
			Format: FormatContainer},
	} {
		if n.String() != want {
			t.Errorf("%+v is %s, want %s", n, n, want)
		}
		if got, ok := ParseName(want); !ok || got != n {
			t.Errorf("%s is read as %+v, %t", want, got, ok)
		}
	}
	for _, other := range []string{
		"", "notes.txt", "acme.crmctl", "acme-20261124-v4.crmctl", "acme-20261324T091500Z-v4.crmctl",
		"acme-20261124T091500Z-v04.crmctl",
		"../acme-20261124T091500Z-v4.crmctl", "a/b-20261124T091500Z-v4.crmctl", "-20261124T091500Z-v4.crmctl",
		"a_b-20261124T091500Z-v4.crmctl",
		".crmctl-abc.tmp", "acme-20261124T091500Z-v99999999999999999999.crmctl",
	} {
		if got, ok := ParseName(other); ok {
			t.Errorf("%q is read as %+v", other, got)
		}
	}
}

func FuzzParseName(f *testing.F) {
	f.Add("acme-20261124T091500Z-v4.crmctl.age")
	f.Fuzz(func(t *testing.T, file string) {
		n, ok := ParseName(file)
		if ok && (n.String() != file || strings.ContainsAny(file, "/\\\x00")) {
			t.Errorf("%q is read as %+v", file, n)
		}
	})
}

func TestPlanPrune(t *testing.T) {
	t.Parallel()
	var entries []Entry
	add := func(slug, at string, err error) {
		taken, parseErr := time.Parse("2006-01-02 15", at)
		if parseErr != nil {
			t.Fatal(parseErr)
		}
		n := Name{Slug: slug, TakenAt: taken, Format: FormatContainer}
		entries = append(entries, Entry{File: n.String(), Name: n, Err: err})
	}
	// Newest first, as List gives them.
	add("acme", "2026-11-24 20", errors.New("cut"))
	add("acme", "2026-11-24 12", nil)
	add("acme", "2026-11-24 03", nil)
	add("acme", "2026-11-22 03", nil) // Sunday
	add("acme", "2026-11-21 03", nil)
	add("acme", "2026-11-14 03", nil)
	add("acme", "2026-10-31 03", nil)
	add("acme", "2026-10-30 03", nil)
	add("acme", "2025-01-01 03", nil)
	add("globex", "2019-01-01 00", nil)
	add("hooli", "2026-11-24 00", errors.New("cut"))
	add("hooli", "2018-01-01 00", nil)
	for keep, want := range map[string][]string{
		"2d": {"acme 2026-11-24 12", "acme 2026-11-22 03", "globex 2019-01-01 00", "hooli 2018-01-01 00"},
		"1w": {"acme 2026-11-24 12", "globex 2019-01-01 00", "hooli 2018-01-01 00"},
		"3w": {"acme 2026-11-24 12", "acme 2026-11-22 03", "acme 2026-11-14 03", "globex 2019-01-01 00",
			"hooli 2018-01-01 00"},
		"1d,2m,2y": {"acme 2026-11-24 12", "acme 2026-10-31 03", "acme 2025-01-01 03", "globex 2019-01-01 00",
			"hooli 2018-01-01 00"},
	} {
		k, err := ParseKeep(keep)
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, p := range planPrune(entries, k) {
			switch {
			case p.Err != nil && p.Remove:
				t.Errorf("%s: the damaged %s goes", keep, p.File)
			case p.Err == nil && !p.Remove:
				got = append(got, p.Name.Slug+" "+p.Name.TakenAt.Format("2006-01-02 15"))
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s keeps %v, want %v", keep, got, want)
		}
	}
	for _, bad := range []string{"", "7", "d", "7x", "-1d", "0d", "1d,1d", "1d,,2w", "1.5d"} {
		if k, err := ParseKeep(bad); err == nil {
			t.Errorf("%q is read as %v", bad, k)
		}
	}
}

func TestWithoutPassword(t *testing.T) {
	t.Parallel()
	for dsn, want := range map[string]string{
		"postgres://user:secret@host:5432/db?sslmode=require":          "postgres://user@host:5432/db?sslmode=require",
		"postgres://user:s%40cret@host/db?password=secret&a=b":         "postgres://user@host/db?a=b",
		"postgresql://user@host/db?sslmode=disable&sslpassword=secret": "postgresql://user@host/db?sslmode=disable",
		"postgres:///db?host=/run&password=secret":                     "postgres:///db?host=/run",
		"host=db1 password=secret dbname=crm":                          "host=db1  dbname=crm",
		`host=db1 password = 'se cr\'et' dbname=crm`:                   "host=db1  dbname=crm",
		"service=crm": "service=crm",
		"":            "",
	} {
		if got := WithoutPassword(dsn); got != want {
			t.Errorf("%s becomes %s, want %s", dsn, got, want)
		}
	}
}

// What the anonymizer leaves unchanged is the same afterwards, however it is
// cut into pieces, and a fake never has the text it stands for.
func FuzzAnonymizer(f *testing.F) {
	f.Add([]byte("a\tb\\c\n"), uint8(3))
	f.Add([]byte(`\N`), uint8(1))
	f.Fuzz(func(t *testing.T, value []byte, cut uint8) {
		field := escape(nil, value)
		if bytes.ContainsAny(field, "\t\n") {
			t.Fatalf("%q is no field", field)
		}
		if got := unescape(nil, field); !bytes.Equal(got, value) {
			t.Errorf("%q comes back as %q", value, got)
		}
		row := append(append(append(bytes.Clone(field), '\t'), field...), '\n')
		var out bytes.Buffer
		d := &anonymizingWriter{out: &out, d: anonymize.New("seed"), rules: []anonymize.Rule{nil,
			(*anonymize.Values).Guess}}
		for rest := row; len(rest) > 0; {
			n := min(len(rest), int(cut)+1)
			if _, err := d.Write(rest[:n]); err != nil {
				t.Fatal(err)
			}
			rest = rest[n:]
		}
		got := bytes.Split(bytes.TrimSuffix(out.Bytes(), []byte("\n")), []byte("\t"))
		if len(got) != 2 || !bytes.Equal(got[0], field) {
			t.Fatalf("%q becomes %q", row, out.Bytes())
		}
		if len(bytes.TrimSpace(value)) > 4 && bytes.Contains(bytes.ToLower(got[1]), bytes.ToLower(bytes.TrimSpace(value))) &&
			!strings.Contains("@example.com", string(bytes.TrimSpace(value))) {
			t.Errorf("%q becomes %q", value, got[1])
		}
	})
}
