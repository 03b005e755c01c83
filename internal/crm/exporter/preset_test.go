package exporter_test

import (
	"bytes"
	"encoding/csv"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/crm/exporter"
	"github.com/crmctl/crmctl/internal/crm/importer"
)

// A file for another program has the columns of that program, nothing that a spreadsheet
// computes, and comes back as far as it goes.
func TestPresets(t *testing.T) {
	t.Parallel()
	from, schema := crmtest.Tenant(t)
	crmtest.Exec(t, from, schema, `insert into contacts (email, phone, name, company, metadata) values
		('ada@example.com', '+491711234567', 'Ada King Lovelace', 'Engines, Ltd', '{"emails": [
			{"value": "ada@example.com", "type": "work"}, {"value": "ada@home.example", "type": "home"}, {"value": "3@x.example"},
			{"value": "4@x.example"}], "phones": [{"value": "+4930123", "type": "mobile"}]}'),
		('x@example.com', '+1+cmd|''!A0', null, null, '{}'), (null, '+493012345', E'=cmd|''/C calc''!A0', null, '{"emails": "no list"}'),
		('rtl@example.com', null, E'\u202e\u05d0\u05d1 "q"\n,;', '@SUM(A1)', '{"first_name": "Given", "last_name": "-Family"}')`)
	want := map[exporter.Preset][][]string{
		exporter.PresetGoogle: {
			{"First Name", "Last Name", "Organization Name", "E-mail 1 - Label", "E-mail 1 - Value", "E-mail 2 - Label",
				"E-mail 2 - Value", "E-mail 3 - Label", "E-mail 3 - Value", "Phone 1 - Label", "Phone 1 - Value",
				"Phone 2 - Label", "Phone 2 - Value", "Phone 3 - Label", "Phone 3 - Value", "Phone 4 - Label",
				"Phone 4 - Value"},
			{"", "", "", "", "x@example.com", "", "", "", "", "", "'+1+cmd|'!A0", "", "", "", "", "", ""},
			{"'=cmd|'/C", "calc'!A0", "", "", "", "", "", "", "", "", "+493012345", "", "", "", "", "", ""},
			{"Ada King", "Lovelace", "Engines, Ltd", "work", "ada@example.com", "home", "ada@home.example", "", "3@x.example",
				"", "+491711234567", "mobile", "+4930123", "", "", "", ""},
			{"Given", "'-Family", "'@SUM(A1)", "", "rtl@example.com", "", "", "", "", "", "", "", "", "", "", "", ""},
		},
		exporter.PresetOutlook: {
			{"First Name", "Last Name", "Company", "E-mail Address", "E-mail 2 Address", "E-mail 3 Address", "Primary Phone",
				"Mobile Phone", "Business Phone", "Home Phone"},
			{"", "", "", "x@example.com", "", "", "'+1+cmd|'!A0", "", "", ""},
			{"'=cmd|'/C", "calc'!A0", "", "", "", "", "+493012345", "", "", ""},
			{"Ada King", "Lovelace", "Engines, Ltd", "ada@example.com", "ada@home.example", "3@x.example", "+491711234567",
				"+4930123", "", ""},
			{"Given", "'-Family", "'@SUM(A1)", "rtl@example.com", "", "", "", "", "", ""},
		},
	}
	for _, preset := range exporter.Presets() {
		file := export(t, from, schema, exporter.Options{Format: exporter.CSV, Preset: preset})
		rows, err := csv.NewReader(bytes.NewReader(file)).ReadAll()
		if err != nil {
			t.Fatalf("%s: %v", preset, err)
		}
		slices.SortFunc(rows[1:], slices.Compare)
		if fmt.Sprint(rows) != fmt.Sprint(want[preset]) {
			t.Errorf("%s:\n%q\nwant\n%q", preset, rows, want[preset])
		}
		// Read as that program's file, with nobody's help.
		to, schema := crmtest.Tenant(t)
		load(t, to, schema, file, importer.Options{})
		got := crmtest.List(t, to, schema, `select coalesce(email, '-'), coalesce(phone, '-'), coalesce(name, ''), coalesce(company, '-'),
			coalesce((select string_agg(e ->> 'value', ' ') from jsonb_array_elements(metadata -> 'emails') e), '-'),
			coalesce(metadata ->> 'Phone 1 - Value', metadata ->> 'Primary Phone', '-') from contacts order by 1, 2`)
		wanted := []string{"-|+493012345|'=cmd|'/C calc'!A0|-|-|-",
			"ada@example.com|+491711234567|Ada King Lovelace|Engines, Ltd|ada@example.com ada@home.example 3@x.example|-",
			"rtl@example.com|-|Given '-Family|'@SUM(A1)|-|-", "x@example.com|-||-|-|'+1+cmd|'!A0"}
		crmtest.SameLines(t, string(preset), got, wanted)
	}
	crmtest.Exec(t, from, schema, "alter table contacts rename to kept", "create table contacts (id int, code text)")
	if _, err := try(t, from, schema, exporter.Options{Table: exporter.Contacts, Format: exporter.CSV,
		Preset: exporter.PresetGoogle}); err == nil || !strings.Contains(err.Error(), "no column email, phone or name") {
		t.Errorf("a table of nobody: %v", err)
	}
}

