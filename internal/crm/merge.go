package crm

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/db"
)

// ErrSpread says that contacts cannot be merged, since they are spread over servers.
var ErrSpread = errors.New("contacts that are spread over servers are not merged")

// Merging says what becomes of doubles.
type Merging struct {
	DoublesQuery

	Keep    string   // a UUID: what this is called where the contacts are kept as they were; "" to keep nothing
	Expired []string // what is kept no longer
}

// Merged is what became of doubles.
type Merged struct {
	Groups   int64 // contacts that stay, with what the others had
	Removed  int64 // contacts that were merged into those
	Moved    int64 // conversations
	Referred int64 // contacts that stay since another table refers to them
	XID      string
}

// MergeDoubles merges likely doubles: of each group the fullest stays, of those the oldest. It
// gets what it lacks from the others, metadata as an import with merge does it, their other
// addresses and numbers as lists of the metadata, and their conversations. Who writes to
// the contacts waits meanwhile.
func (w *Writer) MergeDoubles(ctx context.Context, o Merging) (Merged, error) {
	m := &merging{Writer: w, o: o}
	var err error
	if m.c, err = w.contacts(doublesColumns...); err != nil {
		return m.done, err
	}
	if m.v, err = w.conversations(); err != nil {
		return m.done, err
	}
	for _, step := range []func(context.Context) error{m.find, m.keepAside, m.fold, m.write} {
		if err := step(ctx); err != nil {
			return m.done, fmt.Errorf("merge contacts: %w", err)
		}
		if m.done.Groups == 0 {
			return m.done, nil
		}
	}
	w.did("contacts", "dedupe", o.Keep)
	return m.done, nil
}

type merging struct {
	*Writer

	o    Merging
	c, v table
	done Merged
}

// find makes the table of the doubles, as they are, and leaves out those that another
// table refers to.
func (m *merging) find(ctx context.Context) error {
	if _, err := m.q.Exec(ctx, "lock table "+m.c.name+" in exclusive mode"); err != nil {
		return err
	}
	if err := m.ownPath(ctx, true); err != nil {
		return err
	}
	if _, err := m.q.Exec(ctx, `create temporary table crmctl_doubles (grp bigint, rank bigint, id uuid, email text,
		phone text, name text, company text, metadata jsonb, xid xid, before jsonb) on commit drop`); err != nil {
		return err
	}
	if _, err := m.q.Exec(ctx, "with d as materialized ("+doublesSQL(m.c)+`) insert into pg_temp.crmctl_doubles
		select d.grp, d.rank, c.id, c.email, c.phone, c.name, c.company, c.metadata, c.xmin, to_jsonb(c)
		from d join `+m.c.name+" c on c.id = d.id", m.o.args()...); err != nil {
		return err
	}
	if err := m.leaveReferred(ctx); err != nil {
		return err
	}
	var p db.Pipeline
	p.Exec(`delete from pg_temp.crmctl_doubles d where d.rank = 1 and not exists (
		select from pg_temp.crmctl_doubles o where o.grp = d.grp and o.rank > 1)`)
	p.Exec("create index on pg_temp.crmctl_doubles (grp, rank)")
	p.Exec("create index on pg_temp.crmctl_doubles (id)")
	p.Exec("analyze pg_temp.crmctl_doubles")
	p.QueryRow([]any{&m.done.Groups, &m.done.Removed}, `select count(*) filter (where rank = 1),
		count(*) filter (where rank > 1) from pg_temp.crmctl_doubles`)
	return db.Plain(p.Run(ctx, m.q))
}

// leaveReferred leaves out the contacts to be removed that tables other than the
// conversations refer to.
func (m *merging) leaveReferred(ctx context.Context) error {
	var referred string
	var p db.Pipeline
	importer.QueueReferred(&p, m.c.name, m.v.name, &referred)
	if err := p.Run(ctx, m.q); err != nil {
		return db.Plain(err)
	}
	tag, err := m.q.Exec(ctx, "delete from pg_temp.crmctl_doubles d using "+m.c.name+
		" c where d.rank > 1 and c.id = d.id and ("+referred+")")
	m.done.Referred = tag.RowsAffected()
	return err
}

