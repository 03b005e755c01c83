package crm

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/db"
)

// Held says how much of somebody a tenant has.
type Held struct {
	Contacts      int64 // whose address, or another text of the metadata, is the person's
	Conversations int64 // with those
	Messages      int64 // of those conversations, and others that the person has sent
	Kept          int64 // contacts as they were before an import or a merge
	Mentions      int64 // other messages with the address in their text
	Others        int64 // rows of other tables with the address
}

// Erasable is how much of it is erased: all but what is about others too.
func (h Held) Erasable() int64 { return h.Contacts + h.Conversations + h.Messages + h.Kept }

// Add adds what another tenant has.
func (h *Held) Add(o Held) {
	h.Contacts += o.Contacts
	h.Conversations += o.Conversations
	h.Messages += o.Messages
	h.Kept += o.Kept
	h.Mentions += o.Mentions
	h.Others += o.Others
}

// PersonRow is a row that is about somebody.
type PersonRow struct {
	Table string // as the tenant's schema has it
	Kind  string // "contact", "conversation", "message", "kept", "mention", "other"
	Row   json.RawMessage
}

// somebody is what a tenant has of a person, found.
type somebody struct {
	*Reader

	is       func(string) bool
	address  *Address // nil where there is only is: every row is looked at then
	contacts []string // their ids
	sent     []string // ids of messages
	kept     []string // import and contact: "id/id"
	others   []mailColumn
	mentions []string // ids of messages
}

// mailColumn is a column of another table whose name says that it holds addresses.
type mailColumn struct{ Table, Column string }

// Person returns how much a tenant has of somebody.
func (r *Reader) Person(ctx context.Context, a Address) (Held, error) {
	p, err := r.findPerson(ctx, a)
	if err != nil {
		return Held{}, err
	}
	return p.held(ctx)
}

// PersonRows returns every row of a tenant that is about somebody.
func (r *Reader) PersonRows(ctx context.Context, a Address) ([]PersonRow, error) {
	p, err := r.findPerson(ctx, a)
	if err != nil {
		return nil, err
	}
	return p.rows(ctx)
}

func (r *Reader) findPerson(ctx context.Context, a Address) (*somebody, error) {
	p := &somebody{Reader: r, is: a.Is, address: &a}
	for _, step := range []func(context.Context) error{p.findContacts, p.findSent, p.findKept, p.findMentions,
		p.findOthers} {
		if err := step(ctx); err != nil {
			return nil, fmt.Errorf("look for the person: %w", err)
		}
	}
	return p, nil
}

// hasAny returns the condition that an expression, in lower case, has one of the texts.
func hasAny(expression, parameter string) string {
	return "exists (select from pg_catalog.unnest(" + parameter + "::pg_catalog.text[]) f(x) where " +
		"pg_catalog.strpos(pg_catalog.lower(" + expression + "), f.x) operator(pg_catalog.>) 0)"
}

// findContacts finds those whose address is the person's, by the index, and those that have it
// in their metadata, for which each is looked at: people store it under any name, in any
// spelling.
func (p *somebody) findContacts(ctx context.Context) error {
	t, err := p.reader("contacts", "id", "email")
	if err != nil {
		return err
	}
	metadata := t.has("metadata") && t.columns["metadata"].Type == "pg_catalog.jsonb"
	columns := "select c.id::pg_catalog.text, " + t.text("c", "email") + ", "
	if metadata {
		columns += t.text("c", "metadata")
	} else {
		columns += "''"
	}
	columns += " from " + t.name + " c where "
	type query struct {
		sql  string
		args []any
	}
	var queries []query
	email := "c.email::pg_catalog.text"
	switch p.address {
	case nil:
		where := email + " operator(pg_catalog.~~) '%@%'"
		if metadata {
			where += " or c.metadata::pg_catalog.text operator(pg_catalog.~~) '%@%'"
		}
		queries = append(queries, query{columns + where, nil})
	default:
		queries = append(queries, query{columns + t.isAny("c", "email", "$1"), []any{p.address.forms}})
		if !t.has("company") || !metadata { // of another program: in any spelling
			queries = append(queries, query{columns + hasAny(email, "$1"), []any{p.address.forms}})
		}
		if metadata {
			queries = append(queries, query{columns + hasAny("c.metadata::pg_catalog.text", "$1"),
				[]any{p.address.inJSON()}})
		}
	}
	for _, q := range queries {
		var id, mail, more string
		rows, err := p.q.Query(ctx, q.sql, q.args...)
		if err != nil {
			return err
		}
		if _, err := pgx.ForEachRow(rows, []any{&id, &mail, &more}, func() error {
			if (p.is(mail) || holds(more, p.is)) && !slices.Contains(p.contacts, id) {
				p.contacts = append(p.contacts, id)
			}
			return nil
		}); err != nil {
			return err
		}
	}
	return nil
}

// reader is need, for the tables that a person may be in.
func (p *somebody) reader(name string, columns ...string) (table, error) {
	return p.need(name, columns...)
}

