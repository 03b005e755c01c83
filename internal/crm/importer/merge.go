package importer

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

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
    email pg_catalog.text, phone pg_catalog.text, name pg_catalog.text, company pg_catalog.text, metadata pg_catalog.jsonb not null,
    created_at timestamp with time zone, raw pg_catalog.text
) on commit drop`

// foldSQL makes one row of all staged rows with one address, for the addresses
// that may occur more than once: of each column the last value that is not null,
// the metadata merged key by key, the first row's id and created_at. news counts
// the rows that say something the row before them did not.
//
// The %s is how the first staged row of an address is compared: where its
// predecessor is in contacts already, since the load went straight there, with
// that.
const foldSQL = `
create temporary table crmctl_fold on commit drop as
with hot as materialized (
    select s.*, lag(s.line) over w as before, lag(s.phone) over w as p_phone, lag(s.name) over w as p_name,
           lag(s.company) over w as p_company, lag(s.metadata) over w as p_metadata
    from pg_temp.crmctl_import s
    where s.email in (select d.email from pg_temp.crmctl_import d where d.dup)
    window w as (partition by s.email order by s.line)
), judged as (
    select h.*, case when h.before is not null then
                    h.phone is not null and h.phone is distinct from h.p_phone
                    or h.name is not null and h.name is distinct from h.p_name and (not h.half or h.p_name is null)
                    or h.company is not null and h.company is distinct from h.p_company
                    or (h.p_metadata || h.metadata) <> h.p_metadata
                %s end as news
    from hot h %s
), merged as (
    select h.email, jsonb_object_agg(e.key, e.value order by h.line) as metadata
    from hot h cross join lateral jsonb_each(h.metadata) e group by h.email
), folded as (
    select j.email, count(*) filter (where j.news) as news,
           (array_agg(j.id order by j.line))[1] as id,
           (array_agg(j.phone order by j.line desc) filter (where j.phone is not null))[1] as phone,
           coalesce((array_agg(j.name order by j.line desc) filter (where j.name is not null and not j.half))[1],
                    (array_agg(j.name order by j.line desc) filter (where j.name is not null))[1]) as name,
           coalesce(bool_and(j.half) filter (where j.name is not null), false) as half,
           (array_agg(j.company order by j.line desc) filter (where j.company is not null))[1] as company,
           (array_agg(j.created_at order by j.line))[1] as created_at
    from judged j group by j.email
)
select f.*, coalesce(m.metadata, '{}') as metadata from folded f left join merged m using (email)`

// merge carries the staged rows over to contacts and counts what became of them.
type merge struct {
	q        db.Querier
	schema   db.Schema
	path     db.Path // behind it
	contacts string  // the table, in full
	policy   ConflictPolicy
	dryRun   bool
	direct   bool // the contacts are this file's own rows
	counts   counts
	rejects  *rejects
	column   string // the header addresses came from, for messages

	inserted, updated, unchanged int64
}

// run merges all staged rows.
func (m *merge) run(ctx context.Context) error {
	if m.counts.staged == 0 {
		return nil
	}
	if _, err := m.q.Exec(ctx, "analyze pg_temp.crmctl_import"); err != nil {
		return fmt.Errorf("merge contacts: %w", err)
	}
	if m.counts.staged > m.counts.stagedNoEmail {
		step := m.firstOnly
		if m.policy == ConflictUpdate {
			step = m.update
		}
		if err := step(ctx); err != nil {
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

// changesContact is the condition that merging row changes contact. name is the
// condition that the row's name counts.
func changesContact(row, contact, name string) string {
	return strings.NewReplacer("ROW", row, "CONTACT", contact, "COUNTS", name).Replace(`(
	ROW.phone is not null and (ROW.phone operator(pg_catalog.=) CONTACT.phone) is not true
	or COUNTS and ROW.name is not null and (ROW.name operator(pg_catalog.=) CONTACT.name) is not true
	or ROW.company is not null and (ROW.company operator(pg_catalog.=) CONTACT.company) is not true
	or (CONTACT.metadata operator(pg_catalog.||) ROW.metadata) operator(pg_catalog.<>) CONTACT.metadata)`)
}

// wholeName is the condition that row's name may replace contact's: half a name
// replaces none.
func wholeName(row, contact string) string {
	return "(not " + row + ".half or " + contact + ".name is null)"
}

// fold makes the table crmctl_fold.
func (m *merge) fold(ctx context.Context) error {
	news, join := "", ""
	if m.direct {
		news = "when c.id is not null then " + changesContact("h", "c", wholeName("h", "c"))
		join = "left join " + m.contacts + " c on h.before is null and c.email = h.email"
	}
	var fold db.Pipeline
	fold.OwnPath()
	fold.Exec(fmt.Sprintf(foldSQL, news, join))
	fold.Exec("analyze pg_temp.crmctl_fold")
	fold.StandIn(m.schema, m.path)
	return fold.Run(ctx, m.q)
}

// The rows to merge, one for each address: as staged where the file has an
// address once, as folded where it has it again.
const (
	singleRowsSQL = `
    select s.id, s.email, s.phone, s.name, s.half, s.company, s.metadata, s.created_at
    from pg_temp.crmctl_import s where s.email is not null`
	foldedRowsSQL = singleRowsSQL + `
      and not exists (select from pg_temp.crmctl_fold f where f.email operator(pg_catalog.=) s.email)
    union all
    select f.id, f.email, f.phone, f.name, f.half, f.company, f.metadata, f.created_at from pg_temp.crmctl_fold f`
)

// upsertSQL writes the rows that make or change a contact. The join spares the
// others the row lock that ON CONFLICT takes even when it changes nothing; ON
// CONFLICT sees what others commit meanwhile. A row that was inserted has never
// been locked: its xmax is 0.
const upsertSQL = `
    insert into %[1]s as c (id, email, phone, name, company, metadata, created_at)
    select s.id, s.email, s.phone, case when not s.half or e.name is null then s.name end, s.company, s.metadata, coalesce(s.created_at, pg_catalog.now())
    from src s left join %[1]s e on e.email operator(pg_catalog.=) s.email
    where e.id is null or %[2]s
    on conflict (email) do update
    set phone = coalesce(excluded.phone, c.phone), name = coalesce(excluded.name, c.name),
        company = coalesce(excluded.company, c.company), metadata = c.metadata operator(pg_catalog.||) excluded.metadata, updated_at = pg_catalog.now()
    where %[3]s
    returning c.email, c.xmax operator(pg_catalog.=) 0 as inserted`

// foreseeSQL returns what upsertSQL would, and writes nothing.
const foreseeSQL = `
    select s.email, e.id is null as inserted
    from src s left join %[1]s e on e.email operator(pg_catalog.=) s.email
    where e.id is null or %[2]s`

// update merges rows into the contacts with their address. Of the rows with one
// address the first counts as what became of the contact; a later one counts as
// updated when it says something that the row before it did not, unless the
// contact came out as it was.
func (m *merge) update(ctx context.Context) error {
	rows, news := singleRowsSQL, "0"
	if m.counts.repeats > 0 {
		if err := m.fold(ctx); err != nil {
			return err
		}
		rows = foldedRowsSQL
		news = "(select coalesce(pg_catalog.sum(f.news), 0) from pg_temp.crmctl_fold f join touched t on t.email operator(pg_catalog.=) f.email)"
		if m.direct {
			news = "(select coalesce(pg_catalog.sum(f.news), 0) from pg_temp.crmctl_fold f)"
		}
	}
	touched := fmt.Sprintf(upsertSQL, m.contacts, changesContact("s", "e", wholeName("s", "e")), changesContact("excluded", "c", "true"))
	if m.dryRun {
		touched = fmt.Sprintf(foreseeSQL, m.contacts, changesContact("s", "e", wholeName("s", "e")))
	}
	var inserted, updated, later int64
	err := m.q.QueryRow(ctx, fmt.Sprintf(`
