package app

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// ErrNoCluster says that the server is PostgreSQL alone, which has no nodes to place tenants on.
var ErrNoCluster = errors.New("this server is no Citus cluster: every tenant stands on it")

// NodeUnknownError says that a cluster has no such node.
type NodeUnknownError struct {
	Node  string
	Known []string // that tenants may be placed on
}

// Error lists the nodes.
func (e *NodeUnknownError) Error() string {
	return fmt.Sprintf("no node %s takes tenants; these do: %s", e.Node, strings.Join(e.Known, ", "))
}

// PlaceError says that a tenant is not kept as what was asked needs it.
type PlaceError struct {
	Slug string
	Kind cluster.Kind // as it is
}

// Error says how it is kept.
func (e *PlaceError) Error() string {
	if e.Kind == cluster.Local {
		return fmt.Sprintf("tenant %q is local: it stands on the coordinator, and not on a node", e.Slug)
	}
	return fmt.Sprintf("tenant %q is %s", e.Slug, e.Kind)
}

// Nodes returns the nodes of the cluster. The error is ErrNoCluster where there is none.
func (a *App) Nodes(ctx context.Context) ([]cluster.Node, error) {
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	if !db.EngineOf(conn).Distributed() {
		return nil, ErrNoCluster
	}
	return cluster.Nodes(ctx, conn)
}

// NodeMoveOptions say which tenant goes where.
type NodeMoveOptions struct {
	MoveOptions

	To          string // "host:port"
	BlockWrites bool   // see cluster.Move
	Timeout     time.Duration
}

// Placed is a tenant that was placed, or would be.
type Placed struct {
	registry.Tenant

	Before, After cluster.Place
}

// Changed reports whether it stands elsewhere than before.
func (p Placed) Changed() bool { return p.Before != p.After }

// MoveToNode moves a tenant of a cluster to another node. Nothing else may change the
// tenant meanwhile; the application reads and writes it.
func (a *App) MoveToNode(ctx context.Context, o NodeMoveOptions) (Placed, error) {
	return a.place(ctx, o.MoveOptions, registry.ActionNode, func(p *Placed, nodes []cluster.Node) error {
		if p.Before.Kind != cluster.Distributed {
			return &PlaceError{p.Slug, p.Before.Kind}
		}
		p.After.Node = o.To
		return knownNode(nodes, o.To)
	}, func(ctx context.Context, _ db.Querier, p Placed, nodes []cluster.Node) error {
		direct, err := a.Direct(ctx)
		if err != nil {
			return err
		}
		defer closeConn(ctx, direct)
		return cluster.Move{Schema: p.Schema, To: nodeAt(nodes, o.To), BlockWrites: o.BlockWrites,
			Timeout: o.Timeout}.Run(ctx, direct)
	})
}

// DistributeTenant gives a local tenant of a cluster to one of its nodes. What it took on the
// coordinator is freed once its rows are counted on the node.
func (a *App) DistributeTenant(ctx context.Context, o MoveOptions) (Placed, error) {
	p, err := a.place(ctx, o, registry.ActionNode, func(p *Placed, _ []cluster.Node) error {
		p.After = cluster.Place{Kind: cluster.Distributed}
		if p.Before.Kind == cluster.Distributed {
			p.After = p.Before
		}
		return nil
	}, func(ctx context.Context, q db.Querier, p Placed, _ []cluster.Node) error {
		return cluster.Distribute(ctx, q, p.Schema)
	})
	if err != nil || o.DryRun {
		return p, err
	}
	conn, err := a.Connect(ctx)
	if err != nil {
		return p, err
	}
	defer closeConn(ctx, conn)
	places, err := cluster.FindPlaces(ctx, conn)
	if err != nil {
		return p, err
	}
	p.After = places.Of(p.Schema.String())
	return p, cluster.DropCopies(ctx, conn, p.Schema)
}

// UndistributeTenant brings a tenant back to the coordinator.
func (a *App) UndistributeTenant(ctx context.Context, o MoveOptions) (Placed, error) {
	return a.place(ctx, o, registry.ActionNode, func(p *Placed, _ []cluster.Node) error {
		p.After = cluster.Place{Kind: cluster.Local}
		return nil
	}, func(ctx context.Context, q db.Querier, p Placed, _ []cluster.Node) error {
		return cluster.Undistribute(ctx, q, p.Schema)
	})
}

// place does one change of where a tenant stands, under its lock: check says what it would
// be, and do makes it so.
func (a *App) place(ctx context.Context, o MoveOptions, action string,
	check func(*Placed, []cluster.Node) error, do func(context.Context, db.Querier, Placed, []cluster.Node) error,
) (Placed, error) {
	slug, err := registry.Slug(o.Tenant)
	if err != nil {
		return Placed{}, err
	}
	conn, err := a.changeSchemas(ctx, o.DryRun)
	if err != nil {
		return Placed{}, err
	}
	defer closeConn(ctx, conn)
	var p Placed
	if p.Tenant, err = a.Registry.Get(ctx, conn, slug); err != nil {
		return p, err
	}
	if !db.EngineOf(conn).Distributed() {
		return p, ErrNoCluster
	}
	places, err := cluster.FindPlaces(ctx, conn)
	if err != nil {
		return p, err
	}
	nodes, err := cluster.Nodes(ctx, conn)
	if err != nil {
		return p, err
	}
	p.Before = places.Of(p.Schema.String())
	p.After = p.Before
	if err := check(&p, nodes); err != nil || o.DryRun || !p.Changed() {
		return p, err
	}
	return p, a.placed(ctx, conn, o, p, action, func(ctx context.Context, q db.Querier) error {
		return do(ctx, q, p, nodes)
	})
}

// placed runs do under the tenant's lock, and writes the audit.
func (a *App) placed(ctx context.Context, conn *pgx.Conn, o MoveOptions, p Placed, action string,
	do func(context.Context, db.Querier) error) error {
	return db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: true},
		func(ctx context.Context, q db.Querier) error {
			now, err := a.Registry.Lock(ctx, q, p.Tenant, true)
			if err != nil {
				return err
			}
			if err := do(ctx, q); err != nil {
				return err
			}
			var done db.Pipeline
			if err := a.Registry.QueueEvent(&done, registry.Event{
				TenantID: now.ID, Slug: now.Slug, Action: action, Actor: a.Actor, Program: a.Program,
				Before: map[string]any{"kind": p.Before.Kind, "node": p.Before.Node},
				After:  map[string]any{"kind": p.After.Kind, "node": p.After.Node},
			}); err != nil {
				return err
			}
			return done.Run(ctx, q)
		})
}

func nodeAt(nodes []cluster.Node, address string) cluster.Node {
	for _, n := range nodes {
		if n.Address() == address {
			return n
		}
	}
	return cluster.Node{}
}

func knownNode(nodes []cluster.Node, address string) error {
	unknown := &NodeUnknownError{Node: address}
	for _, n := range nodes {
		if !n.Shards || !n.Active {
			continue
		}
		if n.Address() == address {
			return nil
		}
		unknown.Known = append(unknown.Known, n.Address())
	}
	return unknown
}
