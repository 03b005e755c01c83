package importer

import (
	"context"
	"fmt"

	"github.com/crmctl/crmctl/internal/db"
)

// The statements that write into a tenant's table run with the tenant's schema on the
// path, where the table's own triggers and checks look for what they use, and name
// everything in full: whoever may create in the schema could have them call what he
// likes. The others run with PostgreSQL's own names alone.

// stageSQL makes the table that rows wait in until they are merged. dup says that
// the file may have had the row's key before.
const stageSQL = `
create temporary table crmctl_import (
    line bigint not null, dup boolean not null, half boolean not null, id pg_catalog.uuid not null,
    email pg_catalog.text, phone pg_catalog.text, name pg_catalog.text, company pg_catalog.text,
    	metadata pg_catalog.jsonb not null,
    created_at timestamp with time zone, raw pg_catalog.text
) on commit drop`

// merge carries the staged rows over to contacts and counts what became of them.
type merge struct {
	q         db.Querier
	schema    db.Schema
	path      db.Path // behind it
	contacts  string  // the table, in full
	policy    ConflictPolicy
	inFile    RepeatPolicy
	key       Key
	own       *own // nil for a table of ours
	dryRun    bool
	direct    bool // the contacts are this file's own rows
	counts    counts
	rejects   *rejects
	accepted  *accepted // nil where nobody asks
	keep      string    // what this import is called in undoTable, "" to keep nothing
	expired   []string
	undo      string // whose undoTable is there
	undoTable string
	column    string // the header addresses came from, for messages

	placed    bool             // a contact is known by its place in the one table
	sliceFrom int64            // staged rows from which on they are merged in slices
	told      func(rows int64) // is told how many staged rows are merged; nil for nobody

	groups  int64                 // rows, once those with one key are one
	refused map[string]*rejection // by key: why the server refused the row; nil before the first

	inserted, updated, unchanged, repeated int64
}

// run merges all staged rows.
func (m *merge) run(ctx context.Context) error {
	if m.counts.staged == 0 {
		return nil
	}
	if _, err := m.q.Exec(ctx, "analyze pg_temp.crmctl_import"); err != nil {
		return fmt.Errorf("merge contacts: %w", err)
	}
	writes := m.policy == ConflictUpdate || m.policy == ConflictMerge
	if m.keeps() && writes || m.undo == undoOurs && !m.dryRun {
		if err := m.openUndo(ctx); err != nil {
			return err
		}
	}
	if err := m.rows(ctx); err != nil {
		return err
	}
	return m.accept(ctx)
}

// rows merges the staged rows by their key.
func (m *merge) rows(ctx context.Context) error {
	if m.own != nil {
		if err := m.ownRows(ctx); err != nil {
			return fmt.Errorf("merge contacts into the application's table: %w", err)
		}
		return nil
	}
	if m.key != KeyEmail {
		if err := m.keyed(ctx); err != nil {
			return fmt.Errorf("merge contacts by %s: %w", m.key, err)
		}
		return nil
	}
	if m.counts.staged > m.counts.stagedNoEmail {
		if err := m.byEmail(ctx); err != nil {
			return fmt.Errorf("merge contacts by e-mail: %w", err)
		}
	}
	if m.counts.stagedNoEmail > 0 {
		if err := m.withoutEmail(ctx); err != nil {
			return fmt.Errorf("merge contacts without e-mail: %w", err)
		}
	}
	return nil
}

// byEmail merges the rows with an address: those that share one first into one row, and
// that one, by the policy, with the contact that has the address.
func (m *merge) byEmail(ctx context.Context) error {
	rows, addresses := singleRowsSQL, m.counts.staged-m.counts.stagedNoEmail
	if m.counts.repeats > 0 {
		repeats, err := m.fold(ctx)
		if err != nil {
			return err
		}
		rows = foldedRowsSQL
		addresses -= repeats
		m.repeated += repeats
	}
	inserted, updated, err := m.write(ctx, rows)
	if err != nil {
		return err
	}
	m.inserted += inserted
	if m.direct {
		// What is there already are first rows of this file.
		m.repeated += addresses - inserted
	} else {
		m.updated += updated
		m.unchanged += addresses - inserted - updated
	}
	if m.inFile == RepeatError || m.policy == ConflictError {
		return m.rejectConflicts(ctx)
	}
	return nil
}

// write makes contacts of rows, or changes those that are there, and counts both.
func (m *merge) write(ctx context.Context, rows string) (inserted, updated int64, err error) {
	how, writes := m.rule()
	if !writes {
		return m.insertNew(ctx, rows)
	}
	if m.unites() {
		how = how.unite()
	}
	if m.inSlices() {
		return m.writeSlices(ctx, rows, how)
	}
	return m.writeAtOnce(ctx, rows, how)
}

// writeAtOnce writes all rows by one statement, or two.
func (m *merge) writeAtOnce(ctx context.Context, rows string, how mergeRule) (inserted, updated int64, err error) {
	if m.keeps() || m.unites() && !m.dryRun {
		return m.writeKept(ctx, rows, how)
	}
	return m.upsert(ctx, rows, how)
}

// unites reports whether lists in the metadata of contacts are united with those of rows:
// there are some, and the contacts are not spread over servers, where a statement cannot do
// it.
func (m *merge) unites() bool {
	merges := m.policy == ConflictMerge && !m.direct || m.direct && m.inFile == RepeatMerge
	return merges && m.counts.lists > 0 && m.undo != undoSpread
}