// Of times the day stays, unless their column is kept; so does what nobody knows.
func TestKeptColumns(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, `insert into contacts (email, created_at, updated_at) values
		('a@example.com', '2026-11-23 23:59:59.999999+00', '1999-12-31 23:59:59.999999+00'),
		('b@example.com', '0044-03-15 12:00:00+00 BC', 'infinity'),
		('c@example.com', '2026-11-23 00:00:00+00', '-infinity')`)
	read := func(keep ...string) string {
		t.Helper()
		text, err := try(t, conn, schema, exporter.Options{Table: exporter.Contacts, Format: exporter.CSV,
			Anonymize: exporter.NewAnonymizer("seed", nil, keep)})
		if err != nil {
			t.Fatal(err)
		}
		rows, err := csv.NewReader(strings.NewReader(text)).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		var out []string
		for _, r := range rows[1:] {
			out = append(out, r[len(r)-2]+" "+r[len(r)-1])
		}
		return strings.Join(out, "\n")
	}
	const days = "2026-11-23T00:00:00Z 1999-12-31T00:00:00Z\n-0043-03-15T00:00:00Z infinity\n2026-11-23T00:00:00Z -infinity"
	if got := read(); got != days {
		t.Errorf("%s\nwant\n%s", got, days)
	}
	const exact = "2026-11-23T23:59:59.999999Z 1999-12-31T00:00:00Z\n-0043-03-15T12:00:00Z infinity\n" +
		"2026-11-23T00:00:00Z -infinity"
	if got := read("created_at"); got != exact {
		t.Errorf("%s\nwant\n%s", got, exact)
	}
	// What is kept is told, and has to be there.
	own := func(keep ...string) (*exporter.Anonymized, string, error) {
		t.Helper()
		var b bytes.Buffer
		source := exporter.Source{Slug: "acme", Schema: schema}
		e, err := exporter.New(t.Context(), conn, &b, []exporter.Source{source}, exporter.Options{Table: exporter.Contacts,
			Format: exporter.CSV, Anonymize: exporter.NewAnonymizer("seed", nil, keep)})
		if err != nil {
			return nil, "", err
		}
		_, err = e.Tenant(t.Context(), conn, source)
		return e.Anonymized(), b.String(), errors.Join(err, e.End())
	}
	if _, _, err := own("created_at", "nothing"); err == nil ||
		!strings.Contains(err.Error(), "table contacts has no column nothing to keep") {
		t.Errorf("%v", err)
	}
	crmtest.Exec(t, conn, schema, "drop table messages, conversations, contacts", `create table contacts (id int, email text,
		born date, score numeric, seen timestamp, code char(3))`,
		`insert into contacts values (1, 'ada@example.com', '1815-12-10', 1.5, '2026-11-23 10:11:12.5', 'x'),
			(2, null, null, null, '0044-03-15 12:00:00 BC', null), (3, null, null, null, 'infinity', null)`)
	if _, _, err := own("score"); !errors.Is(err, exporter.ErrUnknownColumns) || !strings.HasSuffix(err.Error(), ": born") {
		t.Errorf("%v", err)
	}
	told, _, err := own("score", "born")
	if err != nil || strings.Join(told.Kept, " ") != "id born score" || strings.Join(told.Days, " ") != "seen" ||
		strings.Join(told.Replaced, " ") != "email code" {
		t.Errorf("%+v, %v", told, err)
	}
	text, err := try(t, conn, schema, exporter.Options{Table: exporter.Contacts, Format: exporter.CSV,
		Anonymize: exporter.NewAnonymizer("seed", nil, []string{"score", "born", "email", "code"})})
	const want = "id,email,born,score,seen,code\n1,ada@example.com,1815-12-10,1.5,2026-11-23 00:00:00,x\n" +
		"2,,,,0044-03-15 00:00:00 BC,\n3,,,,infinity,\n"
	if err != nil || text != want {
		t.Errorf("%v\n%s", err, text)
	}
}

