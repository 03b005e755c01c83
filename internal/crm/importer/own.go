package importer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// isOwn reports whether a table is an application's own rather than one of ours that is
// behind: ours have had these columns from the beginning.
func (t tableInfo) isOwn() bool {
	for _, column := range contactColumns {
		if i := slices.Index(t.Names, column.name); column.name != "company" &&
			(i < 0 || !slices.Contains(column.types, t.Types[i])) {
			return true
		}
	}
	return false
}

// ownVerdictSQL is as verdictSQL, with the rows numbered. %[1]s finds the contacts, %[2]s
// is whether a contact that is there is a conflict, %[3]s are the cases of a missing value.
const ownVerdictSQL = `
create temporary table crmctl_verdict on commit drop as
with one as (
    select f.k, (array_agg(c.key))[1] as contact, count(c.key) as n
    from pg_temp.crmctl_keyed f left join (%[1]s) c on c.k = f.k group by f.k
)
select f.*, o.contact, false as changed, row_number() over (order by f.first) as n, case
    when o.n > 1 then 'ambiguous_key'
    when o.contact is not null and %[2]s then 'exists'
    %[3]s
    end as verdict
from pg_temp.crmctl_keyed f join one o using (k)`

// ownRows merges all staged rows into an application's own table. What it finds stays so
// until the transaction ends: there may be no unique index that would see to it.
func (m *merge) ownRows(ctx context.Context) error {
	lock := ""
	if !m.dryRun {
		lock = "lock table " + m.contacts + " in share row exclusive mode"
	}
	if err := m.judge(ctx, lock, m.ownVerdict()); err != nil {
		return err
	}
	if _, err := m.q.Exec(ctx, "set constraints all immediate"); err != nil {
		return err // what is deferred would fail all rows at the end
	}
	return m.carryOut(ctx, m.insertOwn, m.updateOwn)
}

// ownContacts returns the query of the contacts that have a key k.
func (m *merge) ownContacts() string {
	column := func(field Field) string { return "c." + db.Quoted(m.own.at[field]) }
	find := func(k string, field Field) string {
		return "select " + k + " as k, c." + db.Quoted(m.own.primary) + " as key from " + m.contacts + " c where " +
			column(field) + " is not null"
	}
	email := "pg_catalog.lower(pg_catalog.btrim(" + column(FieldEmail) + "::pg_catalog.text))"
	phone := column(FieldPhone) + "::pg_catalog.text"
	switch m.key {
	case KeyEmail:
	case KeyPhone:
		return find(phone, FieldPhone)
	case KeyExternalID:
		return find(column(Field(externalID))+"::pg_catalog.text", Field(externalID))
	case KeyEmailPhone:
		return find(email, FieldEmail) + " union all " + find(phone, FieldPhone) + " and " + column(FieldEmail) + " is null"
	}
	return find(email, FieldEmail)
}

// ownVerdict returns ownVerdictSQL for the key and the columns.
func (m *merge) ownVerdict() string {
	var missing strings.Builder
	for _, c := range m.own.columns {
		if c.NotNull && c.bare != "" && c.fallback == "" {
			fmt.Fprintf(&missing, "when o.contact is null and %s is null then %s\n    ", c.bare,
				db.Literal(missingPrefix+c.Name))
		}
	}
	return fmt.Sprintf(ownVerdictSQL, m.ownContacts(), fmt.Sprint(m.policy == ConflictError), missing.String())
}

// missingPrefix begins the verdict on a row that lacks a value; the column follows.
const missingPrefix = string(RejectMissing) + ":"

// ownArgs are the keys of metadata that have columns, where a statement asks for them.
func (m *merge) ownArgs() []any {
	if m.own.keepsRest() {
		return []any{append([]string{}, m.own.used...)}
	}
	return nil
}

// insertOwn makes contacts of the rows that are none yet. A dry run makes them in a table
// like the application's.
func (m *merge) insertOwn(ctx context.Context) (int64, error) {
	into := m.contacts
	if m.dryRun {
		into = "pg_temp.crmctl_like"
		if err := m.makeLike(ctx); err != nil {
			return 0, err
		}
	}
	var names, values []string
	for _, c := range m.own.columns {
		value := c.value
		if c.fallback != "" {
			value = "coalesce(" + value + ", " + c.fallback + ")"
		}
		names, values = append(names, db.Quoted(c.Name)), append(values, value)
	}
	return m.halved(ctx, func(ctx context.Context, from, to int64) (int64, error) {
		// In this form a cluster takes a table with a default of now(), too.
		tag, err := m.q.Exec(ctx, "with f as materialized (select f.* from pg_temp.crmctl_verdict f "+
			"where f.contact is null and f.verdict is null"+between(from, to)+") insert into "+into+" ("+
			strings.Join(names, ", ")+") select "+strings.Join(values, ", ")+" from f order by f.n", m.ownArgs()...)
		return tag.RowsAffected(), err
	})
}

// between limits a statement to some of the judged rows.
func between(from, to int64) string {
	return fmt.Sprintf(" and f.n operator(pg_catalog.>=) %d and f.n operator(pg_catalog.<=) %d", from, to)
}

