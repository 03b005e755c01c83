package tablespace

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// commonSQL finds, for schemas $1, the tablespace in which all of their tables stand, where that
// is not the database's own.
const commonSQL = `select n.nspname::text, s.spcname::text
	from pg_namespace n
	cross join lateral (
		select min(c.reltablespace) as least, max(c.reltablespace) as most
		from pg_depend d join pg_class c on c.oid = d.objid
		where d.refclassid = 'pg_namespace'::regclass and d.refobjid = n.oid and d.classid = 'pg_class'::regclass
			and c.relkind in ('r', 'm')
	) x
	join pg_tablespace s on s.oid = x.least and s.oid = x.most
	where n.nspname = any ($1::text[]::name[])`

// Common returns the tablespaces of schemas whose tables all stand in one that is not the
// database's own, by the schema's name.
func Common(ctx context.Context, q db.Querier, schemas []string) (map[string]string, error) {
	type row struct{ Schema, Name string }
	rows, err := db.Select(ctx, q, pgx.RowToStructByPos[row], commonSQL, schemas)
	if err != nil {
		return nil, fmt.Errorf("look in which tablespaces schemas stand: %w", err)
	}
	out := make(map[string]string, len(rows))
	for _, r := range rows {
		out[r.Schema] = r.Name
	}
	return out, nil
}

// QueueCommon adds the question for one schema to a pipeline, "" where there is none.
func QueueCommon(p *db.Pipeline, schema db.Schema, name *string) {
	p.QueryRow([]any{name}, `select coalesce((select c.name from (`+commonSQL+`) c (schema, name)), '')`,
		[]string{schema.String()})
}
