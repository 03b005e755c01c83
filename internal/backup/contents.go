package backup

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// left lists what belongs to a schema and is in no backup, in words. $1 is the schema.
// It needs pg_catalog alone on the path.
const left = `
	with rel as materialized (
		select c.oid, c.relname::text as name, c.relkind
		from pg_depend d join pg_class c on c.oid = d.objid
		where d.refclassid = 'pg_namespace'::regclass and d.refobjid = (select n.oid from pg_namespace n
			where n.nspname = $1::text)
		  and d.classid = 'pg_class'::regclass and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S')
	)
	select 'rows of foreign table ' || r.name from rel r where r.relkind = 'f'
	union all
	select 'publication ' || p.pubname || ' of table ' || r.name
	from rel r join pg_publication_rel x on x.prrelid = r.oid join pg_publication p on p.oid = x.prpubid
	union all
	select distinct 'security labels on ' || r.name from rel r join pg_seclabel l on l.classoid = 'pg_class'::regclass
		and l.objoid = r.oid
	union all
	select 'extension ' || e.extname || ', which stands in the schema'
	from pg_extension e where e.extnamespace = (select n.oid from pg_namespace n where n.nspname = $1::text)
	order by 1`

// queueLeft adds the query for what is not in the backup, on the path of our own.
func (s *snapshot) queueLeft(p *db.Pipeline) {
	p.Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowTo[string])
		for _, what := range found {
			s.leaveOut(what)
		}
		return err
	}, left, s.schema.String())
}

// LargeObjectsError says which large objects the rows of a tenant refer to. They stand
// in no schema, and a backup does not hold them.
type LargeObjectsError struct {
	Column string // table.column
	Count  int64
}

// Error names the column.
func (e *LargeObjectsError) Error() string {
	objects := "large objects"
	if e.Count == 1 {
		objects = "large object"
	}
	return fmt.Sprintf("column %s refers to %d %s (pg_largeobject), which stand in no schema: they are neither saved "+
		"nor copied", e.Column, e.Count, objects)
}

// Unwrap makes errors.Is(err, ErrNotRestorable) true.
func (e *LargeObjectsError) Unwrap() error { return ErrNotRestorable }

// refuseLargeObjects looks whether columns that can refer to large objects do. The
// tables are locked.
func (s *snapshot) refuseLargeObjects(ctx context.Context) error {
	var p db.Pipeline
	var found []LargeObjectsError
	for _, t := range s.there.of("r") {
		for i, c := range t.Columns {
			class := t.Large[i]
			if class == "" {
				continue
			}
			column, from := "x."+pgx.Identifier{c}.Sanitize(), "only "+qualified(s.schema, t.Name)+" x"
			if class == "A" { // an array of them
				from += " cross join lateral pg_catalog.unnest(" + column + ") v (oid)"
				column = "v.oid"
			}
			p.Become(t.Role)
			p.Ask(func(rows pgx.Rows) error {
				n, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[int64])
				if n > 0 {
					found = append(found, LargeObjectsError{Column: t.Name + "." + c, Count: n})
				}
				return err
			}, "select pg_catalog.count(distinct m.oid) from "+from+
				" join pg_catalog.pg_largeobject_metadata m on m.oid operator(pg_catalog.=) "+column)
			if t.Role != "" {
				p.Return()
			}
		}
	}
	if err := p.Run(ctx, s.conn); err != nil {
		return fmt.Errorf("look for large objects of schema %s: %w", s.schema, db.Plain(err))
	}
	if len(found) > 0 {
		return &found[0]
	}
	return nil
}
