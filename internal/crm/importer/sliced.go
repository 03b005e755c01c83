package importer

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
)

// Many rows are merged in slices. They are held against the contacts once, and those that
// make or change one are written down in the order that costs least: changes in the order
// in which the contacts lie, new contacts in that of their addresses, since the indexes on
// the address are the widest. A slice finds the contact by its place (ctid), without
// another join, and each tells how far the merge is.
//
// A contact at its place, with the same id and xmin, is the one that was read: what is kept
// is what is replaced, without locks. Contacts that others have changed meanwhile are not
// at their place any more, and are merged by one statement at the end.

const (
	// defaultSliceFrom is how many staged rows are worth the statements.
	defaultSliceFrom = 10_000
	// slicePages is how many pages of crmctl_write a slice has, about nine thousand rows.
	slicePages = 256
	// mergeMemory is what a sort or hash of a merge may take, unless the server grants more
	// anyway.
	mergeMemory = "64MB"
)

// writeTableSQL makes the table of the rows that make or change a contact: %[1]s are the
// rows, %[2]s the contacts, %[3]s the condition that a row s changes the contact e, %[4]s
// the columns of a contact to keep.
const writeTableSQL = `
create temporary table crmctl_write on commit drop as
with src as (%[1]s)
select e.ctid as at, e.id as met_id, e.xmin as met_xid, %[4]s
    s.id, s.email, s.phone, s.name, s.half, s.company, s.metadata, s.created_at
from src s left join %[2]s e on e.email operator(pg_catalog.=) s.email
where e.id is null or %[3]s
order by e.ctid, s.email collate pg_catalog."C"`

// metColumns are the columns of a contact to keep, in the order of keepChangedSQL.
const metColumns = `e.email as met_email, e.phone as met_phone, e.name as met_name, e.company as met_company,
    e.metadata as met_metadata, e.updated_at as met_updated_at,`

// changeSliceSQL changes the contacts of a slice: %[1]s are the contacts, %[2]s the
// assignments, %[3]s the slice, %[4]s what it returns, %[5]s what keeps that.
const changeSliceSQL = `
with touched as (
    update %[1]s c set %[2]s, updated_at = pg_catalog.now() from pg_temp.crmctl_write m
    where %[3]s and c.ctid operator(pg_catalog.=) m.at and c.id operator(pg_catalog.=) m.met_id
      and c.xmin operator(pg_catalog.=) m.met_xid
    returning %[4]s
)%[5]s
select pg_catalog.count(*) from touched`

// keepChangedSQL keeps in the table %s what changeSliceSQL has replaced.
const keepChangedSQL = `, kept as (
    insert into %s (import_id, contact_id, xid, ` + undoColumns + `)
    select $1::pg_catalog.uuid, t.* from touched t on conflict (import_id, contact_id) do nothing
)`

// makeSliceSQL makes the contacts of a slice. One that another session has made meanwhile
// is changed; what it was is not known then. %[1]s are the contacts, %[2]s the slice,
// %[3]s the assignments, %[4]s the condition that they change anything, %[5]s what keeps
// that it was changed.
const makeSliceSQL = `
with touched as (
    insert into %[1]s as c (id, email, phone, name, company, metadata, created_at, updated_at)
    select m.id, m.email, m.phone, m.name, m.company, m.metadata, coalesce(m.created_at, pg_catalog.now()),
        pg_catalog.now()
    from pg_temp.crmctl_write m where %[2]s and m.at is null
    on conflict (email) do update set %[3]s, updated_at = pg_catalog.now() where %[4]s
    returning c.id, c.xmax operator(pg_catalog.=) 0 as inserted
)%[5]s
select pg_catalog.count(*) filter (where t.inserted), pg_catalog.count(*) filter (where not t.inserted) from touched t`

// keepMadeSQL keeps in the table %s that contacts of makeSliceSQL were changed.
const keepMadeSQL = `, kept as (
    insert into %s (import_id, contact_id) select $1::pg_catalog.uuid, t.id from touched t where not t.inserted
    on conflict (import_id, contact_id) do nothing
)`

// missedSQL are the rows whose contact was not at its place any more: it is not as this
// transaction has written it. %s are the contacts.
const missedSQL = `
    select m.id, m.email, m.phone, m.name, m.half, m.company, m.metadata, m.created_at
    from pg_temp.crmctl_write m
    where m.at is not null and not exists (select from %s c where c.id operator(pg_catalog.=) m.met_id
        and c.xmin operator(pg_catalog.=) pg_catalog.pg_current_xact_id()::pg_catalog.xid)`