with src as (%s), touched as (%s)
select pg_catalog.count(*) filter (where t.inserted), pg_catalog.count(*) filter (where not t.inserted), %s::bigint from touched t`,
		rows, touched, news)).Scan(&inserted, &updated, &later)
	if err != nil {
		return err
	}
	if m.direct {
		updated = 0 // what was changed are rows of this file, which later says
	}
	m.inserted += inserted
	m.updated += updated + later
	m.unchanged += m.counts.staged - m.counts.stagedNoEmail - inserted - updated - later
	return nil
}

// firstOnly inserts the first row of each address that no contact has. The
// others are left out, or rejected.
func (m *merge) firstOnly(ctx context.Context) error {
	from := `from pg_temp.crmctl_import s
where s.email is not null and not exists (select from ` + m.contacts + ` c where c.email operator(pg_catalog.=) s.email)`
	if m.counts.repeats > 0 {
		from += `
  and s.line operator(pg_catalog.=) any (
      select pg_catalog.min(d.line) from pg_temp.crmctl_import d where d.email is not null group by d.email)`
	}
	inserted, err := m.insert(ctx, from+" order by s.line", "on conflict (email) do nothing")
	if err != nil {
		return err
	}
	m.inserted += inserted
	left := m.counts.staged - m.counts.stagedNoEmail - inserted
	if m.policy == ConflictError {
		return m.rejectConflicts(ctx)
	}
	m.unchanged += left
	return nil
}

// insert adds the staged rows of a from clause to contacts, or counts them in a
// dry run.
func (m *merge) insert(ctx context.Context, from, suffix string) (n int64, err error) {
	if m.dryRun {
		err = m.q.QueryRow(ctx, "select pg_catalog.count(*) from (select "+from+") s").Scan(&n)
		return n, err
	}
	tag, err := m.q.Exec(ctx, `
