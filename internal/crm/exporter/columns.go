package exporter

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/contactfile"
	"github.com/crmctl/crmctl/internal/db"
)

// Kind is what a column holds, as far as a format tells it apart.
type Kind int

// The kinds. Of what is Other the text is written that the server gives.
const (
	Text Kind = iota
	UUID
	Time
	JSON
	Number
	Bool
	Other
)

// Column is one that is written.
type Column struct {
	Name string
	Kind Kind
	Type string // as the server writes it, "" where tenants differ

	class string // the category of its type
}

// shape is what the table of one or more tenants is like.
type shape struct {
	Names   []string `db:"names"`
	Types   []string `db:"types"`
	Classes []string `db:"classes"`
	OIDs    []uint32 `db:"oids"`
	Schemas []string `db:"schemas"`
}

// shapesSQL returns how the table $2 looks in the schemas $1, each kind of table once.
const shapesSQL = `
select s.names, s.types, s.classes, s.oids, array_agg(s.schema order by s.schema) as schemas
from (
    select n.nspname::text as schema, array_agg(a.attname::text order by a.attnum) as names,
        array_agg(format_type(a.atttypid, null) order by a.attnum) as types,
        array_agg(t.typcategory::text order by a.attnum) as classes, array_agg(a.atttypid order by a.attnum) as oids
    from pg_namespace n join pg_class c on c.relnamespace = n.oid and c.relname = $2
    join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    join pg_type t on t.oid = a.atttypid
    where n.nspname = any ($1::text[]::name[]) and c.relkind in ('r', 'p', 'v', 'm', 'f')
    group by n.oid, n.nspname
) s
group by s.names, s.types, s.classes, s.oids
order by min(s.schema)`

// readShapes returns the columns of all tenants together, and how each tenant's table looks.
func readShapes(ctx context.Context, q db.Querier, table Table, schemas []db.Schema) ([]Column, map[string]*shape,
	error) {
	names := make([]string, len(schemas))
	for i, s := range schemas {
		names[i] = s.String()
	}
	list, err := db.Select(ctx, q, pgx.RowToAddrOfStructByName[shape], shapesSQL, names, string(table))
	if err != nil {
		return nil, nil, fmt.Errorf("read the columns of %s: %w", table, err)
	}
	var columns []Column
	of := make(map[string]*shape, len(schemas))
	for _, s := range list {
		for _, schema := range s.Schemas {
			of[schema] = s
		}
		columns = unite(columns, s)
	}
	return inOrder(table, columns), of, nil
}

// inOrder puts the columns of our own contacts first, as they were meant, where they are all
// there: one that was added later stands last in a table.
func inOrder(table Table, columns []Column) []Column {
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	if table != Contacts || !contactfile.IsOwn(names) {
		return columns
	}
	rank := func(c Column) int {
		if i := slices.Index(contactfile.Columns(), c.Name); i >= 0 {
			return i
		}
		return len(columns)
	}
	slices.SortStableFunc(columns, func(a, b Column) int { return rank(a) - rank(b) })
	return columns
}

// unite adds the columns of a table to those of others. One that is new comes behind those
// that stand before it there.
func unite(columns []Column, s *shape) []Column {
	at := 0
	for i, name := range s.Names {
		c := Column{Name: name, Kind: kindOf(s.Types[i], s.Classes[i]), Type: s.Types[i], class: s.Classes[i]}
		found := slices.IndexFunc(columns, func(c Column) bool { return c.Name == name })
		switch {
		case found < 0:
			columns = slices.Insert(columns, at, c)
			at++
			continue
		case columns[found].Type != c.Type:
			columns[found].Kind, columns[found].Type = Other, ""
		}
		at = found + 1
	}
	return columns
}

func kindOf(typ, class string) Kind {
	switch typ {
	case "uuid":
		return UUID
	case "timestamp with time zone":
		return Time
	case "json", "jsonb":
		return JSON
	case "text", "character varying", "character":
		return Text
	case "boolean":
		return Bool
	case "smallint", "integer", "bigint", "numeric", "real", "double precision":
		return Number
	}
	if class == "S" {
		return Text
	}
	return Other
}

// firstOwnType is the OID of the first type that is none of PostgreSQL's own.
const firstOwnType = 16384

// expression returns what is selected for a column of the file.
func (s *shape) expression(c Column) string {
	i := slices.Index(s.Names, c.Name)
	if i < 0 {
		return "null::pg_catalog.text"
	}
	name := "c." + db.Quoted(c.Name)
	switch {
	case s.OIDs[i] >= firstOwnType:
		// Not a cast, which somebody may have made.
		return "case when pg_catalog.num_nonnulls(" + name + ") operator(pg_catalog.=) 1 then pg_catalog.format('%s', " +
			name + ") end"
	case c.Kind == UUID, c.Kind == Time, s.Types[i] == "text", s.Types[i] == "character varying":
		return name
	}
	return name + "::pg_catalog.text"
}

// statement returns the COPY of a table.
func (s *shape) statement(named names, table Table, columns []Column, f *conditions) string {
	list := make([]string, len(columns))
	for i, c := range columns {
		list[i] = s.expression(c)
	}
	return "copy (select " + strings.Join(list, ", ") + " from " + named(string(table)) + " c" +
		f.where(named) + ") to stdout (format binary)"
}

// names returns the name of a tenant's table, as COPY has it.
type names func(table string) string

func inSchema(schema db.Schema, table string) string {
	return pgx.Identifier{schema.String(), table}.Sanitize()
}