// inSlices reports whether the rows are merged in slices: there are many, and a contact
// has one place in one table.
func (m *merge) inSlices() bool {
	return m.placed && !m.dryRun && !m.direct && m.undo != undoSpread && m.counts.staged >= m.sliceFrom
}

// writeSlices does what write does, in slices.
func (m *merge) writeSlices(ctx context.Context, rows string, how mergeRule) (inserted, updated int64, err error) {
	pages, changes, err := m.holdAgainst(ctx, rows, how)
	if err != nil {
		return 0, 0, err
	}
	done := int64(0)
	for from := int64(0); from < pages; from += slicePages {
		made, met, changed, err := m.writeSlice(ctx, how, from)
		if err != nil {
			return 0, 0, err
		}
		inserted, updated, done = inserted+made, updated+met+changed, done+changed
		m.merged(min(from+slicePages, pages), pages)
	}
	if done == changes {
		return inserted, updated, nil
	}
	made, changed, err := m.writeAtOnce(ctx, fmt.Sprintf(missedSQL, m.contacts), how)
	return inserted + made, updated + changed, err
}

// holdAgainst makes the table of what is to be written, and returns how many pages it has
// and how many of its rows change a contact.
func (m *merge) holdAgainst(ctx context.Context, rows string, how mergeRule) (pages, changes int64, err error) {
	columns := ""
	if m.keeps() {
		columns = metColumns
	}
	var p db.Pipeline
	p.Exec(`select pg_catalog.set_config('work_mem', $1, true)
		where pg_catalog.pg_size_bytes(pg_catalog.current_setting('work_mem')) operator(pg_catalog.<)
			pg_catalog.pg_size_bytes($1)`, mergeMemory)
	p.Exec(fmt.Sprintf(writeTableSQL, rows, m.contacts, how.changes("s", "e"), columns))
	p.QueryRow([]any{&pages, &changes}, `
select pg_catalog.pg_relation_size('pg_temp.crmctl_write'::pg_catalog.regclass) operator(pg_catalog./)
    pg_catalog.current_setting('block_size')::bigint, pg_catalog.count(m.at) from pg_temp.crmctl_write m`)
	return pages, changes, p.Run(ctx, m.q)
}

// writeSlice writes the rows in the pages from the first on.
func (m *merge) writeSlice(ctx context.Context, how mergeRule, first int64) (made, met, changed int64, err error) {
	slice := fmt.Sprintf("m.ctid operator(pg_catalog.>=) '(%d,0)'::pg_catalog.tid and "+
		"m.ctid operator(pg_catalog.<) '(%d,0)'::pg_catalog.tid", first, first+slicePages)
	set := strings.NewReplacer("excluded.name", how.name("m", "c"), "excluded.", "m.").Replace(how.set)
	returning, keepChanged, keepMade, args := "1", "", "", []any(nil)
	if m.keeps() {
		returning = "m.met_id, m.met_xid, m.met_email, m.met_phone, m.met_name, m.met_company, m.met_metadata, " +
			"m.met_updated_at"
		keepChanged, keepMade = fmt.Sprintf(keepChangedSQL, m.undoTable), fmt.Sprintf(keepMadeSQL, m.undoTable)
		args = []any{m.keep}
	}
	plain, _ := m.rule()
	var p db.Pipeline
	// Places are looked up one by one; the planner takes each for a random read.
	p.Exec("set local enable_hashjoin to off")
	p.Exec("set local enable_mergejoin to off")
	change := fmt.Sprintf(changeSliceSQL, m.contacts, set, slice, returning, keepChanged)
	p.QueryRow([]any{&changed}, change, args...)
	p.Exec("set local enable_hashjoin to default")
	p.Exec("set local enable_mergejoin to default")
	makes := fmt.Sprintf(makeSliceSQL, m.contacts, slice, plain.set, plain.changes("excluded", "c"), keepMade)
	p.QueryRow([]any{&made, &met}, makes, args...)
	return made, met, changed, p.Run(ctx, m.q)
}

// merged tells how far the merge is.
func (m *merge) merged(done, of int64) {
	if m.told != nil {
		m.told(done * m.counts.staged / of)
	}
}

// mergedRows tells the observer how many staged rows are merged.
func (l *load) mergedRows(n int64) {
	staged := l.producer.counts.staged
	l.producer.reportStep(Progress{
		Phase: PhaseMerge, Step: int(n), Steps: int(staged), What: strconv.FormatInt(staged, 10),
	})
}