// upsert makes contacts of rows, or changes those that are there, in one statement.
func (m *merge) upsert(ctx context.Context, rows string, how mergeRule) (inserted, updated int64, err error) {
	statement := fmt.Sprintf(upsertSQL, m.contacts, how.changes("s", "e"), how.changes("excluded", "c"),
		how.name("s", "e"), how.set)
	if m.dryRun {
		statement = fmt.Sprintf(foreseeSQL, m.contacts, how.changes("s", "e"))
	}
	err = m.q.QueryRow(ctx, `
with src as (`+rows+`), touched as (`+statement+`)
select pg_catalog.count(*) filter (where t.inserted), pg_catalog.count(*) filter (where not t.inserted)
	from touched t`).Scan(&inserted, &updated)
	return inserted, updated, err
}

// insertNew makes contacts of the rows whose address no contact has.
func (m *merge) insertNew(ctx context.Context, rows string) (inserted, _ int64, err error) {
	n, err := m.insert(ctx, "from ("+rows+`) s
where not exists (select from `+m.contacts+` c where c.email operator(pg_catalog.=) s.email)
order by s.email collate pg_catalog."C"`,
		"on conflict (email) do nothing")
	return n, 0, err
}

// rule returns how a row changes the contact that has its address; writes is false where
// it never does. Where the contacts are this file's own, that is how rows with one
// address are merged.
func (m *merge) rule() (how mergeRule, writes bool) {
	switch {
	case m.direct && m.inFile == RepeatMerge, !m.direct && m.policy == ConflictUpdate:
		return updateRule(), true
	case m.direct && m.inFile == RepeatLast:
		return replaceRule(), true
	case !m.direct && m.policy == ConflictMerge:
		return fillRule(), true
	}
	return mergeRule{}, false
}

// upsertSQL writes the rows that make or change a contact. The join spares the
// others the row lock that ON CONFLICT takes even when it changes nothing; ON
// CONFLICT sees what others commit meanwhile. A row that was inserted has never
// been locked: its xmax is 0.
const upsertSQL = `
    insert into %[1]s as c (id, email, phone, name, company, metadata, created_at, updated_at)
    select s.id, s.email, s.phone, %[4]s, s.company, s.metadata, coalesce(s.created_at, pg_catalog.now()),
        pg_catalog.now()
    from src s left join %[1]s e on e.email operator(pg_catalog.=) s.email
    where e.id is null or %[2]s
    on conflict (email) do update
    set %[5]s, updated_at = pg_catalog.now()
    where %[3]s
    returning c.email, c.xmax operator(pg_catalog.=) 0 as inserted`

// foreseeSQL returns what upsertSQL would, and writes nothing.
const foreseeSQL = `
    select s.email, e.id is null as inserted
    from src s left join %[1]s e on e.email operator(pg_catalog.=) s.email
    where e.id is null or %[2]s`

// insert adds the staged rows of a from clause to contacts, or counts them in a
// dry run.
func (m *merge) insert(ctx context.Context, from, suffix string) (n int64, err error) {
	if m.dryRun {
		err = m.q.QueryRow(ctx, "select pg_catalog.count(*) from (select "+from+") s").Scan(&n)
		return n, err
	}
	tag, err := m.q.Exec(ctx, `
insert into `+m.contacts+` (id, email, phone, name, company, metadata, created_at, updated_at)
select s.id, s.email, s.phone, s.name, s.company, s.metadata, coalesce(s.created_at, pg_catalog.now()),
        pg_catalog.now()
`+from+" "+suffix)
	return tag.RowsAffected(), err
}

// withoutEmail inserts the rows without an address, but for those that agree
// with a contact, or with an earlier row, in everything.
//
// Both sides of the comparison can be large and nothing is known of how they
// fit, so the planner is kept from comparing each with each.
func (m *merge) withoutEmail(ctx context.Context) error {
	from := `from pg_temp.crmctl_import s
where s.email is null and not exists (
    select from ` + m.contacts + ` c
    where c.email is null and coalesce(c.phone, '') operator(pg_catalog.=) coalesce(s.phone, '')
      and coalesce(c.name, '') operator(pg_catalog.=) coalesce(s.name, '')
      and coalesce(c.company, '') operator(pg_catalog.=) coalesce(s.company, '')
      and c.metadata operator(pg_catalog.=) s.metadata)`
	if m.counts.repeatsNoEmail > 0 {
		from += `
  and s.id operator(pg_catalog.=) any (
      select (pg_catalog.array_agg(d.id order by d.id))[1] from pg_temp.crmctl_import d where d.email is null
      group by d.phone, d.name, d.company, d.metadata)`
	}
	if _, err := m.q.Exec(ctx, "set local enable_nestloop to off"); err != nil {
		return err
	}
	inserted, err := m.insert(ctx, from, "")
	if err != nil {
		return err
	}
	m.inserted += inserted
	alike := m.counts.stagedNoEmail - inserted
	if m.direct {
		m.repeated += alike
		return nil
	}
	if m.counts.repeatsNoEmail > 0 {
		var repeats int64
		if err := m.q.QueryRow(ctx, `
select coalesce(pg_catalog.sum(g.rows operator(pg_catalog.-) 1), 0)::bigint from (
    select pg_catalog.count(*) as rows from pg_temp.crmctl_import s where s.email is null
    group by s.phone, s.name, s.company, s.metadata) g`).Scan(&repeats); err != nil {
			return err
		}
		m.repeated += repeats
		alike -= repeats
	}
	m.unchanged += alike
	return nil
}
