package exporter_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/crm/exporter"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/planted"
)

// try exports a tenant that may refuse it.
func try(t *testing.T, conn *pgx.Conn, schema db.Schema, o exporter.Options) (string, error) {
	t.Helper()
	var b bytes.Buffer
	source := exporter.Source{Slug: "acme", Schema: schema}
	e, err := exporter.New(t.Context(), conn, &b, []exporter.Source{source}, o)
	if err == nil {
		_, err = e.Tenant(t.Context(), conn, source)
	}
	if err == nil {
		err = e.End()
	}
	return b.String(), err
}

// The filters find what they say, whatever stands in them.
func TestFilters(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, `insert into contacts (id, email, name, metadata, updated_at) values
		('00000000-0000-0000-0000-000000000001', 'ada@example.com', '100%_\ Ada''s', '{"city": "Köln"}', '2026-01-02'),
		('00000000-0000-0000-0000-000000000002', 'bob@example.com', 'Bob', '{"city": "Bonn"}', '2026-01-01')`,
		`insert into conversations (id, contact_id, channel, status) values
		('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', 'email', 'open'),
		('00000000-0000-0000-0000-00000000000b', '00000000-0000-0000-0000-000000000002', 'email', 'closed')`,
		`insert into messages (conversation_id, direction, content) values
		('00000000-0000-0000-0000-00000000000a', 'inbound', 'The invoices are paid'),
		('00000000-0000-0000-0000-00000000000b', 'inbound', 'An invoice')`)
	for _, c := range []struct {
		table  exporter.Table
		filter exporter.Filter
		want   int
	}{
		{exporter.Contacts, exporter.Filter{}, 2},
		{exporter.Contacts, exporter.Filter{Search: `100%_\ ada's`}, 1},
		{exporter.Contacts, exporter.Filter{Search: `%`}, 1},
		{exporter.Contacts, exporter.Filter{Search: `'); drop table contacts; --`}, 0},
		{exporter.Contacts, exporter.Filter{Metadata: `{"city": "Köln"}`}, 1},
		{exporter.Contacts, exporter.Filter{Limit: 1}, 1},
		{exporter.Conversations, exporter.Filter{Status: []string{"open", "pending"}}, 1},
		{exporter.Conversations, exporter.Filter{Contact: " Bob@example.com"}, 1},
		{exporter.Messages, exporter.Filter{Search: "invoice -paid"}, 1},
		{exporter.Messages, exporter.Filter{Search: "invoice", Contact: "ada@example.com"}, 1},
	} {
		text, err := try(t, conn, schema, exporter.Options{Table: c.table, Filter: c.filter, Format: exporter.JSONLines})
		if err != nil {
			t.Fatalf("%+v: %v", c.filter, err)
		}
		if got := strings.Count(text, "\n"); got != c.want {
			t.Errorf("%s %+v: %d rows, want %d\n%s", c.table, c.filter, got, c.want, text)
		}
	}
}

// Nothing that somebody has put in the place of a table runs, and an application's own table
// comes with its own columns.
func TestOtherTables(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, `alter table contacts rename to kept`,
		`create function trap() returns int language plpgsql as 'begin raise exception ''it runs''; end'`,
		`create view contacts as select trap() as id, 'x'::text as email`)
	if _, err := try(t, conn, schema, exporter.Options{Table: exporter.Contacts,
		Format: exporter.CSV}); !errors.Is(err, planted.ErrNotPlain) {
		t.Errorf("a view is read: %v", err)
	}
	crmtest.Exec(t, conn, schema, `drop view contacts`, `create type mood as enum ('good', 'bad')`,
		`create table contacts (id bigint primary key, full_name varchar(50), mail text, tags text[], born date,
			score numeric, vip boolean, mood mood, code char(5))`,
		`insert into contacts values (7, '=Ada', 'ada@example.com', '{a,"b c"}', '1815-12-10', 1.50, true, 'good', 'ab'),
			(8, null, '', '{}', null, 'NaN', null, null, null)`)
	text, err := try(t, conn, schema, exporter.Options{Table: exporter.Contacts, Format: exporter.CSV})
	want := "id,full_name,mail,tags,born,score,vip,mood,code\n" +
		"7,\"'=Ada\",ada@example.com,\"{a,\"\"b c\"\"}\",1815-12-10,1.50,true,good,ab\n8,,\"\",{},,NaN,,,\n"
	if err != nil || text != want {
		t.Errorf("%v\n%s", err, text)
	}
	text, err = try(t, conn, schema, exporter.Options{Table: exporter.Contacts, Format: exporter.JSONLines})
	if err != nil || !strings.Contains(text, `"score":1.50,"vip":true`) || !strings.Contains(text, `"score":"NaN","vip":null`) {
		t.Errorf("%v\n%s", err, text)
	}
	_, err = try(t, conn, schema, exporter.Options{Table: exporter.Contacts, Format: exporter.CSV,
		Anonymize: exporter.NewAnonymizer("a", nil, nil)})
	if !errors.Is(err, exporter.ErrUnknownColumns) || !strings.Contains(err.Error(), "tags, born, score") {
		t.Errorf("columns that nobody knows: %v", err)
	}
	_, err = try(t, conn, schema, exporter.Options{Table: exporter.Contacts, Filter: exporter.Filter{Metadata: `{}`}})
	if e, ok := errors.AsType[*exporter.FilterError](err); !ok || e.Column != "metadata" {
		t.Errorf("a filter that the table cannot have: %v", err)
	}
	crmtest.Exec(t, conn, schema, `drop table contacts`)
	_, err = try(t, conn, schema, exporter.Options{Table: exporter.Contacts})
	if !errors.Is(err, exporter.ErrNoTable) || !strings.Contains(err.Error(), schema.String()+".contacts: ") {
		t.Errorf("no table: %v", err)
	}
}