// usable reports whether a table that a tenant need not have has the columns.
func (p *somebody) usable(name string, columns ...string) (table, bool) {
	t, err := p.need(name, columns...)
	return t, err == nil
}

// findSent finds the messages in anybody's conversations that the person has sent.
func (p *somebody) findSent(ctx context.Context) error {
	m, ok := p.usable("messages", "id", "sender")
	if !ok {
		return nil
	}
	sender, args := "m.sender::pg_catalog.text", []any(nil)
	where := sender + " operator(pg_catalog.~~) '%@%'"
	if p.address != nil {
		where, args = hasAny(sender, "$1"), []any{p.address.forms}
	}
	return p.collect(ctx, &p.sent, p.is, "select m.id::pg_catalog.text, "+sender+" from "+m.name+" m where "+
		where, args...)
}

// collect keeps the first column of the rows whose second is wanted.
func (p *somebody) collect(ctx context.Context, into *[]string, is func(string) bool, sql string, args ...any) error {
	rows, err := p.q.Query(ctx, sql, args...)
	if err != nil {
		return err
	}
	var key, text string
	_, err = pgx.ForEachRow(rows, []any{&key, &text}, func() error {
		if is(text) {
			*into = append(*into, key)
		}
		return nil
	})
	return err
}

// undoTable returns the table of what imports and merges keep, "" for none.
func (p *somebody) undoTable(ctx context.Context) (string, error) {
	name := importer.UndoTableOf(p.t.o.Schema)
	var there bool
	err := p.q.QueryRow(ctx, "select pg_catalog.to_regclass($1::pg_catalog.text) is not null", name).Scan(&there)
	if !there {
		name = ""
	}
	return name, err
}

// undoKey is the key of a row u of the table of what is kept.
const undoKey = "u.import_id::pg_catalog.text operator(pg_catalog.||) '/' operator(pg_catalog.||) " +
	"u.contact_id::pg_catalog.text"

// findKept finds what is kept of the person's contacts, and contacts that had the address.
func (p *somebody) findKept(ctx context.Context) error {
	undo, err := p.undoTable(ctx)
	if undo == "" || err != nil {
		return err
	}
	row := "pg_catalog.to_jsonb(u)"
	ours := "(u.contact_id::pg_catalog.text operator(pg_catalog.=) any ($1::pg_catalog.text[]) or coalesce((" + row +
		" operator(pg_catalog.->>) 'into_id') operator(pg_catalog.=) any ($1::pg_catalog.text[]), false))"
	text := row + "::pg_catalog.text"
	where, args := text+" operator(pg_catalog.~~) '%@%'", []any{nonNil(p.contacts)}
	if p.address != nil {
		where, args = hasAny(text, "$2"), append(args, p.address.inJSON())
	}
	return p.collect(ctx, &p.kept, func(text string) bool { return text == "" || holds(text, p.is) }, "select "+undoKey+
		", case when "+ours+" then '' else "+text+" end from "+undo+" u where "+ours+" or "+where, args...)
}

// findMentions finds messages of others with the address in their text, by the index of
// the words.
func (p *somebody) findMentions(ctx context.Context) error {
	m, ok := p.usable("messages", "id", "conversation_id", "content")
	if !ok || p.address == nil || m.columns["content"].Type != "pg_catalog.text" {
		return nil
	}
	own, args := p.ownMessages(m, 2)
	for _, form := range p.address.forms {
		err := p.collect(ctx, &p.mentions, func(string) bool { return true }, "select m.id::pg_catalog.text, '' from "+m.name+
			` m where pg_catalog.to_tsvector('pg_catalog.english'::pg_catalog.regconfig, m.content) operator(pg_catalog.@@)
			pg_catalog.phraseto_tsquery('pg_catalog.english'::pg_catalog.regconfig, $1::pg_catalog.text)
			and pg_catalog.strpos(pg_catalog.lower(m.content), $1::pg_catalog.text) operator(pg_catalog.>) 0
			and not (`+own+")", append([]any{form}, args...)...)
		if err != nil {
			return err
		}
	}
	slices.Sort(p.mentions)
	p.mentions = slices.Compact(p.mentions)
	return nil
}

// ownMessages returns the condition that a message m is the person's, with its two parameters.
func (p *somebody) ownMessages(m table, first int) (where string, args []any) {
	where = m.isAny("m", "id", fmt.Sprintf("$%d", first))
	args = []any{nonNil(p.sent)}
	v, ok := p.usable("conversations", "id", "contact_id")
	if ok && m.has("conversation_id") {
		where += " or m.conversation_id operator(pg_catalog.=) any (array(select v.id from " + v.name + " v where " +
			v.isAny("v", "contact_id", fmt.Sprintf("$%d", first+1)) + "))"
		args = append(args, nonNil(p.contacts))
	}
	return where, args
}

func nonNil(list []string) []string { return append([]string{}, list...) }

