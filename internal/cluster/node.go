package cluster

import (
	"context"
	"fmt"
	"net"
	"strconv"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Node is a server of the cluster.
type Node struct {
	ID          int
	Host        string
	Port        int
	Coordinator bool
	Active      bool
	Shards      bool // tenants may be placed on it
	Reached     bool // every node that was asked reached it
	Tenants     int  // distributed schemas that stand on it
	Bytes       *int64
}

// Address returns "host:port".
func (n Node) Address() string { return address(n.Host, n.Port) }

func address(host string, port int) string { return net.JoinHostPort(host, strconv.Itoa(port)) }

// NodeError says that a node of the cluster is not reached from another. Every DDL fails
// until it is back, on tenants of other nodes too.
type NodeError struct {
	Node string // "host:port"
	From string // which node looked
}

// Error names both.
func (e *NodeError) Error() string {
	return fmt.Sprintf("node %s of the cluster is not reached from %s; no tenant's schema can be changed until it is",
		e.Node, e.From)
}

// Members returns the nodes of the cluster as it knows them, the coordinator first, nil on
// PostgreSQL. Nobody is asked whether they are there.
func Members(ctx context.Context, q db.Querier) ([]Node, error) {
	if !db.EngineOf(q).Distributed() {
		return nil, nil
	}
	nodes, err := db.Select(ctx, q, func(row pgx.CollectableRow) (n Node, err error) {
		err = row.Scan(&n.ID, &n.Host, &n.Port, &n.Coordinator, &n.Active, &n.Shards, &n.Tenants)
		return n, err
	}, `
		select n.nodeid, n.nodename::text, n.nodeport, n.groupid = 0, n.isactive, n.shouldhaveshards,
			coalesce(t.tenants, 0)::int4
		from pg_dist_node n
		left join (
			select p.groupid, count(distinct d.schemaid) as tenants
			from pg_dist_schema d
			join pg_dist_partition r on r.colocationid = d.colocationid
			join pg_dist_shard s on s.logicalrelid = r.logicalrelid
			join pg_dist_placement p on p.shardid = s.shardid
			group by p.groupid
		) t on t.groupid = n.groupid
		where n.noderole = 'primary' order by n.groupid <> 0, n.nodeid`)
	if err != nil {
		return nil, fmt.Errorf("list the nodes of the cluster: %w", err)
	}
	return nodes, nil
}

// Nodes returns the nodes of the cluster, the coordinator first, nil on PostgreSQL: which are
// reached, and what stands on them.
func Nodes(ctx context.Context, q db.Querier) ([]Node, error) {
	nodes, err := Members(ctx, q)
	if err != nil || nodes == nil {
		return nil, err
	}
	lost, err := Unreached(ctx, q)
	if err != nil {
		return nil, err
	}
	on, err := sizesByNode(ctx, q)
	if err != nil {
		return nil, err
	}
	for i := range nodes {
		n := &nodes[i]
		n.Reached = true
		for _, l := range lost {
			n.Reached = n.Reached && l.Node != n.Address()
		}
		if sizes, told := on[n.ID]; told {
			var sum int64
			for _, s := range sizes {
				sum += s.TableBytes + s.IndexBytes
			}
			n.Bytes = &sum
		}
	}
	return nodes, nil
}

// Healthy fails with a *NodeError where a node of the cluster is not reached by another.
// It is asked before a run that changes schemas: one message, and not one for every tenant.
// On PostgreSQL it asks nothing.
func Healthy(ctx context.Context, q db.Querier) error {
	lost, err := Unreached(ctx, q)
	if err == nil && len(lost) > 0 {
		err = &lost[0]
	}
	return err
}

// Unreached returns which nodes are not reached from which, none on PostgreSQL. A node that the
// coordinator does not reach is not asked what it reaches itself.
func Unreached(ctx context.Context, q db.Querier) ([]NodeError, error) {
	if !db.EngineOf(q).Distributed() {
		return nil, nil
	}
	lost, err := db.Select(ctx, q, pgx.RowToStructByName[NodeError], `
		with h as materialized (select * from citus_check_cluster_node_health())
		select h.from_nodename || ':' || h.from_nodeport as node, c.nodename || ':' || c.nodeport as "from"
		from h, pg_dist_node c where h.result is null and c.groupid = 0 and c.noderole = 'primary'
		union
		select h.to_nodename || ':' || h.to_nodeport, h.from_nodename || ':' || h.from_nodeport
		from h where not h.result
		order by 1, 2`)
	if err != nil {
		return nil, fmt.Errorf("look at the nodes of the cluster: %w", err)
	}
	return lost, nil
}
