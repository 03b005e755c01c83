package importer

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// TableColumn is a column of an application's own table, and what fills it.
type TableColumn struct {
	Name    string `db:"name"`
	Type    string `db:"type"` // as the server writes it: "character varying(50)"
	NotNull bool   `db:"not_null"`
	// Default is its expression, "" for none; Generated columns are filled by the server
	// alone. Primary is the column that tells contacts apart, Unique one that a unique
	// index holds alone.
	Default   string `db:"preset"`
	Generated bool   `db:"generated"`
	Primary   bool   `db:"is_primary"`
	Unique    bool   `db:"is_unique"`

	Labels []string `db:"labels"` // of an enum
	Checks []string `db:"checks"` // the conditions that speak of it
	// Constraints are the names of these, of keys and of unique indexes.
	Constraints []string `db:"constraints"`

	// From are the headers of the file's columns that fill it, Fills what else does:
	// "the time of the import". Without either it keeps its default, or is null.
	From  []string `db:"-"`
	Fills string   `db:"-"`

	Cast      string `db:"type_name"` // the type, qualified
	Base      string `db:"base"`      // what its domains stand on: "int4"
	Length    int    `db:"length"`    // in characters, 0 without a limit
	Precision int    `db:"precision"` // of a numeric, 0 without a limit
	Scale     int    `db:"scale"`
}

// Missing reports whether a new contact needs a value that nothing fills.
func (c TableColumn) Missing() bool {
	return c.NotNull && c.Default == "" && !c.Generated && len(c.From) == 0 && c.Fills == ""
}

const tableColumnsSQL = `
with recursive base (num, type, kind, below, mod) as (
    select a.attnum, t.oid, t.typtype, t.typbasetype,
           case when t.typtype = 'd' then t.typtypmod else a.atttypmod end
    from pg_attribute a join pg_type t on t.oid = a.atttypid
    where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
    union all
    select b.num, t.oid, t.typtype, t.typbasetype,
           case when t.typtype = 'd' and t.typtypmod >= 0 then t.typtypmod else b.mod end
    from base b join pg_type t on t.oid = b.below where b.kind = 'd'
)
select a.attname::text as name, format_type(a.atttypid, a.atttypmod) as type, a.attnotnull as not_null,
       coalesce(case when a.attgenerated = '' then pg_get_expr(d.adbin, d.adrelid) end, '') as preset,
       a.attgenerated <> '' or a.attidentity <> '' as generated,
       exists (select from pg_index i where i.indrelid = a.attrelid and i.indisprimary and i.indnkeyatts = 1
               and i.indkey[0] = a.attnum) as is_primary,
       exists (select from pg_index i where i.indrelid = a.attrelid and i.indisunique and i.indisvalid
               and i.indnkeyatts = 1 and i.indpred is null and i.indkey[0] = a.attnum) as is_unique,
       array(select e.enumlabel::text from pg_enum e where e.enumtypid = b.type order by e.enumsortorder) as labels,
       array(select pg_get_constraintdef(k.oid) from pg_constraint k
             where k.conrelid = a.attrelid and k.contype = 'c' and a.attnum = any (k.conkey)
             order by k.conname) as checks,
       array(select k.conname::text from pg_constraint k where k.conrelid = a.attrelid and a.attnum = any (k.conkey)
             union select ic.relname::text from pg_index i join pg_class ic on ic.oid = i.indexrelid
             where i.indrelid = a.attrelid and i.indisunique and a.attnum = any (i.indkey::int2[])) as constraints,
       format('%I.%I', n.nspname, t.typname) as type_name, bt.typname::text as base,
       case when bt.typname in ('varchar', 'bpchar') and b.mod >= 4 then b.mod - 4 else 0 end as length,
       case when bt.typname = 'numeric' and b.mod >= 4 then (b.mod - 4) >> 16 else 0 end as precision,
       case when bt.typname = 'numeric' and b.mod >= 4 then (((b.mod - 4) & 2047) # 1024) - 1024 else 0 end as scale
from pg_attribute a
join pg_type t on t.oid = a.atttypid join pg_namespace n on n.oid = t.typnamespace
join base b on b.num = a.attnum and b.kind <> 'd' join pg_type bt on bt.oid = b.type
left join pg_attrdef d on d.adrelid = a.attrelid and d.adnum = a.attnum
where a.attrelid = $1 and a.attnum > 0 and not a.attisdropped
order by a.attnum`

// readColumns returns the columns of a table that is an application's own.
func readColumns(ctx context.Context, q db.Querier, schema db.Schema, path db.Path,
	table uint32) ([]TableColumn, error) {
	var columns []TableColumn
	var p db.Pipeline
	p.OwnPath()
	p.Query(func(rows pgx.Rows) (err error) {
		columns, err = pgx.CollectRows(rows, pgx.RowToStructByName[TableColumn])
		return err
	}, tableColumnsSQL, table)
	p.StandIn(schema, path)
	if err := p.Run(ctx, q); err != nil {
		return nil, fmt.Errorf("read the columns of contacts: %w", err)
	}
	return columns, nil
}

// Table is a tenant's table contacts, for an inspection.
type Table struct {
	Columns []TableColumn // those of an application's own; none where the table is ours
}

// ReadTable reads what an inspection has to know of a tenant's table contacts. It runs
// nothing that belongs to the tenant.
func ReadTable(ctx context.Context, conn *pgx.Conn, schema db.Schema) (*Table, error) {
	t := &Table{}
	err := db.InTx(ctx, conn, db.Locals{Snapshot: true}, func(ctx context.Context, q db.Querier) error {
		rows, err := q.Query(ctx, tableInfoSQL, schema.String())
		if err != nil {
			return err
		}
		info, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[tableInfo])
		if errors.Is(err, pgx.ErrNoRows) {
			return &TableError{Schema: schema.String(), Table: "contacts", Problems: []string{"is not there"}}
		}
		if err != nil || !info.isOwn() {
			return err
		}
		rows, err = q.Query(ctx, tableColumnsSQL, info.OID)
		if err != nil {
			return err
		}
		t.Columns, err = pgx.CollectRows(rows, pgx.RowToStructByName[TableColumn])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("read table contacts: %w", err)
	}
	return t, nil
}

// use has an inspection look at a file as an import into the table does.
func (t *Table) use(p *planned, o Options, in *Inspection) (*own, error) {
	if t == nil || len(t.Columns) == 0 {
		return nil, nil
	}
	key, err := ParseKey(string(o.Key))
	if err != nil {
		return nil, err
	}
	w, err := ownTable(slices.Clone(t.Columns), p.mapping, key)
	in.Table, in.NoPlace = w.table, w.noPlace
	return w, err
}

// names returns the columns' names.
func (t *Table) names() []string {
	var names []string
	for _, c := range t.Columns {
		names = append(names, c.Name)
	}
	return names
}