insert into `+m.contacts+` (id, email, phone, name, company, metadata, created_at)
select s.id, s.email, s.phone, s.name, s.company, s.metadata, coalesce(s.created_at, pg_catalog.now())
`+from+" "+suffix)
	return tag.RowsAffected(), err
}

// rejectConflicts rejects the staged rows that were not inserted.
func (m *merge) rejectConflicts(ctx context.Context) error {
	left := "not exists (select from " + m.contacts + " c where c.id = s.id)"
	if m.dryRun {
		left = "(f.first < s.line or exists (select from " + m.contacts + " c where c.email = s.email))"
	}
	var p db.Pipeline
	p.OwnPath()
	p.Query(m.rejectRows, `
select s.line, s.email, s.raw, f.first < s.line as repeated
from pg_temp.crmctl_import s
join (select d.email, min(d.line) as first from pg_temp.crmctl_import d group by d.email) f using (email)
where `+left+" order by s.line")
	p.StandIn(m.schema, m.path)
	return p.Run(ctx, m.q)
}

func (m *merge) rejectRows(rows pgx.Rows) error {
	var (
		line       int64
		email, raw string
		repeated   bool
	)
	_, err := pgx.ForEachRow(rows, []any{&line, &email, &raw, &repeated}, func() error {
		why := rejection{code: RejectExists, column: m.column, message: "a contact has the e-mail address " + email}
		if repeated || m.direct {
			why = rejection{code: RejectDuplicate, column: m.column, message: "an earlier row has the e-mail address " + email}
		}
		return m.rejects.addText([]byte(raw), line, &why)
	})
	return err
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
  and s.line operator(pg_catalog.=) any (
      select pg_catalog.min(d.line) from pg_temp.crmctl_import d where d.email is null
      group by d.phone, d.name, d.company, d.metadata)`
	}
	if _, err := m.q.Exec(ctx, "select pg_catalog.set_config('enable_nestloop', 'off', true)"); err != nil {
		return err
	}
	inserted, err := m.insert(ctx, from, "")
	if err != nil {
		return err
	}
	m.inserted += inserted
	m.unchanged += m.counts.stagedNoEmail - inserted
	return nil
}
