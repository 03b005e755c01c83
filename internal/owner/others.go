package owner

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Other is a role that owns schemas of a fleet or tables in them, and is not the role of
// the session.
type Other struct {
	Role    string
	Schemas int64 // in which it owns something
	Tables  int64
	// Uses tells that the session's role may do what the owner may.
	Uses bool
	// Takes tells that the session may take the role, so that what it makes belongs to it.
	Takes bool
}

// Grant returns the statement, without its end, that lets a role work as the owner. Since
// PostgreSQL 16 a membership may leave that out.
func (o Other) Grant(me string, version int) string {
	const withOptions = 16
	sql := "grant " + db.Quoted(o.Role) + " to " + db.Quoted(me)
	if version >= withOptions {
		sql += " with inherit true, set true"
	}
	return sql
}

// Others returns who owns the schemas of the given names and the tables in them, beside the
// session's role, and what the role and the major version of the server are. Who owns the
// most is first.
func Others(ctx context.Context, q db.Querier, schemas []string) (found []Other, me string, version int, err error) {
	type server struct {
		Me      string
		Version int
	}
	standing, err := db.Select(ctx, q, pgx.RowToStructByPos[server], `select current_user::text,
		current_setting('server_version_num')::int4 / 10000`)
	if err == nil {
		me, version = standing[0].Me, standing[0].Version
		found, err = db.Select(ctx, q, pgx.RowToStructByPos[Other], `
		select pg_get_userbyid(o.owner)::text, count(distinct o.nsp)::int8, sum(o.tables)::int8,
			pg_has_role(o.owner, 'usage'), pg_has_role(session_user, o.owner, `+memberSQL+`)
		from (
			select n.nspowner, n.oid, 0 from pg_namespace n where n.nspname::text = any ($1::text[])
			union all
			select c.relowner, n.oid, count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
			where n.nspname::text = any ($1::text[]) and c.relkind in ('r', 'p', 'v', 'm', 'f') group by 1, 2
		) o (owner, nsp, tables)
		where o.owner <> (select r.oid from pg_roles r where r.rolname = current_user)
		group by o.owner order by 2 desc, 1`, schemas)
	}
	if err != nil {
		return nil, "", 0, fmt.Errorf("read who owns the schemas: %w", err)
	}
	return found, me, version, nil
}
