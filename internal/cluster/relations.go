package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// LostError says that nodes of the cluster did not answer: a sum over all tenants would be
// without theirs.
type LostError struct{ Nodes []string }

// Error names them.
func (e *LostError) Error() string {
	return strings.Join(e.Nodes, ", ") + " did not answer, and what its tenants take is not known"
}

// shards is what a node keeps of distributed schemas: s.shard is there what l is on the
// coordinator, under a name with a number, which catalogs hide from queries that do not ask
// for it by its oid.
const shards = `(
		select e.schemaid, d.logicalrelid, d.shardid,
			pg_catalog.to_regclass(pg_catalog.shard_name(d.logicalrelid, d.shardid))::oid as shard
		from pg_catalog.pg_dist_shard d
		join pg_catalog.pg_dist_placement p on p.shardid = d.shardid
		join pg_catalog.pg_class l on l.oid = d.logicalrelid
		join pg_catalog.pg_dist_schema e on e.schemaid = l.relnamespace
		where p.groupid = (select g.groupid from pg_catalog.pg_dist_local_group g)
	) s
	join pg_catalog.pg_class l on l.oid = s.logicalrelid
	join pg_catalog.pg_namespace n on n.oid = s.schemaid
	join pg_catalog.pg_class c on c.oid = s.shard`

const tablesOfNode = `select json_agg(t) from (
	select n.nspname as schema, l.relname as name, c.reltuples as tuples,
		pg_catalog.pg_table_size(c.oid) - x.toast as heap, x.toast, pg_catalog.pg_indexes_size(c.oid) as indexes,
		pg_catalog.pg_stat_get_live_tuples(c.oid) as live, pg_catalog.pg_stat_get_dead_tuples(c.oid) as dead
	from ` + shards + `
	cross join lateral (select case when c.reltoastrelid <> 0
		then pg_catalog.pg_total_relation_size(c.reltoastrelid) else 0 end as toast) x) t`

// indexesOfNode has the time of the last reset of the counters in its rows: all of them are
// of one database.
const indexesOfNode = `select json_agg(t) from (
	select n.nspname as schema, l.relname as tab, k.relname as name, x.relpages as pages, j.indisvalid as valid,
		pg_catalog.pg_stat_get_numscans(x.oid) as scans, pg_catalog.pg_stat_get_db_stat_reset_time(b.oid) as since
	from ` + shards + `
	join pg_catalog.pg_index i on i.indrelid = l.oid
	join pg_catalog.pg_class k on k.oid = i.indexrelid
	join pg_catalog.pg_class x
		on x.oid = pg_catalog.to_regclass(pg_catalog.shard_name(k.oid::pg_catalog.regclass, s.shardid))::oid
	join pg_catalog.pg_index j on j.indexrelid = x.oid
	join pg_catalog.pg_database b on b.datname = pg_catalog.current_database()) t`

const loadOfNode = `select json_agg(t) from (
	select n.nspname as schema,
		sum(pg_catalog.pg_stat_get_blocks_fetched(r.oid)::float8) as fetched,
		sum(pg_catalog.pg_stat_get_blocks_hit(r.oid)::float8) as hit,
		sum(case r.kind when 'r' then pg_catalog.pg_stat_get_tuples_returned(r.oid)::float8 else 0 end
			+ case when r.kind <> 't' then pg_catalog.pg_stat_get_tuples_fetched(r.oid)::float8 else 0 end) as rows,
		sum(case r.kind when 'r' then pg_catalog.pg_stat_get_tuples_inserted(r.oid)::float8
			+ pg_catalog.pg_stat_get_tuples_updated(r.oid)::float8
			+ pg_catalog.pg_stat_get_tuples_deleted(r.oid)::float8 else 0 end) as written,
		sum(case r.kind when 'r' then pg_catalog.pg_stat_get_numscans(r.oid)::float8 else 0 end) as seq_scans,
		sum(case r.kind when 'i' then pg_catalog.pg_stat_get_numscans(r.oid)::float8 else 0 end) as index_scans
	from ` + shards + `
	cross join lateral (
		select c.oid, 'r' as kind
		union all select i.indexrelid, 'i' from pg_catalog.pg_index i where i.indrelid = c.oid
		union all select c.reltoastrelid, 't' where c.reltoastrelid <> 0
		union all select i.indexrelid, 't' from pg_catalog.pg_index i
			where c.reltoastrelid <> 0 and i.indrelid = c.reltoastrelid
	) r
	group by n.nspname) t`