// keepAside keeps the contacts as they are.
func (m *merging) keepAside(ctx context.Context) error {
	var state string
	var ask db.Pipeline
	importer.QueueUndoState(&ask, m.t.o.Schema, &state)
	if err := ask.Run(ctx, m.q); err != nil {
		return db.Plain(err)
	}
	if state == "spread" {
		return ErrSpread
	}
	if m.o.Keep == "" {
		return nil
	}
	if state == "other" {
		return importer.ErrNothingKept
	}
	undo := importer.UndoTableOf(m.t.o.Schema)
	var p db.Pipeline
	importer.QueueUndoTable(&p, m.t.o.Schema)
	p.Exec("delete from "+undo+" u where u.import_id = any ($1::text[]::uuid[])", append([]string{}, m.o.Expired...))
	p.Exec("insert into "+undo+` (import_id, contact_id, xid, email, phone, name, company, metadata, updated_at, before,
			into_id, moved)
		select $1::uuid, d.id, d.xid, d.email, d.phone, d.name, d.company, d.metadata,
			(d.before ->> 'updated_at')::timestamptz, case when d.rank > 1 then d.before end,
			case when d.rank > 1 then k.id end,
			case when d.rank > 1 then array(select v.id from `+m.v.name+` v where v.contact_id = d.id) end
		from pg_temp.crmctl_doubles d join pg_temp.crmctl_doubles k on k.grp = d.grp and k.rank = 1`, m.o.Keep)
	return db.Plain(p.Run(ctx, m.q))
}

// fold gives the first of each group what the others have more, one after another.
func (m *merging) fold(ctx context.Context) error {
	var ranks int
	if err := m.q.QueryRow(ctx, "select max(rank) from pg_temp.crmctl_doubles").Scan(&ranks); err != nil {
		return err
	}
	for rank := 2; rank <= ranks; rank++ {
		var p db.Pipeline
		for _, list := range []struct{ column, key string }{{"email", "emails"}, {"phone", "phones"}} {
			p.Exec(fmt.Sprintf(`update pg_temp.crmctl_doubles o set metadata = o.metadata || jsonb_build_object('%[2]s',
					coalesce(o.metadata -> '%[2]s', '[]') || jsonb_build_object('type', 'other', 'value', o.%[1]s))
				from pg_temp.crmctl_doubles k where k.grp = o.grp and k.rank = 1 and o.rank = $1 and o.%[1]s <> k.%[1]s
					and jsonb_typeof(coalesce(o.metadata -> '%[2]s', '[]')) = 'array'`, list.column, list.key), rank)
		}
		p.Exec(`update pg_temp.crmctl_doubles d set email = coalesce(d.email, o.email), phone = coalesce(d.phone, o.phone),
				name = coalesce(d.name, o.name), company = coalesce(d.company, o.company), metadata = `+
			importer.United("o", "d")+`
			from pg_temp.crmctl_doubles o where o.grp = d.grp and d.rank = 1 and o.rank = $1`, rank)
		if err := p.Run(ctx, m.q); err != nil {
			return db.Plain(err)
		}
	}
	return nil
}

// own writes the operators of a statement that runs with the tenant's schema on the path as
// PostgreSQL's own.
func own(sql string) string {
	return strings.NewReplacer(" = any ", " operator(pg_catalog.=) any ", " = ", " operator(pg_catalog.=) ", " > ",
		" operator(pg_catalog.>) ", " <> ", " operator(pg_catalog.<>) ").Replace(sql)
}

// write moves the conversations, removes the others and changes those that stay. What the
// tables call when rows are written may look for names in the tenant's schema.
func (m *merging) write(ctx context.Context) error {
	if err := m.ownPath(ctx, false); err != nil {
		return err
	}
	tag, err := m.q.Exec(ctx, "update "+m.v.name+" v set contact_id = k.id from "+own(`pg_temp.crmctl_doubles d
		join pg_temp.crmctl_doubles k on k.grp = d.grp and k.rank = 1 where d.rank > 1 and v.contact_id = d.id`))
	if err != nil {
		return err
	}
	m.done.Moved = tag.RowsAffected()
	var p db.Pipeline
	p.Exec("delete from " + m.c.name + own(" c using pg_temp.crmctl_doubles d where d.rank > 1 and c.id = d.id"))
	p.Exec("update " + m.c.name + ` c set email = d.email, phone = d.phone, name = d.name, company = d.company,
		metadata = d.metadata, updated_at = pg_catalog.now() from pg_temp.crmctl_doubles d where ` +
		own("d.rank = 1 and c.id = d.id"))
	p.QueryRow([]any{&m.done.XID}, "select (pg_catalog.pg_current_xact_id()::pg_catalog.xid)::pg_catalog.text")
	return db.Plain(p.Run(ctx, m.q))
}

// Unmerged is what became of groups that were merged.
type Unmerged struct {
	Groups   int64 // that are as they were before
	Restored int64 // contacts that are there again
	Moved    int64 // conversations that went back
	Left     int64 // groups that stay merged: the contact was changed since, or an address is taken
}