// makeLike makes an empty table with the columns, types and checks of the application's.
// What is not written may be null there; defaults, triggers, unique and foreign keys are
// left to the import.
func (m *merge) makeLike(ctx context.Context) error {
	var p db.Pipeline
	p.Exec("create temporary table crmctl_like (like " + m.contacts + " including constraints) on commit drop")
	for _, c := range m.own.table {
		if c.NotNull && !slices.ContainsFunc(m.own.columns, func(w ownColumn) bool { return w.Name == c.Name }) {
			p.Exec("alter table pg_temp.crmctl_like alter column " + db.Quoted(c.Name) + " drop not null")
		}
	}
	return p.Run(ctx, m.q)
}

// updateOwn changes the contacts that rows were found to be.
func (m *merge) updateOwn(ctx context.Context) (int64, error) {
	if m.policy == ConflictSkip || m.policy == ConflictError {
		return 0, nil
	}
	set, differs := m.ownChanges()
	if len(differs) == 0 {
		return 0, nil
	}
	where := " where " + m.own.isContact("f.contact") + " and f.verdict is null and (" +
		strings.Join(differs, "\n or ") + ")"
	return m.halved(ctx, func(ctx context.Context, from, to int64) (n int64, err error) {
		if m.dryRun {
			err = m.q.QueryRow(ctx, "select pg_catalog.count(*) from pg_temp.crmctl_verdict f, "+m.contacts+" c"+where+
				between(from, to), m.ownArgs()...).Scan(&n)
			return n, err
		}
		update := "update " + m.contacts + " c set " + strings.Join(set, ", ") + " from pg_temp.crmctl_verdict f" +
			where + between(from, to)
		if m.accepted != nil {
			err = m.q.QueryRow(ctx, fmt.Sprintf(notedSQL, update), m.ownArgs()...).Scan(&n)
			return n, err
		}
		tag, err := m.q.Exec(ctx, update, m.ownArgs()...)
		return tag.RowsAffected(), err
	})
}

// notedSQL does an update and notes in its rows that they have changed a contact.
const notedSQL = `
with touched as (%s returning f.n), noted as (
    update pg_temp.crmctl_verdict v set changed = true from touched t where v.n operator(pg_catalog.=) t.n returning 1
)
select pg_catalog.count(*) from touched`

// indexable are the types whose operator = is PostgreSQL's own: by it an index finds a key.
var indexable = []string{"uuid", "int2", "int4", "int8", "numeric", "text", "varchar", "bpchar", "name", "date",
	"timestamp", "timestamptz"}

// isContact is the condition that the key of a contact c is the value, of the same type.
func (o *own) isContact(value string) string {
	key, cast := "c."+db.Quoted(o.primary), "::pg_catalog.text"
	if i := slices.IndexFunc(o.table, func(c TableColumn) bool { return c.Name == o.primary }); i >= 0 &&
		slices.Contains(indexable, o.table[i].Base) {
		cast = ""
	}
	return key + cast + " operator(pg_catalog.=) " + value + cast
}

// ownChanges returns what an update sets in a contact c, and by which it differs from the
// row f.
func (m *merge) ownChanges() (set, differs []string) {
	for _, c := range m.own.columns {
		name := db.Quoted(c.Name)
		there, value := "c."+name, c.value
		switch {
		case c.Name == m.own.primary || c.created:
			continue
		case c.updated:
			set = append(set, name+" = "+value)
			continue
		case c.field == FieldEmail:
			// An address in capitals is the same one.
			value = "case when (pg_catalog.lower(pg_catalog.btrim(" + there + "::pg_catalog.text)) operator(pg_catalog.=) " +
				"f.email) is not true then " + value + " end"
		case c.field == FieldName && m.policy == ConflictUpdate:
			value = "case when not f.half or " + there + " is null then " + value + " end"
		}
		next := "coalesce(" + value + ", " + there + ")"
		if m.policy == ConflictMerge {
			next = "coalesce(" + there + ", " + value + ")"
		}
		if c.metadata {
			next = "coalesce(" + there + ", '{}') operator(pg_catalog.||) " + value
			if m.policy == ConflictMerge {
				next = value + " operator(pg_catalog.||) coalesce(" + there + ", '{}')"
			}
		}
		set = append(set, name+" = "+next)
		differs = append(differs, "("+next+") is not null and ((("+next+")::pg_catalog.text operator(pg_catalog.=) "+there+
			"::pg_catalog.text) is not true)")
	}
	return set, differs
}

// tableColumns returns the columns of a tenant's contacts, none where there is no table.
func tableColumns(ctx context.Context, conn *pgx.Conn, schema db.Schema) ([]string, error) {
	return db.Select(ctx, conn, pgx.RowTo[string], `
select a.attname::text from pg_attribute a join pg_class c on c.oid = a.attrelid
	join pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = 'contacts' and a.attnum > 0 and not a.attisdropped order by a.attnum`,
		schema.String())
}

// namesOther reports whether a pair of Options.Map names what is no field of ours.
func namesOther(pairs []string) bool {
	return slices.ContainsFunc(pairs, func(pair string) bool {
		i := strings.LastIndexByte(pair, '=')
		name := strings.TrimSpace(pair[i+1:])
		return i > 0 && name != "skip" && !strings.HasPrefix(name, "metadata.") && !slices.Contains(mapFields, name)
	})
}
