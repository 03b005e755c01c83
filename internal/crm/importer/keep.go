package importer

import (
	"context"
	"encoding/hex"
	"fmt"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/db"
)

// What an import changes is kept as it was, in a table of the tenant's schema, and what
// it makes is known by its ids, which lie between two, and by the transaction that made
// it (xmin): so an import can be taken back where nothing has changed since, and one
// into an empty tenant costs nothing more.

// UndoTable is the name of the table in a tenant's schema. It is none of the
// application's: catalogs and checks leave it out.
const UndoTable = db.UndoTable

// undoTableOf returns the name of a tenant's UndoTable.
func undoTableOf(schema db.Schema) string { return schema.Quoted() + "." + UndoTable }

// Part is what one transaction of an import has made of the contacts.
type Part struct {
	FirstID, LastID string // the ids of the contacts that it has made lie between
	XID             string // xmin of what it has written; db.NoXID where that was in another database
	LoadedAt        time.Time
}

// uuidText returns a UUID as PostgreSQL writes it.
func uuidText(b []byte) string {
	h := hex.EncodeToString(b)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// part returns what the current transaction has done, nil where it has written nothing.
func (l *load) part(ctx context.Context, q db.Querier) (*Part, error) {
	if l.producer.counts.direct+l.merge.inserted+l.merge.updated == 0 {
		return nil, nil
	}
	p := &Part{}
	p.FirstID, p.LastID = l.producer.encode.ids.bounds(l.firstID)
	err := q.QueryRow(ctx, `select (pg_catalog.pg_current_xact_id()::pg_catalog.xid)::pg_catalog.text, pg_catalog.now()`).
		Scan(&p.XID, &p.LoadedAt)
	if err != nil {
		return nil, fmt.Errorf("identify the transaction: %w", err)
	}
	return p, nil
}

// openUndo makes the table of what is replaced, where it is not there, and takes out of
// it what is kept no longer.
func (m *merge) openUndo(ctx context.Context) error {
	var p db.Pipeline
	switch {
	case m.undo == undoNone:
		db.QueueUndoTable(&p, m.undoTable)
	case len(m.expired) > 0:
		p.Exec("delete from "+m.undoTable+` u
			where u.import_id operator(pg_catalog.=) any ($1::pg_catalog.text[]::pg_catalog.uuid[])`, m.expired)
	default:
		return nil
	}
	if err := p.Run(ctx, m.q); err != nil {
		return fmt.Errorf("keep what is replaced: %w", err)
	}
	return nil
}

// keeps reports whether what is replaced is kept.
func (m *merge) keeps() bool { return m.keep != "" && !m.dryRun && !m.direct && m.own == nil }

// undoColumns are what an import may change of a contact.
const undoColumns = "email, phone, name, company, metadata, updated_at"

// updateKeptSQL changes the contacts that rows meet, and keeps them as they were. They
// are locked as they are read, so that what is kept is what is replaced. %[1]s are the
// rows, %[2]s the contacts, %[3]s the condition that a row s is a contact e and changes
// it, %[4]s what keeps them, %[5]s the assignments from m to c.
const updateKeptSQL = `
with src as (%[1]s), m as materialized (
    select e.id as met_id, e.xmin as met_xid, e.email as met_email, e.phone as met_phone, e.name as met_name,
        e.company as met_company, e.metadata as met_metadata, e.updated_at as met_updated_at, s.*
    from src s join %[2]s e on %[3]s for no key update of e
)%[4]s, touched as (
    update %[2]s c set %[5]s, updated_at = pg_catalog.now() from m
    where c.id operator(pg_catalog.=) m.met_id returning 1
)
select pg_catalog.count(*) from touched`

// keptSQL keeps the contacts of updateKeptSQL in the table %s.
const keptSQL = `, kept as (
    insert into %s (import_id, contact_id, xid, ` + undoColumns + `)
    select $1::pg_catalog.uuid, m.met_id, m.met_xid, m.met_email, m.met_phone, m.met_name, m.met_company,
        m.met_metadata,
        m.met_updated_at
    from m on conflict (import_id, contact_id) do nothing
)`

// updateKept changes the contacts that rows meet by the condition on, and returns how
// many.
func (m *merge) updateKept(ctx context.Context, rows, on, set string, how mergeRule) (n int64, err error) {
	set += strings.NewReplacer("excluded.name", how.name("m", "c"), "excluded.", "m.").Replace(how.set)
	kept, args := "", []any(nil)
	if m.keeps() {
		kept, args = fmt.Sprintf(keptSQL, m.undoTable), []any{m.keep}
	}
	err = m.q.QueryRow(ctx, fmt.Sprintf(updateKeptSQL, rows, m.contacts, on, kept, set), args...).Scan(&n)
	return n, err
}

// insertKeptSQL makes contacts of the rows that meet none. A contact that another
// session has made meanwhile is changed; what it was is not known then.
const insertKeptSQL = `
with src as (%[1]s), touched as (
    insert into %[2]s as c (id, email, phone, name, company, metadata, created_at, updated_at)
    select s.id, s.email, s.phone, s.name, s.company, s.metadata, coalesce(s.created_at, pg_catalog.now()),
        pg_catalog.now()
    from src s left join %[2]s e on e.email operator(pg_catalog.=) s.email where e.id is null
    on conflict (email) do update set %[3]s, updated_at = pg_catalog.now() where %[4]s
    returning c.id, c.xmax operator(pg_catalog.=) 0 as inserted
), kept as (
    insert into %[5]s (import_id, contact_id) select $1::pg_catalog.uuid, t.id from touched t where not t.inserted
    on conflict (import_id, contact_id) do nothing
)
select pg_catalog.count(*) filter (where t.inserted), pg_catalog.count(*) filter (where not t.inserted) from touched t`

// writeKept does what write does, and keeps what is replaced.
func (m *merge) writeKept(ctx context.Context, rows string, how mergeRule) (inserted, updated int64, err error) {
	updated, err = m.updateKept(ctx, rows, "e.email operator(pg_catalog.=) s.email and "+how.changes("s", "e"), "", how)
	if err != nil {
		return 0, 0, err
	}
	plain, _ := m.rule()
	if m.direct { // which nobody else can write to
		inserted, _, err = m.insertNew(ctx, rows)
		return inserted, updated, err
	}
	if !m.keeps() {
		var met int64
		inserted, met, err = m.upsert(ctx, rows, plain)
		return inserted, updated + met, err
	}
	how = plain
	var met int64
	err = m.q.QueryRow(ctx, fmt.Sprintf(insertKeptSQL, rows, m.contacts, how.set, how.changes("excluded", "c"),
		m.undoTable),
		m.keep).Scan(&inserted, &met)
	return inserted, updated + met, err
}
