package importer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// contactColumns are the columns an import needs, and the types it can fill.
var contactColumns = []struct {
	name  string
	types []string
}{
	{"id", []string{"uuid"}},
	{"email", []string{"text", "character varying"}},
	{"phone", []string{"text", "character varying"}},
	{"name", []string{"text", "character varying"}},
	{"company", []string{"text", "character varying"}},
	{"metadata", []string{"jsonb"}},
	{"created_at", []string{"timestamp with time zone"}},
	{"updated_at", []string{"timestamp with time zone"}},
}

// tableInfo is what an import must know of the table contacts.
type tableInfo struct {
	OID         uint32   `db:"oid"`
	Kind        string   `db:"kind"` // relkind
	Owned       bool     `db:"owned"`
	RowSecurity bool     `db:"row_security"`
	HasChildren bool     `db:"has_children"` // or has had, by inheritance
	EmailUnique bool     `db:"email_unique"`
	Names       []string `db:"names"`
	Types       []string `db:"types"`

	Undo      string `db:"undo"`      // whose UndoTable is there
	UndoLeft  bool   `db:"undo_left"` // it can hold how an import has left a contact
	MayCreate bool   `db:"may_create"`

	Tuples float64 `db:"tuples"` // rows as of the last analysis; -1 for never
}

// ordinaryTable is the relkind of a table that is neither partitioned nor foreign.
const ordinaryTable = "r"

// placed reports whether a contact's ctid is its place, and can be asked for.
func (t tableInfo) placed() bool {
	return t.Kind == ordinaryTable && !t.HasChildren && !t.RowSecurity
}

// Whose UndoTable a schema has.
const (
	undoNone  = "none"
	undoOurs  = "ours"  // or that of a role whose rights this one has
	undoOther = "other" // or it is no such table
	// undoSpread says that schemas are spread over servers: nothing is kept there.
	undoSpread = "spread"
)

const tableInfoSQL = `
select c.oid, c.relkind::text as kind,
       pg_catalog.pg_has_role(c.relowner, 'usage') as owned,
       pg_catalog.row_security_active(c.oid) as row_security, c.relhassubclass as has_children,
       exists (select from pg_catalog.pg_index i
               join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
               where i.indrelid = c.oid and a.attname = 'email' and i.indisunique and i.indisvalid and i.indimmediate
                 and i.indnkeyatts = 1 and i.indpred is null) as email_unique,
       array(select a.attname::text from pg_catalog.pg_attribute a
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum) as names,
       array(select pg_catalog.format_type(a.atttypid, null) from pg_catalog.pg_attribute a
             where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped order by a.attnum) as types,
       case when exists (select from pg_catalog.pg_class d where d.relname = 'pg_dist_partition')
            then '` + undoSpread + `'
            else coalesce((select case when u.relkind = 'r' and pg_catalog.pg_has_role(u.relowner, 'usage')
                and (select pg_catalog.count(*) from pg_catalog.pg_attribute a where a.attrelid = u.oid and a.attnum > 0
                     and a.attname in ('import_id', 'contact_id', 'xid', 'put_back_xid')) = 4 then '` + undoOurs + `'
                else '` + undoOther + `' end
            from pg_catalog.pg_class u
            where u.relnamespace = n.oid and u.relname = '` + UndoTable + `'), '` + undoNone + `') end as undo,
       exists (select from pg_catalog.pg_class u join pg_catalog.pg_attribute a on a.attrelid = u.oid
            where u.relnamespace = n.oid and u.relname = '` + UndoTable + `' and a.attname = 'left_as') as undo_left,
       pg_catalog.has_schema_privilege(n.oid, 'create') as may_create,
       c.reltuples::float8 as tuples
from pg_catalog.pg_class c
join pg_catalog.pg_namespace n on n.oid = c.relnamespace
where n.nspname = $1 and c.relname = 'contacts' and c.relkind in ('r', 'p', 'f', 'v')`

// inspectTable makes the staging table, reads about the table contacts and refuses
// one of ours that an import cannot fill. Whether one that is an application's own can be
// filled depends on the file.
func inspectTable(ctx context.Context, q db.Querier, schema db.Schema, path db.Path) (tableInfo, error) {
	problem := &TableError{Schema: schema.String(), Table: "contacts"}
	var info tableInfo
	var p db.Pipeline
	p.Exec(stageSQL)
	p.OwnPath()
	p.Query(func(rows pgx.Rows) (err error) {
		info, err = pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[tableInfo])
		return err
	}, tableInfoSQL, schema.String())
	p.StandIn(schema, path)
	err := p.Run(ctx, q)
	if errors.Is(err, pgx.ErrNoRows) {
		problem.Problems = []string{"is not there"}
		return tableInfo{}, problem
	}
	if err != nil {
		return tableInfo{}, fmt.Errorf("inspect table contacts: %w", err)
	}
	if info.isOwn() {
		return info, nil
	}
	for _, column := range contactColumns {
		i := slices.Index(info.Names, column.name)
		switch {
		case i < 0:
			problem.Missing = append(problem.Missing, column.name)
		case !slices.Contains(column.types, info.Types[i]):
			problem.Problems = append(problem.Problems, fmt.Sprintf("has column %s of type %s instead of %s", column.name,
				info.Types[i], column.types[0]))
		}
	}
	if !info.EmailUnique && !slices.Contains(problem.Missing, "email") {
		problem.Problems = append(problem.Problems, "has no unique index on email")
	}
	if len(problem.Missing)+len(problem.Problems) > 0 {
		return tableInfo{}, problem
	}
	return info, nil
}
