package cluster

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// LocalTable is a table of a distributed schema that stands on the coordinator alone: a query
// that joins it with the others fails.
type LocalTable struct {
	Schema, Table string
	// Beside is a table of the schema that stands on its node, quoted and qualified, "" where
	// there is none.
	Beside string
}

// LocalTables returns the tables of distributed schemas that are on no node, as those are
// that a DO block or a function has made.
func LocalTables(ctx context.Context, q db.Querier) ([]LocalTable, error) {
	if !db.EngineOf(q).Distributed() {
		return nil, nil
	}
	found, err := db.Select(ctx, q, pgx.RowToStructByName[LocalTable], `
		select n.nspname::text as schema, c.relname::text as "table", coalesce((
			select min(format('%I.%I', n.nspname, b.relname)) from pg_class b
			join pg_dist_partition r on r.logicalrelid = b.oid and r.colocationid = d.colocationid
			where b.relnamespace = n.oid), '') as beside
		from pg_dist_schema d
		join pg_namespace n on n.oid = d.schemaid
		join pg_class c on c.relnamespace = n.oid and c.relkind in ('r', 'p') and not c.relispartition
		where not exists (select 1 from pg_dist_partition p where p.logicalrelid = c.oid)
		order by 1, 2`)
	if err != nil {
		return nil, fmt.Errorf("look for local tables of distributed schemas: %w", err)
	}
	return found, nil
}

// Leftover is something that a move or another change of places has left on a node.
type Leftover struct {
	Object string // "tenant_acme.contacts_102008", or the name of a publication, a slot, a subscription
	Node   string // "host:port", "" where there is no such node any more
}

// Leftovers returns what is to be cleaned up and belongs to nothing that is under way.
func Leftovers(ctx context.Context, q db.Querier) ([]Leftover, error) {
	if !db.EngineOf(q).Distributed() {
		return nil, nil
	}
	// Whatever is under way holds an advisory lock of its number.
	found, err := db.Select(ctx, q, pgx.RowToStructByName[Leftover], `
		select c.object_name as object, coalesce(n.nodename || ':' || n.nodeport, '') as node
		from pg_dist_cleanup c
		left join pg_dist_node n on n.groupid = c.node_group_id and n.noderole = 'primary'
		where not exists (select 1 from pg_locks l where l.locktype = 'advisory' and l.objsubid = 9
			and l.classid = 0 and l.objid::int8 = c.operation_id % 4294967296
			and l.database = (select d.oid from pg_database d where d.datname = current_database()))
		order by c.record_id`)
	if err != nil {
		return nil, fmt.Errorf("look for what is to be cleaned up: %w", err)
	}
	return found, nil
}

// Prepared is a transaction that is prepared on a worker, and neither committed nor rolled back.
type Prepared struct {
	Node     string // "host:port"
	GID      string
	Owner    string
	Prepared time.Time
	// Own tells that the cluster itself has prepared it: it ends those whose fate it knows.
	Own bool
}

// PreparedOnWorkers returns the prepared transactions of this database on the workers, and
// the nodes that did not answer.
func PreparedOnWorkers(ctx context.Context, q db.Querier) (found []Prepared, lost []string, _ error) {
	if !db.EngineOf(q).Distributed() {
		return nil, nil, nil
	}
	_, err := db.Select(ctx, q, func(row pgx.CollectableRow) (none struct{}, err error) {
		var node string
		var told bool
		var text *string
		if err := row.Scan(&node, &told, &text); err != nil {
			return none, err
		}
		if !told {
			lost = append(lost, node)
			return none, nil
		}
		var on []Prepared
		if text != nil && *text != "" {
			err = json.Unmarshal([]byte(*text), &on)
		}
		for _, p := range on {
			p.Node = node
			found = append(found, p)
		}
		return none, err
	}, `
		select n.nodename || ':' || n.nodeport, r.success, r.result
		from run_command_on_all_nodes($1) r join pg_dist_node n on n.nodeid = r.nodeid
		where n.groupid <> 0 order by n.nodeid`, `
		select json_agg(x order by x.prepared) from (select gid, owner, prepared, gid like 'citus\_%' as own
			from pg_catalog.pg_prepared_xacts where database = pg_catalog.current_database()) x`)
	if err != nil {
		return nil, nil, fmt.Errorf("look for prepared transactions on the nodes of the cluster: %w", err)
	}
	return found, lost, nil
}

// Spreads reports whether a schema that somebody else makes goes to a node: crmctl sees to
// it itself. It is true on PostgreSQL, which has nothing to say about it.
func Spreads(ctx context.Context, q db.Querier) (bool, error) {
	if !db.EngineOf(q).Distributed() {
		return true, nil
	}
	on, err := db.Select(ctx, q, pgx.RowTo[bool], `select current_setting('citus.enable_schema_based_sharding')::bool`)
	if err != nil {
		return false, fmt.Errorf("look whether the cluster spreads schemas: %w", err)
	}
	return on[0], nil
}
