package importer

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// RepeatPolicy says what becomes of rows of one file that share an e-mail address.
type RepeatPolicy string

const (
	// RepeatMerge makes one row of them: of each column the last value, metadata merged
	// key by key.
	RepeatMerge RepeatPolicy = "merge"
	// RepeatFirst takes the first row whole.
	RepeatFirst RepeatPolicy = "first"
	// RepeatLast takes the last row whole.
	RepeatLast RepeatPolicy = "last"
	// RepeatError takes the first row and rejects the others.
	RepeatError RepeatPolicy = "error"
)

// ParseRepeatPolicy reads "first", "last", "merge" or "error"; "" is what goes with the
// conflict policy: the first where contacts stay as they are, an error where a conflict
// is one, otherwise merge.
func ParseRepeatPolicy(s string, conflict ConflictPolicy) (RepeatPolicy, error) {
	switch p := RepeatPolicy(s); p {
	case RepeatMerge, RepeatFirst, RepeatLast, RepeatError:
		return p, nil
	case "":
		switch conflict {
		case ConflictSkip:
			return RepeatFirst, nil
		case ConflictError:
			return RepeatError, nil
		}
		return RepeatMerge, nil
	}
	return "", fmt.Errorf("repeat policy %q is none of first, last, merge, error", s)
}

// mergeRule is how one row changes what is there.
type mergeRule struct {
	set     string // the assignments of an upsert, from excluded to c
	differs string // the condition that they change anything, from ROW to CONTACT
	half    bool   // half a name replaces no whole one
}

// changes is the condition that row changes contact.
func (r mergeRule) changes(row, contact string) string {
	name := "true"
	if r.half && row != "excluded" { // which has no name where it does not count
		name = "(not ROW.half or CONTACT.name is null)"
	}
	return strings.NewReplacer("ROW", row, "CONTACT", contact).Replace(strings.ReplaceAll(r.differs, "COUNTS", name))
}

// name is the name that row brings to contact, null where it brings none.
func (r mergeRule) name(row, contact string) string {
	if !r.half {
		return row + ".name"
	}
	return "case when not " + row + ".half or " + contact + ".name is null then " + row + ".name end"
}

// updateRule lets the row's values win.
func updateRule() mergeRule {
	return mergeRule{
		half: true,
		set: `phone = coalesce(excluded.phone, c.phone), name = coalesce(excluded.name, c.name),
			company = coalesce(excluded.company, c.company),
	metadata = c.metadata operator(pg_catalog.||) excluded.metadata`,
		differs: `(
	ROW.phone is not null and (ROW.phone operator(pg_catalog.=) CONTACT.phone) is not true
	or COUNTS and ROW.name is not null and (ROW.name operator(pg_catalog.=) CONTACT.name) is not true
	or ROW.company is not null and (ROW.company operator(pg_catalog.=) CONTACT.company) is not true
	or (CONTACT.metadata operator(pg_catalog.||) ROW.metadata) operator(pg_catalog.<>) CONTACT.metadata)`,
	}
}

// fillRule lets the contact's values win.
func fillRule() mergeRule {
	return mergeRule{
		set: `phone = coalesce(c.phone, excluded.phone), name = coalesce(c.name, excluded.name),
			company = coalesce(c.company, excluded.company),
	metadata = excluded.metadata operator(pg_catalog.||) c.metadata`,
		differs: `(
	CONTACT.phone is null and ROW.phone is not null
	or CONTACT.name is null and ROW.name is not null
	or CONTACT.company is null and ROW.company is not null
	or (ROW.metadata operator(pg_catalog.||) CONTACT.metadata) operator(pg_catalog.<>) CONTACT.metadata)`,
	}
}