// A sheet has so many rows: one more is told before anything is written, whichever tenant
// has it.
func TestSheetIsFull(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, "drop table messages, conversations, contacts", "create table contacts (id int, email text)",
		fmt.Sprintf("insert into contacts (id) select g from generate_series(1, %d) g", exporter.MaxSheetRows+1))
	source := exporter.Source{Slug: "acme", Schema: schema}
	var b bytes.Buffer
	measure := func(limit int64) (*exporter.Export, error) {
		t.Helper()
		e, err := exporter.New(t.Context(), conn, &b, []exporter.Source{source}, exporter.Options{Table: exporter.Contacts,
			Format: exporter.XLSX, Filter: exporter.Filter{Limit: limit}})
		if err != nil {
			t.Fatal(err)
		}
		_, err = e.Measure(t.Context(), conn, source)
		return e, err
	}
	full := func(err error) {
		t.Helper()
		if e, ok := errors.AsType[*exporter.SheetError](err); !ok || e.Rows != 1<<20 ||
			e.Error() != "a sheet has 1048575 rows beside its header, and there are 1048576" {
			t.Errorf("%v", err)
		}
	}
	_, err := measure(0)
	full(err)
	if _, err := measure(exporter.MaxSheetRows); err != nil {
		t.Errorf("as many as there is room for: %v", err)
	}
	e, err := measure(1 << 19)
	if err != nil {
		t.Fatal(err)
	}
	_, err = e.Measure(t.Context(), conn, source) // the other half
	full(err)
	if b.Len() > 0 {
		t.Errorf("%d bytes are written", b.Len())
	}
}

// Messages and conversations of hostile texts, and of 10 MB, are what they were.
func TestHostileMessages(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, `insert into contacts (id, email) values
		('00000000-0000-0000-0000-000000000001', 'ada@example.com')`,
		`insert into conversations (id, contact_id, channel, subject) values ('00000000-0000-0000-0000-00000000000a',
		'00000000-0000-0000-0000-000000000001', 'email', E'=HYPERLINK("http://x","\u202eok")\r\n')`)
	texts := append(slices.Clone(pieces), strings.Join(pieces, ""), "\u202e"+strings.Repeat("=Ä\n\"\\,😀", 900_000))
	for i, text := range texts {
		if _, err := conn.Exec(t.Context(), "insert into "+schema.Quoted()+`.messages (conversation_id, direction, sender,
			content) values ('00000000-0000-0000-0000-00000000000a', 'inbound', $1, $2)`, fmt.Sprint(i), text); err != nil {
			t.Fatal(err)
		}
	}
	for _, format := range exporter.Formats(exporter.Messages) {
		t.Run(string(format), func(t *testing.T) {
			conn := crmtest.Connect(t, conn.Config().ConnString())
			found := cells(t, export(t, conn, schema, exporter.Options{Table: exporter.Messages, Format: format}), format)
			for i, text := range texts {
				if got := found["content"][i]; got != text || found["sender"][i] != fmt.Sprint(i) {
					t.Errorf("%.80q of %d bytes, want %.80q of %d", got, len(got), text, len(text))
				}
			}
			talk := cells(t, export(t, conn, schema, exporter.Options{Table: exporter.Conversations, Format: format}), format)
			if got := talk["subject"][0]; got != "=HYPERLINK(\"http://x\",\"\u202eok\")\r\n" {
				t.Errorf("%q", got)
			}
		})
	}
}