const upkeepOfNode = `select json_agg(t) from (
	select n.nspname as schema, l.relname as name, c.reltuples as tuples,
		pg_catalog.pg_stat_get_dead_tuples(c.oid) as dead, pg_catalog.pg_stat_get_ins_since_vacuum(c.oid) as inserted,
		pg_catalog.pg_stat_get_mod_since_analyze(c.oid) as changed,
		greatest(pg_catalog.age(c.relfrozenxid), pg_catalog.age(x.relfrozenxid)) as age,
		greatest(pg_catalog.pg_stat_get_last_vacuum_time(c.oid),
			pg_catalog.pg_stat_get_last_autovacuum_time(c.oid)) as vacuumed,
		greatest(pg_catalog.pg_stat_get_last_analyze_time(c.oid),
			pg_catalog.pg_stat_get_last_autoanalyze_time(c.oid)) as analyzed
	from ` + shards + `
	left join pg_catalog.pg_class x on x.oid = c.reltoastrelid
	where c.relkind <> 'p') t`

// Tables returns the tables of distributed schemas as their nodes have them, an array of
// objects with schema, name, tuples, heap, toast, indexes, live and dead: on the coordinator
// they are empty. It is "" on PostgreSQL. The error is a *LostError where a node did not answer.
func Tables(ctx context.Context, q db.Querier) (string, error) {
	text, err := onNodes(ctx, q, tablesOfNode, nil)
	if err != nil {
		return "", fmt.Errorf("measure tables on the nodes of the cluster: %w", err)
	}
	return text, nil
}

// Indexes returns the indexes of distributed schemas as their nodes have them, an array of
// objects with schema, tab, name, pages, valid and scans, and the latest time at which a node
// has begun to count scans, nil where all have from the beginning. It is "" on PostgreSQL. The
// error is a *LostError where a node did not answer.
func Indexes(ctx context.Context, q db.Querier) (text string, since *time.Time, _ error) {
	text, err := onNodes(ctx, q, indexesOfNode, func(row json.RawMessage) error {
		var of struct{ Since *time.Time }
		err := json.Unmarshal(row, &of)
		if of.Since != nil && (since == nil || of.Since.After(*since)) {
			since = of.Since
		}
		return err
	})
	if err != nil {
		return "", nil, fmt.Errorf("look at indexes on the nodes of the cluster: %w", err)
	}
	return text, since, nil
}

// Upkeep returns the tables of distributed schemas with what their nodes count of rows to be
// vacuumed and analyzed, an array of objects with schema, name, tuples, dead, inserted, changed,
// age, vacuumed and analyzed. It is "" on PostgreSQL. The error is a *LostError where a node did
// not answer, beside what the others say.
func Upkeep(ctx context.Context, q db.Querier) (string, error) {
	text, err := onNodes(ctx, q, upkeepOfNode, nil)
	if err != nil {
		return text, fmt.Errorf("read what vacuum has done on the nodes of the cluster: %w", err)
	}
	return text, nil
}

// Load returns what the nodes have counted of distributed schemas, an array of objects with
// schema, fetched, hit, rows, written, seq_scans and index_scans, and the nodes that did not
// answer: theirs is not in it. It is "" on PostgreSQL.
func Load(ctx context.Context, q db.Querier) (text string, lost []string, err error) {
	text, err = onNodes(ctx, q, loadOfNode, nil)
	if silent, is := errors.AsType[*LostError](err); is {
		return text, silent.Nodes, nil
	}
	if err != nil {
		return "", nil, fmt.Errorf("read the counters of the nodes of the cluster: %w", err)
	}
	return text, nil, nil
}

// onNodes asks every node for an array and returns all of them as one, "" on PostgreSQL; look
// is shown the first of a node's objects, and may be nil.
func onNodes(ctx context.Context, q db.Querier, sql string, look func(json.RawMessage) error) (string, error) {
	if !db.EngineOf(q).Distributed() {
		return "", nil
	}
	all, lost := []json.RawMessage{}, []string(nil)
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
		var on []json.RawMessage
		if text != nil && *text != "" {
			err = json.Unmarshal([]byte(*text), &on)
		}
		if err == nil && look != nil && len(on) > 0 {
			err = look(on[0])
		}
		all = append(all, on...)
		return none, err
	}, `select n.nodename || ':' || n.nodeport, r.success, r.result
		from run_command_on_all_nodes($1) r join pg_dist_node n on n.nodeid = r.nodeid order by n.nodeid`, sql)
	if err != nil {
		return "", err
	}
	text, err := json.Marshal(all)
	if err == nil && len(lost) > 0 {
		err = &LostError{Nodes: lost}
	}
	return string(text), err
}