// unitedListsSQL are the lists that both ROW and CONTACT have: the contact's own come first,
// then what the row has more. Elements with one "value", as addresses and numbers have, are
// the same.
const unitedListsSQL = `coalesce((
	select pg_catalog.jsonb_object_agg(k.key, (CONTACT.metadata operator(pg_catalog.->) k.key) operator(pg_catalog.||) (
		select coalesce(pg_catalog.jsonb_agg(x.e order by x.n), '[]')
		from pg_catalog.jsonb_array_elements(k.value) with ordinality as x (e, n)
		where not exists (select 1
			from pg_catalog.jsonb_array_elements(CONTACT.metadata operator(pg_catalog.->) k.key) as y (e)
			where y.e operator(pg_catalog.=) x.e
				or (y.e operator(pg_catalog.->>) 'value') operator(pg_catalog.=) (x.e operator(pg_catalog.->>) 'value'))))
	from pg_catalog.jsonb_each(ROW.metadata) as k (key, value)
	where pg_catalog.jsonb_typeof(k.value) operator(pg_catalog.=) 'array'
		and pg_catalog.jsonb_typeof(CONTACT.metadata operator(pg_catalog.->) k.key) operator(pg_catalog.=) 'array'), '{}')`

// unite makes a rule for rows that have lists: those are united.
func (r mergeRule) unite() mergeRule {
	const contact = ") operator(pg_catalog.<>) CONTACT.metadata"
	united := strings.NewReplacer("ROW", "excluded", "CONTACT", "c").Replace(unitedListsSQL)
	r.set = strings.TrimSpace(r.set) + " operator(pg_catalog.||) " + united
	r.differs = strings.Replace(r.differs, contact, " operator(pg_catalog.||) "+unitedListsSQL+contact, 1)
	return r
}

// replaceRule leaves nothing of the contact but its id.
func replaceRule() mergeRule {
	return mergeRule{
		set: `phone = excluded.phone, name = excluded.name, company = excluded.company,
			metadata = excluded.metadata, created_at = excluded.created_at`,
		differs: "true",
	}
}

// hotSQL are the staged rows whose address the file may have more than once; the address
// is their key.
const hotSQL = `
    select s.*, s.email as k from pg_temp.crmctl_import s
    where s.email in (select d.email from pg_temp.crmctl_import d where d.dup)`

// foldMergeSQL makes one row of all rows %[1]s with one key k: of each column the last
// value that is not null, the metadata as %[2]s says, the first row's id and created_at.
// first is the id of the first.
const foldMergeSQL = `
with hot as materialized (%[1]s), merged as (%[2]s), folded as (
    select h.k, count(*) as rows, (array_agg(h.id order by h.id))[1] as first,
           (array_agg(h.id order by h.id))[1] as id,
           (array_agg(h.email order by h.id desc) filter (where h.email is not null))[1] as email,
           (array_agg(h.phone order by h.id desc) filter (where h.phone is not null))[1] as phone,
           coalesce((array_agg(h.name order by h.id desc) filter (where h.name is not null and not h.half))[1],
                    (array_agg(h.name order by h.id desc) filter (where h.name is not null))[1]) as name,
           coalesce(bool_and(h.half) filter (where h.name is not null), false) as half,
           (array_agg(h.company order by h.id desc) filter (where h.company is not null))[1] as company,
           (array_agg(h.created_at order by h.id))[1] as created_at
    from hot h group by h.k
)
select f.*, coalesce(m.metadata, '{}') as metadata from folded f left join merged m using (k)`

// How the metadata of rows with one key becomes one: by the last value of each key, and,
// where rows have lists, of lists what any of them has, once, as unitedListsSQL has it.
const (
	lastMetadataSQL = `
    select h.k, jsonb_object_agg(e.key, e.value order by h.id) as metadata
    from hot h cross join lateral jsonb_each(h.metadata) e group by h.k`
	unitedMetadataSQL = `
    select v.k, jsonb_object_agg(v.key, coalesce(v.united, v.last)) as metadata from (
        select h.k, e.key, (array_agg(e.value order by h.id desc))[1] as last,
            case when count(*) > 1 and bool_and(jsonb_typeof(e.value) = 'array') then (
                select jsonb_agg(x.e order by x.i, x.j) from (
                    select distinct on (coalesce(y.e ->> 'value', y.e::text)) y.e, l.i, y.j
                    from unnest(array_agg(e.value order by h.id)) with ordinality as l (list, i)
                    cross join lateral jsonb_array_elements(l.list) with ordinality as y (e, j)
                    order by coalesce(y.e ->> 'value', y.e::text), l.i, y.j) x) end as united
        from hot h cross join lateral jsonb_each(h.metadata) e group by h.k, e.key) v group by v.k`
)

