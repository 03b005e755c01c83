package exporter_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/crm/exporter"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/db"
)

// export returns the file of a tenant.
func export(t testing.TB, conn *pgx.Conn, schema db.Schema, o exporter.Options) []byte {
	t.Helper()
	var b bytes.Buffer
	if o.Table == "" {
		o.Table = exporter.Contacts
	}
	source := exporter.Source{Slug: "acme", Schema: schema}
	e, err := exporter.New(t.Context(), conn, &b, []exporter.Source{source}, o)
	if err != nil {
		t.Fatal(err)
	}
	if o.Format == exporter.XLSX {
		if _, err := e.Measure(t.Context(), conn, source); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := e.Tenant(t.Context(), conn, source); err != nil {
		t.Fatal(err)
	}
	if err := e.End(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// load imports a file and returns what became of its rows.
func load(t testing.TB, conn *pgx.Conn, schema db.Schema, file []byte, o importer.Options) importer.Result {
	t.Helper()
	o.Schema, o.FileName = schema, "export"
	var rejects bytes.Buffer
	o.RejectTo = &rejects
	result, err := importer.Import(t.Context(), conn, io.NopCloser(bytes.NewReader(file)), o)
	if err != nil {
		t.Fatal(err)
	}
	if result.Rejected > 0 {
		t.Fatalf("%d rows are rejected:\n%s", result.Rejected, rejects.String()[:min(rejects.Len(), 4000)])
	}
	return result
}

// contactsSQL lists everything of the contacts that an import is to bring back.
const contactsSQL = `select coalesce(to_json(email)::text, 'null'), coalesce(to_json(phone)::text, 'null'),
	coalesce(to_json(name)::text, 'null'), coalesce(to_json(company)::text, 'null'), metadata::text, created_at::text
	from contacts order by 1, 2, 3, 4, 5, 6`

// pieces are what values are made of: everything that some format does something about.
var pieces = []string{
	"=1+1", "+49171", "-", "@SUM(A1)", "'", "''=", "\t", "\r", "\n", "\r\n", ",", ";", `"`, `""`, `\`, `\n`, `\,`, "|", ":",
	" ", "  ", "\u00a0", "\u200f", "\u202e", "\u200b", "\ufeff", "Ä", "漢字", "😀", "_x000D_", "_x005F_", "_x", "&amp;", "<b>",
	"]]>", "{", "}", "[", "null", "NULL", `\N`, "\x01", "\x1b[31m", "\x7f", "\u2028", "\uffff", "Ann", "Lee", "0", "007", "1e5",
	"TRUE", "END:VCARD", "BEGIN:VCARD", " ::: ", "=\"0123\"", "＝1", "é", "e\u0301", "#", "%", "N/A", "-infinity", "\v", "\f",
}

func anyText(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(6) {
		b.WriteString(pieces[r.IntN(len(pieces))])
	}
	if r.IntN(40) == 0 {
		b.WriteString(strings.Repeat(pieces[r.IntN(len(pieces))], 300))
	}
	return b.String()
}

// nullable returns a text, an empty one or null.
func nullable(r *rand.Rand, made func(*rand.Rand) string) *string {
	text := ""
	switch r.IntN(8) {
	case 0:
		return nil
	case 1:
	default:
		text = made(r)
	}
	return &text
}

func anyPhone(r *rand.Rand) string {
	return []string{"+491711234567", "030 1234567", "+49 (171) 12-34", "1-800-FLOWERS", "n/a", "'+49171", "49.171",
		anyText(r)}[r.IntN(8)]
}

func anyEmail(r *rand.Rand, n int) *string {
	local := []string{"ann", "=ann", "+ann", "-ann", "@ann", "o'hara", "ann lee", "änne", "n/a", `"a b"`, "'=x"}[r.IntN(11)]
	domain := []string{"@example.com", "@localhost", "@bücher.example", "@xn--bcher-kva.example", "", "@a, b@c.example"}[r.IntN(6)]
	email := fmt.Sprintf("%s%d%s", local, n, domain)
	if r.IntN(4) == 0 {
		return nil
	}
	return &email
}

// anyMetadata returns a JSON object.
func anyMetadata(r *rand.Rand, q db.Querier, t *testing.T) string {
	var text string
	err := q.QueryRow(t.Context(), `select jsonb_build_object($1::text, $2::text, 'n', $3::numeric, 'deep',
		jsonb_build_object('list', jsonb_build_array(1.50, null, true, $2::text), '', '{}'::jsonb), 'emails',
		jsonb_build_array(jsonb_build_object('value', 'work@example.com', 'type', 'work')), 'phones',
		jsonb_build_array(jsonb_build_object('value', '+4930123', 'raw', '030 123')), 'metadata', '{"a": "b"}', 'id', 5,
		'first_name', $4::text)::text`, "k"+anyText(r), anyText(r),
		[]string{"12345678901234567890.123000", "-1e-7", "0.10"}[r.IntN(3)],
		anyText(r)).Scan(&text)
	if err != nil {
		t.Fatal(err)
	}
	return []string{"{}", text, text, `{"a": {"b": []}}`, `{"tags": ["x", "y"], "score": 5}`}[r.IntN(5)]
}

// fill makes contacts of every sort, no two of them alike.
func fill(t *testing.T, conn *pgx.Conn, schema db.Schema, seed uint64, n int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 1))
	table := pgx.Identifier{schema.String(), "contacts"}.Sanitize()
	for i := range n {
		email := anyEmail(r, i)
		phone, name, company := nullable(r, anyPhone), nullable(r, anyText), nullable(r, anyText)
		metadata := anyMetadata(r, conn, t)
		if email == nil {
			metadata = strings.Replace(metadata, "{", fmt.Sprintf(`{"row": %d, `, i), 1)
			metadata = strings.Replace(metadata, ", }", "}", 1)
		}
		at := []string{"2026-11-23 20:15:04.123456+00", "1999-12-31 23:59:59.999999+00", "infinity", "-infinity",
			"0044-03-15 12:00:00 BC", "12345-06-07 00:00:00+00", "2024-02-29 00:00:00.1+00"}[r.IntN(7)]
		_, err := conn.Exec(t.Context(), "insert into "+table+` (email, phone, name, company, metadata, created_at, updated_at)
			values ($1, $2, $3, $4, $5::text::jsonb, $6::text::timestamptz, '2020-01-01')`, email, phone, name, company, metadata,
			at)
		if err != nil {
			t.Fatalf("%q %q: %v", metadata, at, err)
		}
	}
}

// same compares the contacts of two tenants, and shows a few that differ.
func same(t *testing.T, what string, got, want []string) {
	t.Helper()
	const most, long = 3, 700
	shown := 0
	show := func(label string, list, others []string) {
		for _, line := range list {
			if !slices.Contains(others, line) && shown < most {
				shown++
				t.Errorf("%s: %s %.*s", what, label, long, line)
			}
		}
		shown = 0
	}
	show("has", got, want)
	show("lacks", want, got)
	if len(got) != len(want) {
		t.Errorf("%s has %d contacts, want %d", what, len(got), len(want))
	}
}

// What is exported comes back without a change, in every format: into an empty tenant the
// same contacts, into the one it is from nothing new.
func TestExportsComeBack(t *testing.T) {
	t.Parallel()
	const rows = 120
	for i, o := range []exporter.Options{
		{Format: exporter.CSV}, {Format: exporter.CSV, Raw: true}, {Format: exporter.JSONLines}, {Format: exporter.VCard},
		{Format: exporter.XLSX},
	} {
		t.Run(fmt.Sprintf("%s raw=%v", o.Format, o.Raw), func(t *testing.T) {
			t.Parallel()
			from, schema := crmtest.Tenant(t)
			fill(t, from, schema, uint64(i), rows)
			want := crmtest.List(t, from, schema, contactsSQL)
			file := export(t, from, schema, o)
			if again := load(t, from, schema, file, importer.Options{}); again.Unchanged != rows {
				t.Errorf("into the same tenant: %d of %d unchanged", again.Unchanged, again.Read)
			}
			same(t, "the same tenant", crmtest.List(t, from, schema, contactsSQL), want)
			for _, how := range []importer.Options{{}, {Batch: 50}, {KeepIndexes: true, Region: "DE"}} {
				to, schema := crmtest.Tenant(t)
				if got := load(t, to, schema, file, how); got.Inserted != rows {
					t.Errorf("into an empty tenant: %d of %d inserted", got.Inserted, got.Read)
				}
				same(t, "another tenant", crmtest.List(t, to, schema, contactsSQL), want)
				if again := export(t, to, schema, o); len(again) == 0 {
					t.Error("nothing is exported again")
				}
			}
		})
	}
}

// Texts of 10 MB come back too.
func TestLongTextsComeBack(t *testing.T) {
	t.Parallel()
	for _, format := range exporter.Formats(exporter.Contacts) {
		t.Run(string(format), func(t *testing.T) {
			t.Parallel()
			from, schema := crmtest.Tenant(t)
			crmtest.Exec(t, from, schema, `insert into contacts (email, name, metadata) values
				('long@example.com', repeat(E'=Ä\n"\\,😀', 900000), jsonb_build_object('text', repeat(E'line\r\n"x" _x000D_ ', 100000))),
				('short@example.com', 'Short', '{}')`)
			want := crmtest.List(t, from, schema, contactsSQL)
			file := export(t, from, schema, exporter.Options{Format: format})
			if again := load(t, from, schema, file, importer.Options{}); again.Unchanged != 2 {
				t.Errorf("into the same tenant: %d of %d unchanged", again.Unchanged, again.Read)
			}
			to, schema := crmtest.Tenant(t)
			load(t, to, schema, file, importer.Options{})
			if got := crmtest.List(t, to, schema, contactsSQL); strings.Join(got, "\n") != strings.Join(want, "\n") {
				t.Errorf("%d rows of %d bytes, want %d of %d", len(got), len(strings.Join(got, "")), len(want),
					len(strings.Join(want, "")))
			}
		})
	}
}
