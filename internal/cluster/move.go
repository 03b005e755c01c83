package cluster

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Move is one of a schema from one node to another.
type Move struct {
	Schema db.Schema
	To     Node
	// BlockWrites copies the tables while nobody writes to them, for one that has no primary
	// key: writes are held up for as long as it takes, not for a moment at its end.
	BlockWrites bool
	// Timeout ends it, which leaves everything as it was; 0 is none.
	Timeout time.Duration
}

// Run moves the schema. conn is a server process of its own, past a pooler, and serves
// nothing else afterwards: a move is a transaction by itself.
func (m Move) Run(ctx context.Context, conn *pgx.Conn) error {
	var p db.Pipeline
	p.Session(db.Locals{StatementTimeout: m.Timeout})
	if err := p.Run(ctx, conn); err != nil {
		return fmt.Errorf("prepare the session: %w", err)
	}
	mode := "force_logical"
	if m.BlockWrites {
		mode = "block_writes"
	}
	_, err := conn.Exec(ctx, `select pg_catalog.citus_schema_move($1::pg_catalog.regnamespace, $2, $3::pg_catalog.int4,
		$4::citus.shard_transfer_mode)`, m.Schema.Quoted(), m.To.Host, m.To.Port, mode)
	if err != nil {
		return fmt.Errorf("move schema %s to %s: %w", m.Schema, m.To.Address(), err)
	}
	return nil
}

// RowsDifferError says that a table has not the rows on its node that it had before.
type RowsDifferError struct {
	Table         string
	Before, After int64
}

// Error names both numbers.
func (e *RowsDifferError) Error() string {
	return fmt.Sprintf("table %s had %d rows and has %d on its node; nothing was changed", e.Table, e.Before, e.After)
}

// Distribute adds to a transaction that the schema, which was made before the cluster spread
// schemas, or while it did not, goes to a node with all its tables; then it counts their
// rows there. The error is a *RowsDifferError where they are not those of before. The
// tables' local copies stay until DropCopies.
func Distribute(ctx context.Context, q db.Querier, schema db.Schema) error {
	return convert(ctx, q, schema, `select pg_catalog.citus_schema_distribute($1::pg_catalog.regnamespace)`)
}

// Undistribute brings a schema back to the coordinator, as Distribute takes it away.
func Undistribute(ctx context.Context, q db.Querier, schema db.Schema) error {
	return convert(ctx, q, schema, `select pg_catalog.citus_schema_undistribute($1::pg_catalog.regnamespace)`)
}

func convert(ctx context.Context, q db.Querier, schema db.Schema, sql string) error {
	names, err := tables(ctx, q, schema)
	if err != nil {
		return err
	}
	if len(names) > 0 {
		if _, err := db.Exec(ctx, q, "lock table "+strings.Join(names, ", ")+" in share row exclusive mode"); err != nil {
			return fmt.Errorf("lock the tables of schema %s: %w", schema, err)
		}
	}
	before, err := counts(ctx, q, names)
	if err != nil {
		return err
	}
	if _, err := db.Exec(ctx, q, sql, schema.Quoted()); err != nil {
		return fmt.Errorf("convert schema %s: %w", schema, err)
	}
	after, err := counts(ctx, q, names)
	if err != nil {
		return err
	}
	for i, name := range names {
		if before[i] != after[i] {
			return &RowsDifferError{Table: name, Before: before[i], After: after[i]}
		}
	}
	return nil
}

// DropCopies empties what Distribute left of the schema's tables on the coordinator.
func DropCopies(ctx context.Context, q db.Querier, schema db.Schema) error {
	copies, err := Copies(ctx, q)
	for _, table := range copies[schema.String()] {
		name := db.Quoted(schema.String(), table)
		if _, err := db.Exec(ctx, q,
			`select pg_catalog.truncate_local_data_after_distributing_table($1::pg_catalog.regclass)`, name); err != nil {
			return fmt.Errorf("empty the local copy of %s: %w", name, err)
		}
	}
	return err
}

// Copies returns the tables of distributed schemas that still have rows on the coordinator,
// which nobody reads, by the schema's name.
func Copies(ctx context.Context, q db.Querier) (map[string][]string, error) {
	if !db.EngineOf(q).Distributed() {
		return nil, nil
	}
	out := map[string][]string{}
	_, err := db.Select(ctx, q, func(row pgx.CollectableRow) (none struct{}, _ error) {
		var schema, table string
		err := row.Scan(&schema, &table)
		out[schema] = append(out[schema], table)
		return none, err
	}, `
		select n.nspname::text, c.relname::text
		from pg_dist_schema d
		join pg_namespace n on n.oid = d.schemaid
		join pg_class c on c.relnamespace = n.oid and c.relkind = 'r'
		join pg_dist_partition p on p.logicalrelid = c.oid
		where pg_relation_size(c.oid) > 0 order by 1, 2`)
	if err != nil {
		return nil, fmt.Errorf("look for local copies of distributed tables: %w", err)
	}
	return out, nil
}

// tables returns the tables of a schema, quoted and qualified.
func tables(ctx context.Context, q db.Querier, schema db.Schema) ([]string, error) {
	names, err := db.Select(ctx, q, pgx.RowTo[string], `
		select pg_catalog.format('%I.%I', n.nspname, c.relname)
		from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where n.nspname = $1 and c.relkind in ('r', 'p') and not c.relispartition order by 1`, schema.String())
	if err != nil {
		return nil, fmt.Errorf("list the tables of schema %s: %w", schema, err)
	}
	return names, nil
}

func counts(ctx context.Context, q db.Querier, tables []string) ([]int64, error) {
	out := make([]int64, 0, len(tables))
	for _, name := range tables {
		n, err := db.Select(ctx, q, pgx.RowTo[int64], "select pg_catalog.count(*) from "+name)
		if err != nil {
			return nil, fmt.Errorf("count the rows of %s: %w", name, err)
		}
		out = append(out, n[0])
	}
	return out, nil
}