// foldOneSQL takes the first or the last of the rows %[1]s with one key, by the order of
// %[2]s.
const foldOneSQL = `
select distinct on (h.k) h.k, count(*) over w as rows, first_value(h.id) over (partition by h.k order by h.id) as first,
       h.id, h.email, h.phone, h.name, h.half, h.company, h.metadata, h.created_at
from (%[1]s) h window w as (partition by h.k) order by h.k, h.id %[2]s`

// foldSQL returns the query that makes one row of those with one key.
func (m *merge) foldSQL(rows string) string {
	switch m.inFile {
	case RepeatMerge:
	case RepeatLast:
		return fmt.Sprintf(foldOneSQL, rows, "desc")
	case RepeatFirst, RepeatError:
		return fmt.Sprintf(foldOneSQL, rows, "asc")
	}
	if m.counts.lists > 0 {
		return fmt.Sprintf(foldMergeSQL, rows, unitedMetadataSQL)
	}
	return fmt.Sprintf(foldMergeSQL, rows, lastMetadataSQL)
}

// fold makes the table crmctl_fold, and returns how many rows less it has than were
// staged.
func (m *merge) fold(ctx context.Context) (repeats int64, err error) {
	var fold db.Pipeline
	fold.OwnPath()
	fold.Exec("create temporary table crmctl_fold on commit drop as " + m.foldSQL(hotSQL))
	fold.Exec("analyze pg_temp.crmctl_fold")
	fold.QueryRow([]any{&repeats}, "select coalesce(sum(rows - 1), 0)::bigint from pg_temp.crmctl_fold")
	fold.StandIn(m.schema, m.path)
	return repeats, fold.Run(ctx, m.q)
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

// rejectConflicts rejects the staged rows that met a contact, or an earlier row, where
// that is an error.
func (m *merge) rejectConflicts(ctx context.Context) error {
	group, join := "s.id", ""
	if m.counts.repeats > 0 {
		group, join = "coalesce(f.id, s.id)", "left join pg_temp.crmctl_fold f using (email)"
	}
	met := "not exists (select from " + m.contacts + " c where c.id = " + group + ")"
	if m.dryRun {
		met = "exists (select from " + m.contacts + " c where c.email = s.email)"
	}
	later := "row_number() over (partition by s.email order by s.id) > 1"
	if m.direct { // the first is a contact now
		later = "not exists (select from " + m.contacts + " c where c.id = s.id)"
	}
	which := []string{"false"}
	if m.inFile == RepeatError {
		which = append(which, "s.later")
	}
	if m.policy == ConflictError && !m.direct {
		which = append(which, met)
	}
	var p db.Pipeline
	p.OwnPath()
	p.Query(m.rejectRows, `
select s.line, s.email, s.raw, s.later
from (select s.*, `+later+` as later from pg_temp.crmctl_import s where s.email is not null) s
`+join+`
where `+strings.Join(which, " or ")+" order by s.line, s.id")
	p.StandIn(m.schema, m.path)
	return p.Run(ctx, m.q)
}

func (m *merge) rejectRows(rows pgx.Rows) error {
	var (
		line       int64
		email, raw string
		later      bool
	)
	_, err := pgx.ForEachRow(rows, []any{&line, &email, &raw, &later}, func() error {
		why := rejection{code: RejectExists, column: m.column, message: "a contact has the e-mail address " + email}
		if later && m.inFile == RepeatError {
			why = rejection{code: RejectDuplicate, column: m.column, message: "an earlier row has the e-mail address " + email}
		}
		if later {
			m.repeated--
		} else {
			m.unchanged--
		}
		return m.rejects.addText([]byte(raw), line, &why)
	})
	return err
}
