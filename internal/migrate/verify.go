package migrate

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
)

// historyChunk is how many schemas one statement reads: each table costs it a lock or
// two, and the server has room for some thousand.
const historyChunk = 100

// ActualVersion is what a tenant's own schema says of its version.
type ActualVersion struct {
	Version int64
	// Late are files older than Version that were never applied to it.
	Late []*Migration
	// Err is db.ErrWrongSchema, ErrNotManaged, or why the schema could not be
	// read.
	Err error
}

// Verify reads the versions of all given tenants from their own schemas, at most
// a hundred in a statement. Truths are in the order of the tenants. A schema that
// somebody has locked is waited for no longer than lockTimeout.
func (p *Plan) Verify(ctx context.Context, conn *pgx.Conn, tenants []registry.Tenant,
	lockTimeout time.Duration) ([]ActualVersion, error) {
	actual := make([]ActualVersion, len(tenants))
	readable, err := readableSchemas(ctx, conn)
	if err != nil {
		return nil, err
	}
	var chunk []int
	read := func() error {
		defer func() { chunk = chunk[:0] }()
		return p.verifyChunk(ctx, conn, tenants, readable, chunk, actual, lockTimeout)
	}
	for i, t := range tenants {
		found, exists := readable[t.Schema.String()]
		switch {
		case !exists:
			actual[i].Err = fmt.Errorf("%w: %s", db.ErrWrongSchema, t.Schema)
		case !found.Managed:
			actual[i].Err = fmt.Errorf("%w: %s", ErrNotManaged, t.Schema)
		default:
			if len(chunk) > 0 && readable[tenants[chunk[0]].Schema.String()].Role != found.Role {
				if err := read(); err != nil { // a statement is one role's
					return nil, err
				}
			}
			chunk = append(chunk, i)
		}
		if len(chunk) == historyChunk || i == len(tenants)-1 {
			if err := read(); err != nil {
				return nil, err
			}
		}
	}
	return actual, nil
}

// readableSchema is what the catalog says of a schema.
type readableSchema struct {
	Schema  string
	Managed bool // it has a version table
	Foreign bool // somebody who is not trusted could put something else in its place
	// Role is as whom it is read, "" for the session's role, which may, or for which no
	// other can.
	Role string
}

// readableSchemas returns every schema.
func readableSchemas(ctx context.Context, q db.Querier) (map[string]readableSchema, error) {
	rows, err := db.Select(ctx, q, pgx.RowToStructByPos[readableSchema], `select n.nspname::text, c.oid is not null,
			`+planted.Foreign("n.nspowner")+` or c.oid is not null and `+planted.Foreign("c.relowner")+`,
			`+owner.Reader("c.oid", "c.relowner", "n.oid")+`
		from pg_namespace n left join pg_class c on c.relnamespace = n.oid and c.relname = $1 and c.relkind in ('r', 'p')`,
		string(tenantVersions))
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	out := make(map[string]readableSchema, len(rows))
	for _, r := range rows {
		out[r.Schema] = r
	}
	return out, nil
}

// verifyChunk reads some tenants in one statement. Where that fails for one of
// them, it reads each by itself.
func (p *Plan) verifyChunk(ctx context.Context, conn *pgx.Conn, tenants []registry.Tenant,
	readable map[string]readableSchema, chunk []int, actual []ActualVersion, lockTimeout time.Duration) error {
	if len(chunk) == 0 {
		return nil
	}
	err := p.readVersions(ctx, conn, tenants, readable, chunk, actual, lockTimeout)
	switch {
	case err == nil:
		return nil
	case db.SQLState(err) == "": // the connection, not a schema
		return fmt.Errorf("read versions: %w", err)
	case len(chunk) == 1:
		actual[chunk[0]].Err = err
		return nil
	}
	for i := range chunk {
		if err := p.verifyChunk(ctx, conn, tenants, readable, chunk[i:i+1], actual, lockTimeout); err != nil {
			return err
		}
	}
	return nil
}

func (p *Plan) readVersions(ctx context.Context, conn *pgx.Conn, tenants []registry.Tenant,
	readable map[string]readableSchema, chunk []int, actual []ActualVersion, lockTimeout time.Duration) error {
	var sql strings.Builder
	var foreign []planted.Table
	role := readable[tenants[chunk[0]].Schema.String()].Role
	for n, i := range chunk {
		if schema := tenants[i].Schema.String(); readable[schema].Foreign {
			foreign = append(foreign, planted.Table{Schema: schema, Name: string(tenantVersions)})
		}
		if n > 0 {
			sql.WriteString(" union all ")
		}
		fmt.Fprintf(&sql, "select %d, array(select version_id from %s.%s where is_applied)", i, tenants[i].Schema.Quoted(),
			tenantVersions)
	}
	type row struct {
		At      int
		Applied []int64
	}
	var rows []row
	err := db.InTx(ctx, conn, db.Locals{LockTimeout: lockTimeout}, func(ctx context.Context, q db.Querier) error {
		var pipe db.Pipeline
		planted.QueueReadAs(&pipe, foreign, role)
		pipe.Become(role)
		pipe.Query(func(r pgx.Rows) (err error) {
			rows, err = pgx.CollectRows(r, pgx.RowToStructByPos[row])
			return err
		}, sql.String())
		return pipe.Run(ctx, q)
	})
	for _, r := range rows {
		actual[r.At] = p.actualVersion(r.Applied)
	}
	return err
}

func (p *Plan) actualVersion(applied []int64) ActualVersion {
	t := ActualVersion{Version: after(applied, nil)}
	has := make(map[int64]bool, len(applied))
	for _, v := range applied {
		has[v] = true
	}
	for _, m := range p.Migrations {
		if m.Version < t.Version && !has[m.Version] {
			t.Late = append(t.Late, m)
		}
	}
	return t
}