// findOthers finds the columns of other tables whose names say that they hold addresses, and
// which have the person's.
func (p *somebody) findOthers(ctx context.Context) error {
	if p.address == nil {
		return nil
	}
	columns, err := collect(ctx, p.q, pgx.RowToStructByPos[mailColumn], `
		select c.relname::pg_catalog.text, a.attname::pg_catalog.text
		from pg_catalog.pg_namespace n join pg_catalog.pg_class c on c.relnamespace operator(pg_catalog.=) n.oid
		join pg_catalog.pg_attribute a on a.attrelid operator(pg_catalog.=) c.oid
		join pg_catalog.pg_type t on t.oid operator(pg_catalog.=) a.atttypid
		where n.nspname operator(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name
			and c.relkind operator(pg_catalog.=) any ('{r,p}'::pg_catalog."char"[]) and not c.relispartition
			and a.attnum operator(pg_catalog.>) 0 and not a.attisdropped
			and t.typcategory operator(pg_catalog.=) 'S'
			and pg_catalog.lower(a.attname::pg_catalog.text) operator(pg_catalog.~~) '%mail%'
			and not (c.relname operator(pg_catalog.=) any ($2::pg_catalog.text[]::pg_catalog.name[]))
		order by 1, 2`, p.t.o.Schema.String(), []string{"contacts", importer.UndoTable})
	if err != nil {
		return err
	}
	for _, c := range columns {
		var there bool
		if err := p.q.QueryRow(ctx, "select exists (select from "+c.from(p.t.o.Schema)+")", p.address.forms).
			Scan(&there); err != nil {
			return err
		}
		if there {
			p.others = append(p.others, c)
		}
	}
	return nil
}

// from returns the rows r of a column that have one of the texts of $1.
func (c mailColumn) from(schema db.Schema) string {
	return db.Quoted(schema.String(), c.Table) + " r where pg_catalog.lower(r." + db.Quoted(c.Column) +
		"::pg_catalog.text) operator(pg_catalog.=) any ($1::pg_catalog.text[])"
}

// selects returns the queries of the rows, by their kind, and a condition with its arguments.
func (p *somebody) selects(ctx context.Context) ([]personQuery, error) {
	var out []personQuery
	c, err := p.reader("contacts", "id", "email")
	if err != nil {
		return nil, err
	}
	out = append(out, personQuery{"contact", "contacts", c.name + " r where " + c.isAny("r", "id", "$1"),
		[]any{nonNil(p.contacts)}})
	if v, ok := p.usable("conversations", "id", "contact_id"); ok {
		out = append(out, personQuery{"conversation", "conversations", v.name + " r where " +
			v.isAny("r", "contact_id", "$1"), []any{nonNil(p.contacts)}})
	}
	if m, ok := p.usable("messages", "id"); ok {
		where, args := p.ownMessages(m, 1)
		out = append(out, personQuery{"message", "messages", m.name + " r where " +
			strings.ReplaceAll(where, "m.", "r."), args},
			personQuery{"mention", "messages", m.name + " r where " + m.isAny("r", "id", "$1"), []any{nonNil(p.mentions)}})
	}
	undo, err := p.undoTable(ctx)
	if undo != "" {
		out = append(out, personQuery{"kept", importer.UndoTable, undo + " r where " +
			strings.ReplaceAll(undoKey, "u.", "r.") +
			" operator(pg_catalog.=) any ($1::pg_catalog.text[])", []any{nonNil(p.kept)}})
	}
	for _, o := range p.others {
		out = append(out, personQuery{"other", o.Table, o.from(p.t.o.Schema), []any{p.address.forms}})
	}
	return out, err
}

// personQuery finds rows of a kind.
type personQuery struct {
	kind, table string
	from        string // and where; the rows are called r
	args        []any
}

func (p *somebody) held(ctx context.Context) (h Held, err error) {
	queries, err := p.selects(ctx)
	if err != nil {
		return h, err
	}
	var ask db.Pipeline
	counts := make([]int64, len(queries))
	for i, q := range queries {
		ask.QueryRow([]any{&counts[i]}, "select pg_catalog.count(*) from "+q.from, q.args...)
	}
	if err := ask.Run(ctx, p.q); err != nil {
		return h, db.Plain(err)
	}
	for i, q := range queries {
		*h.of(q.kind) += counts[i]
	}
	return h, nil
}

// of returns the count of a kind.
func (h *Held) of(kind string) *int64 {
	switch kind {
	case "contact":
		return &h.Contacts
	case "conversation":
		return &h.Conversations
	case "message":
		return &h.Messages
	case "kept":
		return &h.Kept
	case "mention":
		return &h.Mentions
	}
	return &h.Others
}

func (p *somebody) rows(ctx context.Context) ([]PersonRow, error) {
	queries, err := p.selects(ctx)
	if err != nil {
		return nil, err
	}
	var out []PersonRow
	for _, q := range queries {
		rows, err := collect(ctx, p.q, pgx.RowTo[string], "select pg_catalog.to_jsonb(r)::pg_catalog.text from "+q.from+
			" order by 1", q.args...)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			out = append(out, PersonRow{Table: q.table, Kind: q.kind, Row: json.RawMessage(row)})
		}
	}
	return out, nil
}
