package planted

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Power is what a role that is not trusted can do in schemas: whatever it plants
// there would run as the session's role.
type Power struct {
	Role    string // "public" for everybody
	Tables  int64  // that it owns, views among them
	Creates bool   // it may create in the schema, or owns it
	Schemas []string
}

const powersSQL = `with ` + me + `, wanted as materialized (
		select n.* from pg_namespace n where n.nspname = any ($1::text[]::name[])
	), power (schema, role, tables, creates) as (
		select w.nspname::text, c.relowner, 1, false from wanted w join pg_class c on c.relnamespace = w.oid
		where c.relkind in ('r', 'p', 'v', 'm', 'f') and {untrusted c.relowner}
		union all
		select w.nspname::text, w.nspowner, 0, true from wanted w where {untrusted w.nspowner}
		union all
		select w.nspname::text, a.grantee, 0, true from wanted w cross join aclexplode(w.nspacl) a
		where a.privilege_type = 'CREATE' and {untrusted a.grantee}
	)
	select case role when 0 then 'public' else pg_get_userbyid(role)::text end as role, sum(tables)::int8 as tables,
		bool_or(creates) as creates, array_agg(distinct schema order by schema) as schemas
	from power group by role order by 1`

// Powers returns the roles that own tables in schemas, or may create there, and are
// not trusted.
func Powers(ctx context.Context, q db.Querier, schemas []db.Schema, trusted []string) ([]Power, error) {
	if trusted == nil {
		trusted = []string{}
	}
	powers, err := db.Select(ctx, q, pgx.RowToStructByName[Power], expand(powersSQL, untrusted), names(schemas), trusted)
	if err != nil {
		return nil, fmt.Errorf("read who may create in the schemas: %w", err)
	}
	return powers, nil
}
