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
	"github.com/crmctl/crmctl/internal/fleet"
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
	conn, t, err := a.toPlace(ctx, o.MoveOptions)
	if err != nil {
		return Placed{Tenant: t}, err
	}
	defer closeConn(ctx, conn)
	nodes, err := cluster.Members(ctx, conn)
	if err != nil {
		return Placed{Tenant: t}, err
	}
	return a.moveToNode(ctx, conn, t, nodes, o)
}

func (a *App) moveToNode(ctx context.Context, conn *pgx.Conn, t registry.Tenant, nodes []cluster.Node,
	o NodeMoveOptions) (Placed, error) {
	return a.place(ctx, conn, t, o.MoveOptions, func(p *Placed) error {
		if p.Before.Kind != cluster.Distributed {
			return &PlaceError{p.Slug, p.Before.Kind}
		}
		p.After.Node = o.To
		return knownNode(nodes, o.To)
	}, func(ctx context.Context, _ db.Querier, p Placed) error {
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
// coordinator is freed once its rows are counted on the node. The error is a
// *cluster.ObstaclesError where it has what keeps it from that.
func (a *App) DistributeTenant(ctx context.Context, o MoveOptions) (Placed, error) {
	conn, t, err := a.toPlace(ctx, o)
	if err != nil {
		return Placed{Tenant: t}, err
	}
	defer closeConn(ctx, conn)
	obstacles, err := cluster.Obstacles(ctx, conn, []string{t.Schema.String()})
	if err != nil {
		return Placed{Tenant: t}, err
	}
	return a.distribute(ctx, conn, t, obstacles[t.Schema.String()], o)
}

func (a *App) distribute(ctx context.Context, conn *pgx.Conn, t registry.Tenant, obstacles *cluster.ObstaclesError,
	o MoveOptions) (Placed, error) {
	p, err := a.place(ctx, conn, t, o, func(p *Placed) error {
		if p.Before.Kind == cluster.Distributed {
			return nil
		}
		p.After = cluster.Place{Kind: cluster.Distributed}
		if obstacles != nil {
			return obstacles
		}
		return nil
	}, func(ctx context.Context, q db.Querier, p Placed) error {
		return cluster.Distribute(ctx, q, p.Schema)
	})
	if err != nil || o.DryRun {
		return p, err
	}
	return p, cluster.DropCopies(ctx, conn, p.Schema)
}

// DistributeResult is what became of the local tenants of a cluster, in the order of their names.
type DistributeResult struct {
	Placed  []Placed
	Results []fleet.Result
	Invalid []registry.InvalidRow // of the registry, which are left alone
	Stopped error                 // why the run ended before its tenants did, nil when each had its turn
	Elapsed time.Duration
}

// changeCluster connects to change what stands on which node. Its error is ErrNoCluster where
// there are no nodes.
func (a *App) changeCluster(ctx context.Context, dryRun bool) (*pgx.Conn, error) {
	conn, err := a.changeSchemas(ctx, dryRun)
	if err == nil && !db.EngineOf(conn).Distributed() {
		closeConn(ctx, conn)
		return nil, ErrNoCluster
	}
	return conn, err
}

// Summary counts what became of the tenants.
func (r *DistributeResult) Summary() fleet.Summary { return fleet.Summarize(r.Results, r.Stopped) }

// DistributeAll gives every local tenant to a node, one after another. What keeps some from it
// is found out before the first goes: their results tell, and the others go.
func (a *App) DistributeAll(ctx context.Context, o MoveOptions) (DistributeResult, error) {
	var out DistributeResult
	conn, err := a.changeCluster(ctx, o.DryRun)
	if err != nil {
		return out, err
	}
	defer closeConn(ctx, conn)
	tenants, invalid, err := a.Registry.ListAll(ctx, conn,
		registry.Filter{Statuses: []registry.Status{registry.Active, registry.Suspended}})
	if err != nil {
		return out, err
	}
	out.Invalid = invalid
	places, err := cluster.FindPlaces(ctx, conn)
	if err != nil {
		return out, err
	}
	var names, schemas []string
	for _, t := range tenants {
		if places.Of(t.Schema.String()).Kind == cluster.Local {
			out.Placed = append(out.Placed, Placed{Tenant: t, Before: cluster.Place{Kind: cluster.Local}})
			names, schemas = append(names, t.Slug), append(schemas, t.Schema.String())
		}
	}
	obstacles, err := cluster.Obstacles(ctx, conn, schemas)
	if err != nil {
		return out, err
	}
	begun := a.Now()
	observer, end := a.Watch("distribute", names)
	out.Results, out.Stopped = fleet.Run(ctx, fleet.Reuse(conn, a.Connect), len(names),
		fleet.Options{Concurrency: 1, Drain: a.Drain(), Observer: observer},
		func(ctx context.Context, conn *pgx.Conn, i int) (err error) {
			o.Tenant = names[i]
			out.Placed[i], err = a.distribute(ctx, conn, out.Placed[i].Tenant, obstacles[schemas[i]], o)
			return err
		})
	end()
	out.Elapsed = a.Now().Sub(begun)
	return out, nil
}

// UndistributeTenant brings a tenant back to the coordinator.
func (a *App) UndistributeTenant(ctx context.Context, o MoveOptions) (Placed, error) {
	conn, t, err := a.toPlace(ctx, o)
	if err != nil {
		return Placed{Tenant: t}, err
	}
	defer closeConn(ctx, conn)
	return a.place(ctx, conn, t, o, func(p *Placed) error {
		p.After = cluster.Place{Kind: cluster.Local}
		return nil
	}, func(ctx context.Context, q db.Querier, p Placed) error {
		return cluster.Undistribute(ctx, q, p.Schema)
	})
}

// toPlace returns a tenant that is to stand elsewhere, and a connection to its cluster.
func (a *App) toPlace(ctx context.Context, o MoveOptions) (*pgx.Conn, registry.Tenant, error) {
	slug, err := registry.Slug(o.Tenant)
	if err != nil {
		return nil, registry.Tenant{}, err
	}
	conn, err := a.changeSchemas(ctx, o.DryRun)
	if err != nil {
		return nil, registry.Tenant{}, err
	}
	t, err := a.Registry.Get(ctx, conn, slug)
	if err == nil && !db.EngineOf(conn).Distributed() {
		err = ErrNoCluster
	}
	if err != nil {
		closeConn(ctx, conn)
		return nil, t, err
	}
	return conn, t, nil
}

// place does one change of where a tenant stands, under its lock: check says what it would
// be, and do makes it so. The audit tells of it.
func (a *App) place(ctx context.Context, conn *pgx.Conn, t registry.Tenant, o MoveOptions, check func(*Placed) error,
	do func(context.Context, db.Querier, Placed) error) (Placed, error) {
	p := Placed{Tenant: t}
	places, err := cluster.FindPlaces(ctx, conn)
	if err != nil {
		return p, err
	}
	p.Before = places.Of(p.Schema.String())
	p.After = p.Before
	if err := check(&p); err != nil || o.DryRun || !p.Changed() {
		return p, err
	}
	err = db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: true},
		func(ctx context.Context, q db.Querier) error {
			now, err := a.Registry.Lock(ctx, q, p.Tenant, true)
			if err != nil {
				return err
			}
			if err := do(ctx, q, p); err != nil {
				return err
			}
			places, err := cluster.FindPlaces(ctx, q)
			if err != nil {
				return err
			}
			p.After = places.Of(p.Schema.String()) // which node a cluster has chosen
			var done db.Pipeline
			if err := a.queuePlaced(&done, now, p.Before, p.After, nil); err != nil {
				return err
			}
			return done.Run(ctx, q)
		})
	return p, err
}

// queuePlaced adds to a transaction what the audit says about a tenant that stands elsewhere.
func (a *App) queuePlaced(p *db.Pipeline, t registry.Tenant, before, after cluster.Place, detail map[string]any) error {
	return a.Registry.QueueEvent(p, registry.Event{
		TenantID: t.ID, Slug: t.Slug, Action: registry.ActionNode, Actor: a.Actor, Program: a.Program,
		Before: map[string]any{"kind": before.Kind, "node": before.Node},
		After:  map[string]any{"kind": after.Kind, "node": after.Node}, Detail: detail,
	})
}

// RebalanceOptions say what is done about nodes that have unequal shares.
type RebalanceOptions struct {
	DryRun bool
	// Watch waits for the end. Where a rebalancing is under way, that one is watched.
	Watch bool
}

// Rebalanced is what was begun.
type Rebalanced struct {
	Steps []RebalanceStep
	Job   cluster.Job // the zero Job where nothing is to be moved, and of a dry run
	Going bool        // it was under way
}

// RebalanceStep is a move, and the tenant's name, "" where the schema is no tenant's.
type RebalanceStep struct {
	cluster.Step

	Slug string
}

// RebalancingError says that the cluster is at it.
type RebalancingError struct{ Job cluster.Job }

// Error says which, and how far it is.
func (e *RebalancingError) Error() string {
	return fmt.Sprintf("rebalancing %d is under way: %d of %d moves are done", e.Job.ID, e.Job.Done, e.Job.Moves)
}

// Rebalance has the cluster move tenants until its nodes have equal shares, in its background.
// The error is a *RebalancingError where it does so already, unless that is watched, and a
// *cluster.JobError where it ended early.
func (a *App) Rebalance(ctx context.Context, o RebalanceOptions) (Rebalanced, error) {
	var out Rebalanced
	conn, err := a.changeCluster(ctx, o.DryRun)
	if err != nil {
		return out, err
	}
	defer closeConn(ctx, conn)
	out.Job, err = cluster.Rebalancing(ctx, conn)
	switch {
	case errors.Is(err, cluster.ErrNoJob):
	case err != nil:
		return out, err
	case !out.Job.Ended() && o.Watch && !o.DryRun:
		out.Going = true
		err := a.followRebalancing(ctx, conn, &out)
		return out, err
	case !out.Job.Ended():
		return out, &RebalancingError{out.Job}
	}
	out.Job = cluster.Job{}
	tenants, _, err := a.Registry.ListAll(ctx, conn, registry.Filter{})
	if err != nil {
		return out, err
	}
	steps, err := cluster.PlanRebalance(ctx, conn)
	if err != nil {
		return out, err
	}
	bySchema := make(map[string]registry.Tenant, len(tenants))
	for _, t := range tenants {
		bySchema[t.Schema.String()] = t
	}
	for _, s := range steps {
		out.Steps = append(out.Steps, RebalanceStep{s, bySchema[s.Schema].Slug})
	}
	if o.DryRun || len(steps) == 0 {
		return out, nil
	}
	err = db.InTx(ctx, conn, db.Locals{Follow: true}, func(ctx context.Context, q db.Querier) error {
		var err error
		if out.Job.ID, err = cluster.StartRebalance(ctx, q); err != nil || out.Job.ID == 0 {
			return err
		}
		var done db.Pipeline
		for _, s := range steps {
			t, is := bySchema[s.Schema]
			if !is {
				continue
			}
			if err := a.queuePlaced(&done, t, cluster.Place{Kind: cluster.Distributed, Node: s.From},
				cluster.Place{Kind: cluster.Distributed, Node: s.To}, map[string]any{"rebalancing": out.Job.ID}); err != nil {
				return err
			}
		}
		return done.Run(ctx, q)
	})
	if err != nil || !o.Watch || out.Job.ID == 0 {
		return out, err
	}
	err = a.followRebalancing(ctx, conn, &out)
	return out, err
}

func (a *App) followRebalancing(ctx context.Context, conn *pgx.Conn, out *Rebalanced) error {
	var observer fleet.Observer
	var seen int
	end := func() {}
	defer func() { end() }()
	var err error
	out.Job, err = cluster.Follow(ctx, conn, func(j cluster.Job) {
		if observer == nil {
			names := make([]string, j.Moves)
			for i := range names {
				names[i] = fmt.Sprintf("move %d", i+1)
			}
			observer, end = a.Watch("move", names)
		}
		for ; observer != nil && seen < j.Done; seen++ {
			observer.Finished(seen, fleet.Result{State: fleet.Done})
		}
	})
	return err
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
