package stats

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Memory is what a session keeps of each tenant that it has looked at. The server never
// frees it while the session lasts: a pool of N sessions that serve every tenant keeps it N
// times.
type Memory struct {
	PerTenant int64 // bytes; 0 where there is no tenant
	// Measured tells that this session was asked before and after it looked at a few tenants;
	// otherwise PerTenant is computed from the number of relations.
	Measured bool
}

// bytesPerRelation is what PostgreSQL 14 to 18 keep of a table, an index or TOAST that a
// session has opened, within a tenth.
const bytesPerRelation = 4 << 10

const (
	// waitToMeasure bounds the wait for a table of a tenant that is only looked at to measure.
	waitToMeasure = 50 * time.Millisecond
	usedMemory    = `select sum(used_bytes)::bigint from pg_backend_memory_contexts`
)

// readMemory opens the relations of schemas, without keeping a lock, and asks the server
// what that has added. What this session has looked at before adds nothing, as behind a
// pooler: figures that are too small to be true are not believed.
func readMemory(ctx context.Context, conn *pgx.Conn, schemas []db.Schema, relations float64) (Memory, error) {
	m := Memory{PerTenant: int64(relations * bytesPerRelation)}
	names := make([]string, len(schemas))
	for i, s := range schemas {
		names[i] = s.String()
	}
	const open = `select count(pg_total_relation_size(c.oid)) from pg_depend d
		join pg_class c on c.oid = d.objid and c.relkind in ('r', 'm', 'S')
		where d.refclassid = 'pg_namespace'::regclass and d.classid = 'pg_class'::regclass
			and d.refobjid = any (select n.oid from pg_namespace n where n.nspname = any ($1::text[]::name[]))`
	var may bool
	var before, after int64
	var p db.Pipeline
	p.Begin(looking(waitToMeasure))
	p.QueryRow([]any{&may}, `select has_table_privilege('pg_backend_memory_contexts', 'select')`)
	p.Exec(open, []string{}) // what the statement itself takes
	if err := p.Run(ctx, conn); err != nil {
		return m, fmt.Errorf("look at the memory of a session: %w", db.Plain(err))
	}
	var measure db.Pipeline
	if may {
		measure.QueryRow([]any{&before}, usedMemory)
		measure.Exec(open, names)
		measure.QueryRow([]any{&after}, usedMemory)
	}
	measure.Exec("rollback")
	err := measure.Run(ctx, conn)
	switch {
	case db.SQLState(err) == db.CodeLockNotAvailable, db.SQLState(err) == db.CodeInsufficientPrivilege:
		return m, db.Rollback(ctx, conn)
	case err != nil:
		return m, fmt.Errorf("look at the memory of a session: %w", db.Plain(err))
	}
	if per := (after - before) / int64(len(schemas)); may && per*4 > m.PerTenant {
		m.PerTenant, m.Measured = per, true
	}
	return m, nil
}
