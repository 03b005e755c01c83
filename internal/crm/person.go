package crm

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/db"
)

// Held says how much of somebody a tenant has.
type Held struct {
	Contacts      int64 // whose address is the person's, or one in the metadata
	Conversations int64 // with those
	Messages      int64 // of those conversations, and others that the person has sent
	Kept          int64 // contacts as they were before an import or a merge
	Mentions      int64 // other messages with the address in their text
	Others        int64 // rows of other tables with the address, and contacts that name it
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
	naming   []string // ids of contacts of others that name the address in their metadata
	sent     []string // ids of messages
	kept     []string // import and contact: "id/id"
	others   []mailColumn
	mentions []string // ids of messages

	undo   string // the table of what imports and merges keep, "" for none
	blocks bool   // the server runs questions in a block
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

// PersonRows returns every row of a tenant that is about somebody, of each kind the oldest first.
func (r *Reader) PersonRows(ctx context.Context, a Address) ([]PersonRow, error) {
	p, err := r.findPerson(ctx, a)
	if err != nil {
		return nil, err
	}
	return p.rows(ctx)
}

func (r *Reader) findPerson(ctx context.Context, a Address) (*somebody, error) {
	p := &somebody{Reader: r, is: a.Is, address: &a}
	err := p.find(ctx)
	return p, err
}

// find looks at every place.
func (p *somebody) find(ctx context.Context) error {
	for _, step := range []func(context.Context) error{p.look, p.findContacts, p.findSent, p.findKept, p.findMentions,
		p.findOthers} {
		if err := step(ctx); err != nil {
			return fmt.Errorf("look for persons: %w", err)
		}
	}
	return nil
}

// look finds out what the tenant's tables do not tell. A search goes over many tenants, so
// what differs between them stands in blocks, unless only one is looked at.
func (p *somebody) look(ctx context.Context) error {
	p.undo = importer.UndoTableOf(p.t.o.Schema)
	var there bool
	err := p.q.QueryRow(ctx, `select pg_catalog.to_regclass($1::pg_catalog.text) is not null, coalesce((
		select pg_catalog.has_language_privilege(l.oid, 'usage') from pg_catalog.pg_language l
		where l.lanname operator(pg_catalog.=) 'plpgsql'), false)`, p.undo).Scan(&there, &p.blocks)
	if !there {
		p.undo = ""
	}
	p.blocks = p.blocks && p.address != nil
	return err
}

// ask runs a query with up to two parameters, $1 and $2, and scans each row into dest before it
// calls each.
func (p *somebody) ask(ctx context.Context, dest []any, each func() error, sql string, args ...[]string) error {
	read := func(rows pgx.Rows) error {
		_, err := pgx.ForEachRow(rows, dest, each)
		return err
	}
	var ask db.Pipeline
	if p.blocks {
		ask.Ask(read, sql, args...)
		return db.Plain(ask.Run(ctx, p.q))
	}
	var plain []any
	for _, a := range args {
		plain = append(plain, nonNil(a))
	}
	ask.Query(read, sql, plain...)
	return db.Plain(ask.Run(ctx, p.q))
}

// count returns how many rows a query finds.
func (p *somebody) count(ctx context.Context, q personQuery) (n int64, err error) {
	err = p.ask(ctx, []any{&n}, func() error { return nil }, "select pg_catalog.count(*) from "+q.from, q.args...)
	return n, err
}

// hasAny returns the condition that an expression, in lower case, has one of the texts.
func hasAny(expression, parameter string) string {
	return "exists (select from pg_catalog.unnest(" + parameter + "::pg_catalog.text[]) f(x) where " +
		"pg_catalog.strpos(pg_catalog.lower(" + expression + "), f.x) operator(pg_catalog.>) 0)"
}

// findContacts finds those whose address is the person's, in their metadata too, and those
// that only name it there, such as the one who looks after them. Each contact is looked at:
// addresses are stored in any spelling.
func (p *somebody) findContacts(ctx context.Context) error {
	t, ok := p.usable("contacts", "id", "email")
	if !ok {
		return nil
	}
	metadata := t.has("metadata") && t.columns["metadata"].Type == "pg_catalog.jsonb"
	columns := "select c.id::pg_catalog.text, " + t.text("c", "email") + ", "
	if metadata {
		columns += t.text("c", "metadata")
	} else {
		columns += "''"
	}
	columns += " from " + t.name + " c where "
	email := "c.email::pg_catalog.text"
	where, args := email+" operator(pg_catalog.~~) '%@%'", [][]string(nil)
	if p.address != nil {
		where, args = hasAny(email, "$1"), [][]string{p.address.forms}
	}
	switch {
	case metadata && p.address != nil:
		where += " or " + hasAny("c.metadata::pg_catalog.text", "$2")
		args = append(args, p.address.inJSON())
	case metadata:
		where += " or c.metadata::pg_catalog.text operator(pg_catalog.~~) '%@%'"
	}
	var id, mail, more string
	return p.ask(ctx, []any{&id, &mail, &more}, func() error {
		switch address, elsewhere := holds(more, p.is); {
		case p.is(mail), address:
			p.contacts = append(p.contacts, id)
		case elsewhere && p.address != nil:
			p.naming = append(p.naming, id)
		}
		return nil
	}, columns+where, args...)
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
	sender, args := "m.sender::pg_catalog.text", [][]string(nil)
	where := sender + " operator(pg_catalog.~~) '%@%'"
	if p.address != nil {
		where, args = hasAny(sender, "$1"), [][]string{p.address.forms}
	}
	return p.collect(ctx, &p.sent, p.is, "select m.id::pg_catalog.text, "+sender+" from "+m.name+" m where "+
		where, args...)
}

// collect keeps the first column of the rows whose second is wanted.
func (p *somebody) collect(ctx context.Context, into *[]string, is func(string) bool, sql string,
	args ...[]string) error {
	var key, text string
	return p.ask(ctx, []any{&key, &text}, func() error {
		if is(text) {
			*into = append(*into, key)
		}
		return nil
	}, sql, args...)
}

// undoKey is the key of a row of the table of what is kept.
func undoKey(alias string) string {
	return alias + ".import_id::pg_catalog.text operator(pg_catalog.||) '/' operator(pg_catalog.||) " + alias +
		".contact_id::pg_catalog.text"
}

// findKept finds what is kept of the person's contacts, and contacts that had the address.
func (p *somebody) findKept(ctx context.Context) error {
	if p.undo == "" {
		return nil
	}
	row := "pg_catalog.to_jsonb(u)"
	ours := "(u.contact_id::pg_catalog.text operator(pg_catalog.=) any ($1::pg_catalog.text[]) or coalesce((" + row +
		" operator(pg_catalog.->>) 'into_id') operator(pg_catalog.=) any ($1::pg_catalog.text[]), false))"
	text := row + "::pg_catalog.text"
	where, args := text+" operator(pg_catalog.~~) '%@%'", [][]string{p.contacts}
	if p.address != nil {
		where, args = hasAny(text, "$2"), append(args, p.address.inJSON())
	}
	person := func(text string) bool {
		address, _ := holds(text, p.is)
		return text == "" || address
	}
	return p.collect(ctx, &p.kept, person, "select "+
		undoKey("u")+", case when "+ours+" then '' else "+text+" end from "+p.undo+" u where "+ours+" or "+where, args...)
}

// findMentions finds messages of others with the address in their text, by the index of
// the words.
func (p *somebody) findMentions(ctx context.Context) error {
	m, ok := p.usable("messages", "id", "conversation_id", "content")
	if !ok || p.address == nil || m.columns["content"].Type != "pg_catalog.text" {
		return nil
	}
	own := map[string]bool{}
	where, args := p.ownMessages(m, "m")
	if len(p.contacts)+len(p.sent) > 0 {
		var id string
		if err := p.ask(ctx, []any{&id}, func() error {
			own[id] = true
			return nil
		}, "select m.id::pg_catalog.text from "+m.name+" m where "+where, args...); err != nil {
			return err
		}
	}
	others := func(id string) bool { return !own[id] }
	for _, form := range p.address.forms {
		err := p.collect(ctx, &p.mentions, others, "select m.id::pg_catalog.text, m.id::pg_catalog.text from "+m.name+
			` m where pg_catalog.to_tsvector('pg_catalog.english'::pg_catalog.regconfig, m.content) operator(pg_catalog.@@)
			pg_catalog.phraseto_tsquery('pg_catalog.english'::pg_catalog.regconfig,
				($1::pg_catalog.text[])[1])
			and pg_catalog.strpos(pg_catalog.lower(m.content), ($1::pg_catalog.text[])[1]) operator(pg_catalog.>) 0`,
			[]string{form})
		if err != nil {
			return err
		}
	}
	slices.Sort(p.mentions)
	p.mentions = slices.Compact(p.mentions)
	return nil
}

// ownMessages returns the condition that a message is the person's, with its parameters.
func (p *somebody) ownMessages(m table, alias string) (where string, args [][]string) {
	where, args = m.isAny(alias, "id", "$1"), [][]string{p.sent}
	v, ok := p.usable("conversations", "id", "contact_id")
	if ok && m.has("conversation_id") {
		where += " or " + alias + ".conversation_id operator(pg_catalog.=) any (array(select v.id from " + v.name +
			" v where " + v.isAny("v", "contact_id", "$2") + "))"
		args = append(args, p.contacts)
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
	ours := []string{importer.UndoTable}
	if _, ok := p.usable("contacts", "id", "email"); ok {
		ours = append(ours, "contacts")
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
		order by 1, 2`, p.t.o.Schema.String(), ours)
	if err != nil {
		return err
	}
	for _, c := range columns {
		there := false
		if err := p.ask(ctx, []any{&there}, func() error { return nil }, "select exists (select from "+
			c.from(p.t.o.Schema)+")", p.address.forms); err != nil {
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

// selects returns the queries of the rows, by their kind.
func (p *somebody) selects() (out []personQuery) {
	if c, ok := p.usable("contacts", "id", "email"); ok {
		out = append(out, personQuery{"contact", "contacts", c.name + " r where " + c.isAny("r", "id", "$1"),
			[][]string{p.contacts}})
	}
	if v, ok := p.usable("conversations", "id", "contact_id"); ok {
		out = append(out, personQuery{"conversation", "conversations", v.name + " r where " +
			v.isAny("r", "contact_id", "$1"), [][]string{p.contacts}})
	}
	if m, ok := p.usable("messages", "id"); ok {
		where, args := p.ownMessages(m, "r")
		out = append(out, personQuery{"message", "messages", m.name + " r where " + where, args},
			personQuery{"mention", "messages", m.name + " r where " + m.isAny("r", "id", "$1"), [][]string{p.mentions}})
	}
	if p.undo != "" {
		out = append(out, personQuery{"kept", importer.UndoTable, p.undo + " r where " +
			undoKey("r") +
			" operator(pg_catalog.=) any ($1::pg_catalog.text[])", [][]string{p.kept}})
	}
	if c, ok := p.usable("contacts", "id", "email"); ok {
		out = append(out, personQuery{"other", "contacts", c.name + " r where " + c.isAny("r", "id", "$1"),
			[][]string{p.naming}})
	}
	for _, o := range p.others {
		out = append(out, personQuery{"other", o.Table, o.from(p.t.o.Schema), [][]string{p.address.forms}})
	}
	// Where nothing was found by which there could be rows, there are none.
	return slices.DeleteFunc(out, func(q personQuery) bool {
		return !slices.ContainsFunc(q.args, func(a []string) bool { return len(a) > 0 })
	})
}

// personQuery finds rows of a kind.
type personQuery struct {
	kind, table string
	from        string // and where; the rows are called r
	args        [][]string
}

func (p *somebody) held(ctx context.Context) (h Held, err error) {
	for _, q := range p.selects() {
		n, err := p.count(ctx, q)
		if err != nil {
			return h, err
		}
		*h.of(q.kind) += n
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

func (p *somebody) rows(ctx context.Context) (out []PersonRow, err error) {
	for _, q := range p.selects() {
		var row string
		err := p.ask(ctx, []any{&row}, func() error {
			out = append(out, PersonRow{Table: q.table, Kind: q.kind, Row: json.RawMessage(row)})
			return nil
		}, "select pg_catalog.to_jsonb(r)::pg_catalog.text from "+q.from+
			" order by pg_catalog.to_jsonb(r) operator(pg_catalog.->>) 'created_at', 1", q.args...)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}
