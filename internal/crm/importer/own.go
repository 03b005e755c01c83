package importer

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// own is how rows go into a table contacts that an application has made itself: its
// columns are filled from the fields of the same name and from the file's columns that
// are called like them, or were mapped to them.
type own struct {
	primary string // the column that tells contacts apart
	columns []ownColumn
	used    []string // keys of metadata that have a column of their own
	noPlace []string // headers of the file that no column of the table takes
}

// ownColumn is a column that is written, and what of a folded row f goes there.
type ownColumn struct {
	name     string
	value    string // an expression of the column's type
	metadata bool
	required bool
}

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

// ownTable matches the table's columns with what the file has.
func ownTable(t tableInfo, m *mapping, key Key) (*own, error) {
	problem := func(format string, args ...any) error {
		return &MappingError{Reason: "the tenant's table contacts, which is an application's own, " +
			fmt.Sprintf(format, args...), Headers: m.headers()}
	}
	o := &own{primary: t.PrimaryKey}
	if o.primary == "" {
		return nil, problem("has no primary key of one column")
	}
	for name := range strings.SplitSeq(string(key), ",") {
		if !slices.Contains(t.Names, name) {
			return nil, problem("has no column %s, by which a contact would be known (it has %s)", name,
				strings.Join(t.Names, ", "))
		}
	}
	placed := map[int]bool{}
	for i, name := range t.Names {
		if slices.Contains(t.Generated, name) {
			continue
		}
		c := ownColumn{name: name, required: slices.Contains(t.Required, name)}
		c.value = o.value(name, t.Types[i], t.Casts[i], m, placed)
		c.metadata = name == "metadata" && t.Types[i] == "jsonb"
		switch {
		case c.value != "":
			c.required = slices.Contains(t.NotNull, name)
			o.columns = append(o.columns, c)
		case c.required:
			e := &MappingError{
				Reason:  fmt.Sprintf("the tenant's table contacts needs a value for its column %s, and no column of the file has it", name),
				Headers: m.headers(), Field: Field(name),
			}
			for _, column := range m.columns {
				if column.Field == FieldMetadata && !column.Asked {
					e.Candidates = append(e.Candidates, Candidate{Header: column.Header, Sample: column.Sample})
				}
			}
			return nil, e
		}
	}
	if o.keepsRest() {
		return o, nil
	}
	for i, column := range m.columns {
		if column.Field != FieldSkip && !placed[i] {
			o.noPlace = append(o.noPlace, column.Header)
		}
	}
	return o, nil
}

func (o *own) keepsRest() bool {
	return slices.ContainsFunc(o.columns, func(c ownColumn) bool { return c.metadata })
}

// value returns the expression for a column of the table, "" for none.
func (o *own) value(name, kind, cast string, m *mapping, placed map[int]bool) string {
	if name == o.primary && kind == "uuid" {
		return "f.id"
	}
	field := Field(name)
	take := func() bool {
		for _, i := range m.sources[field] {
			placed[i] = true
		}
		return len(m.sources[field]) > 0
	}
	switch field {
	case FieldEmail, FieldPhone, FieldCompany:
		if take() {
			return "f." + name + "::" + cast
		}
	case FieldName:
		named := take()
		for _, part := range []Field{FieldFirstName, FieldLastName} {
			for _, i := range m.sources[part] {
				placed[i], named = true, true
			}
		}
		if named {
			return "f.name::" + cast
		}
	case FieldCreatedAt:
		take()
		return "coalesce(f.created_at, pg_catalog.now())::" + cast
	case FieldMetadata:
		if kind == "jsonb" {
			return "(f.metadata operator(pg_catalog.-) $1::pg_catalog.text[])"
		}
	}
	if name == "updated_at" {
		return "pg_catalog.now()::" + cast
	}
	for i, column := range m.columns {
		if column.Key == "" || squeeze(column.Key) != squeeze(name) {
			continue
		}
		if column.Field != FieldMetadata && column.Field != FieldFirstName && column.Field != FieldLastName {
			continue
		}
		if name == o.primary && !column.Asked {
			continue // another program's numbers are no keys here
		}
		placed[i] = true
		o.used = append(o.used, column.Key)
		return "(f.metadata operator(pg_catalog.->>) " + db.Literal(column.Key) + ")::" + cast
	}
	return ""
}

