package registry

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// MayChange is an expression that reports whether a role, by an expression for its oid,
// may change the registry or become a role that may.
func (r Registry) MayChange(role string) string {
	table := db.Literal(r.Tenants())
	return `(pg_catalog.has_table_privilege(` + role + `, ` + table +
		`, 'update') or exists (select from pg_catalog.pg_roles o
		where pg_catalog.pg_has_role(` + role + `, o.oid, 'member') and pg_catalog.has_table_privilege(o.oid, ` + table +
		`, 'update')))`
}

// Key returns the number of the advisory lock for something of this registry that is no
// tenant.
func (r Registry) Key(what string) int64 {
	if r.schema.IsZero() {
		return db.Key(what)
	}
	return db.Key(r.schema.String() + ":" + what)
}

// HoldKey takes the advisory lock of something that is no tenant, as db.HoldKey has it.
func (r Registry) HoldKey(ctx context.Context, q db.Querier, what string) error {
	return db.HoldKey(ctx, q, r.Key(what), r.MayChange("a.usesysid"))
}

// Busy reports whether somebody holds the lock of one of the tenants, or one of the server
// processes is still there that have worked on them.
func (r Registry) Busy(ctx context.Context, q db.Querier, tenants []string, pids []uint32) (bool, error) {
	processes := make([]int32, len(pids))
	for i, pid := range pids {
		processes[i] = int32(pid)
	}
	busy, err := db.Select(ctx, q, pgx.RowTo[bool], `select exists (
			select from pg_stat_activity where pid = any ($2::int4[]))
			or (select count(*) from `+r.Tenants()+` where id = any ($1::uuid[]))
				> (select count(*) from (select from `+r.Tenants()+` where id = any ($1::uuid[]) for share skip locked) l)`,
		tenants, processes)
	if err != nil {
		return false, fmt.Errorf("look for work that goes on: %w", err)
	}
	return busy[0], nil
}
