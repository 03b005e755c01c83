package cluster

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Kind is how a schema is kept.
type Kind string

// Kinds of schemas.
const (
	Local       Kind = "local"       // on the coordinator alone
	Distributed Kind = "distributed" // on a node, as a whole
)

// Place is where a schema is kept.
type Place struct {
	Kind Kind
	Node string // "host:port" of a distributed schema, "" where it has no tables yet
}

// Places says where the distributed schemas of a cluster are kept, by name. The nil Places
// is PostgreSQL's.
type Places map[string]Place

// Of returns where a schema is kept, the zero Place on PostgreSQL.
func (p Places) Of(schema string) Place {
	if place, found := p[schema]; found || p == nil {
		return place
	}
	return Place{Kind: Local}
}

// FindPlaces asks where the schemas of the cluster are kept.
func FindPlaces(ctx context.Context, q db.Querier) (Places, error) {
	if !db.EngineOf(q).Distributed() {
		return nil, nil
	}
	places := Places{}
	_, err := db.Select(ctx, q, func(row pgx.CollectableRow) (none struct{}, _ error) {
		var schema string
		var host *string
		var port *int
		if err := row.Scan(&schema, &host, &port); err != nil {
			return none, err
		}
		place := Place{Kind: Distributed}
		if host != nil && port != nil {
			place.Node = address(*host, *port)
		}
		places[schema] = place
		return none, nil
	}, `
		select distinct on (n.oid) n.nspname::text, w.nodename::text, w.nodeport
		from pg_dist_schema d
		join pg_namespace n on n.oid = d.schemaid
		left join pg_dist_partition r on r.colocationid = d.colocationid
		left join pg_dist_shard s on s.logicalrelid = r.logicalrelid
		left join pg_dist_placement p on p.shardid = s.shardid
		left join pg_dist_node w on w.groupid = p.groupid and w.noderole = 'primary'
		order by n.oid, w.nodeid nulls last`)
	if err != nil {
		return nil, fmt.Errorf("look where the tenants stand: %w", err)
	}
	return places, nil
}

// Size is what a schema takes on the node where it is kept.
type Size struct {
	Schema     string `json:"schema"`
	TableBytes int64  `json:"tables"`
	IndexBytes int64  `json:"indexes"`
	// Contacts are the rows of its table contacts as of the last analysis, less than 0 for
	// never; nil where it has none.
	Contacts *float64 `json:"contacts"`
}

// Sizes returns what each distributed schema takes, by name: on the coordinator all its
// tables are empty. One that is not in the map stands on a node that did not answer. It is
// nil on PostgreSQL.
func Sizes(ctx context.Context, q db.Querier) (map[string]Size, error) {
	on, err := sizesByNode(ctx, q)
	if err != nil || on == nil {
		return nil, err
	}
	sizes := map[string]Size{}
	for _, node := range on {
		for _, s := range node {
			sizes[s.Schema] = s
		}
	}
	return sizes, nil
}

// perNode is what each node is asked: the tables of a tenant stand there under names with a
// number, which catalogs hide from queries that do not ask for them by their oid.
const perNode = `select json_agg(t) from (
	select n.nspname as schema, sum(pg_catalog.pg_table_size(s.shard))::int8 as tables,
		sum(pg_catalog.pg_indexes_size(s.shard))::int8 as indexes,
		max(c.reltuples) filter (where s.name = 'contacts') as contacts
	from (
		select l.relnamespace, l.relname as name,
			pg_catalog.to_regclass(pg_catalog.shard_name(d.logicalrelid, d.shardid)) as shard
		from pg_catalog.pg_dist_shard d
		join pg_catalog.pg_dist_placement p on p.shardid = d.shardid
		join pg_catalog.pg_class l on l.oid = d.logicalrelid
		join pg_catalog.pg_dist_schema e on e.schemaid = l.relnamespace
		where p.groupid = (select g.groupid from pg_catalog.pg_dist_local_group g)
	) s
	join pg_catalog.pg_class c on c.oid = s.shard
	join pg_catalog.pg_namespace n on n.oid = s.relnamespace
	group by n.nspname) t`

// sizesByNode returns the sizes by the node's id; nodes that did not answer are not in it.
func sizesByNode(ctx context.Context, q db.Querier) (map[int][]Size, error) {
	if !db.EngineOf(q).Distributed() {
		return nil, nil
	}
	out := map[int][]Size{}
	_, err := db.Select(ctx, q, func(row pgx.CollectableRow) (none struct{}, err error) {
		var id int
		var told bool
		var text *string
		if err = row.Scan(&id, &told, &text); err != nil || !told {
			return none, err
		}
		var sizes []Size
		if text != nil && *text != "" {
			err = json.Unmarshal([]byte(*text), &sizes)
		}
		out[id] = sizes
		return none, err
	}, `select nodeid, success, result from run_command_on_all_nodes($1)`, perNode)
	if err != nil {
		return nil, fmt.Errorf("measure tenants on the nodes of the cluster: %w", err)
	}
	return out, nil
}