// ownVerdictSQL is as verdictSQL. %[1]s finds the contacts, %[2]s is whether a contact
// that is there is a conflict, %[3]s that a value is missing.
const ownVerdictSQL = `
create temporary table crmctl_verdict on commit drop as
with one as (
    select f.k, (array_agg(c.key))[1] as contact, count(c.key) as n
    from pg_temp.crmctl_keyed f left join (%[1]s) c on c.k = f.k group by f.k
)
select f.*, o.contact, case
    when o.n > 1 then 'ambiguous_key'
    when o.contact is not null and %[2]s then 'exists'
    when o.contact is null and (%[3]s) then 'missing_value'
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
	return m.carryOut(ctx, m.insertOwn, m.updateOwn)
}

// ownVerdict returns ownVerdictSQL for the key and the columns.
func (m *merge) ownVerdict() string {
	primary := "c." + pgx.Identifier{m.own.primary}.Sanitize()
	find := "select lower(btrim(c.email::text)) as k, " + primary + " as key from " + m.contacts +
		" c where c.email is not null"
	switch m.key {
	case KeyEmail:
	case KeyPhone:
		find = "select c.phone::text as k, " + primary + " as key from " + m.contacts + " c where c.phone is not null"
	case KeyExternalID:
		find = "select c.external_id::text as k, " + primary + " as key from " + m.contacts +
			" c where c.external_id is not null"
	case KeyEmailPhone:
		find += " union all select c.phone::text, " + primary + " from " + m.contacts +
			" c where c.phone is not null and c.email is null"
	}
	missing := []string{"false"}
	for _, c := range m.own.columns {
		if c.required && !c.metadata { // which is never null
			missing = append(missing, c.value+" is null")
		}
	}
	return fmt.Sprintf(ownVerdictSQL, find, fmt.Sprint(m.policy == ConflictError), strings.Join(missing, " or "))
}

func (m *merge) insertOwn(ctx context.Context) (n int64, err error) {
	const which = " from pg_temp.crmctl_verdict f where f.contact is null and f.verdict is null"
	if m.dryRun {
		err = m.q.QueryRow(ctx, "select pg_catalog.count(*)"+which).Scan(&n)
		return n, err
	}
	var names, values []string
	for _, c := range m.own.columns {
		names, values = append(names, pgx.Identifier{c.name}.Sanitize()), append(values, c.value)
	}
	tag, err := m.q.Exec(ctx, "insert into "+m.contacts+" ("+strings.Join(names, ", ")+") select "+
		strings.Join(values, ", ")+which+" order by f.id", m.ownArgs()...)
	return tag.RowsAffected(), err
}

// ownArgs are the keys of metadata that have columns, where a statement asks for them.
func (m *merge) ownArgs() []any {
	if m.own.keepsRest() {
		return []any{append([]string{}, m.own.used...)}
	}
	return nil
}

func (m *merge) updateOwn(ctx context.Context) (n int64, err error) {
	if m.policy == ConflictSkip || m.policy == ConflictError {
		return 0, nil
	}
	var set, differs []string
	for _, c := range m.own.columns {
		there := "c." + pgx.Identifier{c.name}.Sanitize()
		value := c.value
		switch {
		case c.name == m.own.primary || c.name == "created_at":
			continue
		case c.name == "updated_at":
			set = append(set, c.name+" = "+value)
			continue
		case c.name == "email":
			// An address in capitals is the same one.
			value = "case when (pg_catalog.lower(pg_catalog.btrim(c.email::pg_catalog.text)) operator(pg_catalog.=) f.email) " +
				"is not true then " + value + " end"
		case c.name == "name" && m.policy == ConflictUpdate:
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
		set = append(set, pgx.Identifier{c.name}.Sanitize()+" = "+next)
		differs = append(differs, "("+next+") is not null and ((("+next+")::pg_catalog.text operator(pg_catalog.=) "+there+
			"::pg_catalog.text) is not true)")
	}
	if len(differs) == 0 {
		return 0, nil
	}
	where := " where c." + pgx.Identifier{m.own.primary}.Sanitize() +
		"::pg_catalog.text operator(pg_catalog.=) f.contact::pg_catalog.text and f.verdict is null and (" +
		strings.Join(differs, "\n or ") + ")"
	if m.dryRun {
		err = m.q.QueryRow(ctx, "select pg_catalog.count(*) from pg_temp.crmctl_verdict f, "+m.contacts+" c"+where,
			m.ownArgs()...).Scan(&n)
		return n, err
	}
	tag, err := m.q.Exec(ctx, "update "+m.contacts+" c set "+strings.Join(set, ", ")+" from pg_temp.crmctl_verdict f"+
		where, m.ownArgs()...)
	return tag.RowsAffected(), err
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