// UnmergeDoubles takes back a MergeDoubles, by what Merging.Keep was and the transaction
// that it was: each group whose contact was not changed since.
func (w *Writer) UnmergeDoubles(ctx context.Context, keep, xid string) (Unmerged, error) {
	out, err := w.unmerge(ctx, keep, xid)
	if err != nil {
		return out, fmt.Errorf("take back a merge of contacts: %w", err)
	}
	w.did("contacts", "dedupe_undo", keep)
	return out, nil
}

func (w *Writer) unmerge(ctx context.Context, keep, xid string) (out Unmerged, err error) {
	c, err := w.contacts(doublesColumns...)
	if err != nil {
		return out, err
	}
	v, err := w.conversations()
	if err != nil {
		return out, err
	}
	undo := importer.UndoTableOf(w.t.o.Schema)
	if _, err := w.q.Exec(ctx, "lock table "+c.name+" in exclusive mode"); err != nil {
		return out, err
	}
	if err := w.ownPath(ctx, true); err != nil {
		return out, err
	}
	var begin db.Pipeline
	begin.Exec("create temporary table crmctl_back (id uuid primary key) on commit drop")
	begin.Exec(`insert into pg_temp.crmctl_back select k.contact_id from `+undo+` k
		join `+c.name+` c on c.id = k.contact_id
		where k.import_id = $1::uuid and k.into_id is null and k.put_back_xid is null
		  and (c.xmin = $2::text::xid or exists (select from `+undo+` b where b.contact_id = c.id
			and b.put_back_xid = c.xmin and b.xid = $2::text::xid))
		  and not exists (select from `+undo+` r join `+c.name+` o on o.id = r.contact_id
			where r.import_id = k.import_id and r.into_id = k.contact_id)
		  and not exists (select from `+undo+` r join `+c.name+` o on o.email = r.email
			where r.import_id = k.import_id and r.into_id = k.contact_id and o.id <> r.into_id)
		  and not exists (select from `+c.name+` o where o.email = k.email and o.id <> c.id)`, keep, xid)
	begin.Exec("analyze pg_temp.crmctl_back")
	begin.QueryRow([]any{&out.Groups, &out.Left}, `select (select count(*) from pg_temp.crmctl_back),
		count(*) - (select count(*) from pg_temp.crmctl_back) from `+undo+` k where k.import_id = $1::uuid
		and k.into_id is null and k.put_back_xid is null`, keep)
	if err := begin.Run(ctx, w.q); err != nil {
		return out, db.Plain(err)
	}
	if err := w.ownPath(ctx, false); err != nil {
		return out, err
	}
	columns := c.written()
	kept := own(" k.import_id = $1::pg_catalog.uuid and k.contact_id = b.id ")
	if _, err := w.q.Exec(ctx, "update "+c.name+` c set email = k.email, phone = k.phone, name = k.name,
		company = k.company, metadata = k.metadata, updated_at = k.updated_at from `+undo+
		" k, pg_temp.crmctl_back b where "+kept+own(" and c.id = b.id"), keep); err != nil {
		return out, err
	}
	back := " from " + undo + " r join pg_temp.crmctl_back b on " +
		own("r.into_id = b.id where r.import_id = $1::pg_catalog.uuid ")
	tag, err := w.q.Exec(ctx, "insert into "+c.name+" ("+columns("")+") select "+columns("x.")+` from (
		select r.before`+back+`) r cross join lateral pg_catalog.jsonb_populate_record(null::`+c.name+", r.before) x", keep)
	if err != nil {
		return out, err
	}
	out.Restored = tag.RowsAffected()
	tag, err = w.q.Exec(ctx, "update "+v.name+" v set contact_id = r.contact_id"+back+
		own("and v.id = any (r.moved) and v.contact_id = b.id"), keep)
	if err != nil {
		return out, err
	}
	out.Moved = tag.RowsAffected()
	// What a contact had been put back to itself is resolved first, each in one pass.
	mine := own("u.import_id = $1::pg_catalog.uuid and b.id = ") + "coalesce(u.into_id, u.contact_id)"
	var note db.Pipeline
	note.Exec("update "+undo+" u set xid = o.xid from pg_temp.crmctl_back b, "+undo+" o where "+mine+
		own(" and o.contact_id = u.contact_id and o.put_back_xid = u.xid"), keep)
	note.Exec("update "+undo+" u set put_back_xid = pg_catalog.pg_current_xact_id()::pg_catalog.xid "+
		"from pg_temp.crmctl_back b where "+mine, keep)
	return out, db.Plain(note.Run(ctx, w.q))
}

// written returns the columns that a row is written with, each behind a prefix.
func (t table) written() func(prefix string) string {
	return func(prefix string) string {
		var names []string
		for name, c := range t.columns {
			if !c.Generated {
				names = append(names, name)
			}
		}
		return prefix + strings.Join(sortedQuoted(names), ", "+prefix)
	}
}