// What is anonymized names nobody, and files of one seed go together.
func TestAnonymized(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, `insert into contacts (id, email, phone, name, company, metadata) values
		('00000000-0000-0000-0000-000000000001', 'ada@secret.example', '+491711234567', 'Ada Secret', 'Secret Ltd',
		'{"city": "Köln", "secret": "Secret"}')`, `insert into conversations (id, contact_id, channel, subject) values
		('00000000-0000-0000-0000-00000000000a', '00000000-0000-0000-0000-000000000001', 'email', 'Secret things')`,
		`insert into messages (conversation_id, direction, sender, content) values
		('00000000-0000-0000-0000-00000000000a', 'inbound', 'ada@secret.example', 'Ada Secret called 1711234567')`)
	rows := map[exporter.Table]map[string]any{}
	for _, table := range []exporter.Table{exporter.Contacts, exporter.Conversations, exporter.Messages} {
		text, err := try(t, conn, schema, exporter.Options{Table: table, Format: exporter.JSONLines, WithTenant: true,
			Anonymize: exporter.NewAnonymizer("seed", []string{"city"}, nil)})
		for _, word := range []string{"ecret", "Ada", "ada@", "1711234567", "0000-0000-0000", "acme"} {
			if err != nil || strings.Contains(text, word) {
				t.Errorf("%s has %s (%v): %s", table, word, err, text)
			}
		}
		var row map[string]any
		if err := json.Unmarshal([]byte(text), &row); err != nil {
			t.Fatal(err)
		}
		rows[table] = row
	}
	contact, conversation, message := rows[exporter.Contacts], rows[exporter.Conversations], rows[exporter.Messages]
	if contact["id"] != conversation["contact_id"] || conversation["id"] != message["conversation_id"] ||
		contact["email"] != message["sender"] || contact["tenant"] != message["tenant"] {
		t.Errorf("they do not go together: %v", rows)
	}
	if city, _ := contact["metadata"].(map[string]any); len(city) != 1 || city["city"] != "Köln" {
		t.Errorf("metadata %v", contact["metadata"])
	}
}

// A pooler in transaction mode changes nothing, and nothing is left behind in its session.
func TestBehindAPooler(t *testing.T) {
	t.Parallel()
	direct, schema := crmtest.Tenant(t)
	crmtest.Exec(t, direct, schema, `insert into contacts (email) values ('ada@example.com')`)
	pooled := crmtest.Connect(t, pgtest.Pooler(t, direct.Config().ConnString()))
	for range 3 {
		text, err := try(t, pooled, schema, exporter.Options{Table: exporter.Contacts, Format: exporter.CSV,
			Filter: exporter.Filter{Search: "ada"}})
		if err != nil || strings.Count(text, "\n") != 2 {
			t.Fatalf("%v\n%s", err, text)
		}
	}
}

// A table of another role's is read where none of its indexes runs code of that role.
func TestIndexesOfAnotherRole(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, "insert into contacts (email) values ('ada@example.com')")
	role := crmtest.Plant(t, conn, true) // messages have an index of an expression
	o := exporter.Options{Table: exporter.Messages, Format: exporter.CSV}
	if text, err := try(t, conn, schema, o); err != nil || strings.Count(text, "\n") != 1 {
		t.Errorf("%v\n%s", err, text)
	}
	for _, sql := range []string{"set role " + role, `create function tenant_acme.f(text) returns text immutable language
		plpgsql as 'begin return $1; end'`, "create index planted on tenant_acme.messages (tenant_acme.f('x'))",
		`create or replace function tenant_acme.f(text) returns text immutable language plpgsql as
		'begin raise exception ''planted code runs''; end'`, "reset role"} {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	_, err := try(t, conn, schema, o)
	if found, ok := errors.AsType[*planted.Error](err); !ok || !strings.Contains(found.Error(),
		"index planted of messages") {
		t.Errorf("an index of their own: %v", err)
	}
	o.Trusted = []string{role}
	_, err = try(t, conn, schema, o)
	if _, ok := errors.AsType[*planted.Error](err); ok {
		t.Errorf("trusted: %v", err)
	}
	o.Trusted, o.Table = nil, exporter.Contacts
	if text, err := try(t, conn, schema, o); err != nil || strings.Count(text, "\n") != 2 {
		t.Errorf("another table: %v\n%s", err, text)
	}
}
