package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// CreateOptions say which tenants are made, and how.
type CreateOptions struct {
	Specs       []tenant.Spec
	Settings    string // the slug of a tenant whose settings they get; "" for none
	Tablespace  string // where their tables are made; "" = as the settings say
	IfNotExists bool   // a tenant that is there already is no error
	To          int64  // the version of their schemas; 0 = the newest
	FromHistory bool   // go through the migrations one by one, and take none of the pool
	NoPool      bool   // take no schema of the pool
	Node        string // of a cluster, "host:port", where they are to stand; "" takes turns
	Concurrency int    // 0 goes by the machine and the server
	LockTimeout time.Duration
	DryRun      bool
}

// NotMovedError says that a tenant was made, or was there, but is not on the node that was
// asked for.
type NotMovedError struct {
	Slug, Node string
	Err        error
}

// Error says why it is not.
func (e *NotMovedError) Error() string {
	return fmt.Sprintf("the tenant is there, but not on node %s: %v", e.Node, e.Err)
}

func (e *NotMovedError) Unwrap() error { return e.Err }

// CreateResult is what became of the tenants, in the order of the specs.
type CreateResult struct {
	Created []tenant.Created
	Results []fleet.Result // of a dry run, nil
	Stopped error          // why the run ended before its tenants did, nil when each had its turn
	Elapsed time.Duration
}

// Summary counts what became of the tenants.
func (r *CreateResult) Summary() fleet.Summary { return fleet.Summarize(r.Results, r.Stopped) }

// CreateTenants provisions tenants, each whole or not at all. The error says that the
// run could not begin; what became of each tenant is in the result.
func (a *App) CreateTenants(ctx context.Context, o CreateOptions) (CreateResult, error) {
	if err := a.RefuseSourced("create", registry.Tenant{}); err != nil {
		return CreateResult{}, err
	}
	plan, err := a.TenantPlan(ctx, o.To)
	if err != nil {
		return CreateResult{}, err
	}
	conn, err := a.changeSchemas(ctx, o.DryRun)
	if err != nil {
		return CreateResult{}, err
	}
	defer closeConn(ctx, conn)
	nodes, err := nodesFor(ctx, conn, o.Node)
	if err != nil {
		return CreateResult{}, err
	}
	template, why, err := a.template(ctx, conn, plan, templateOptions{fromHistory: o.FromHistory, dryRun: o.DryRun,
		lockTimeout: o.LockTimeout})
	if err != nil {
		return CreateResult{}, err
	}
	if err := a.copySettings(ctx, conn, o.Specs, o.Settings); err != nil {
		return CreateResult{}, err
	}
	belongs, err := a.newOwner(ctx, conn)
	if err != nil {
		return CreateResult{}, err
	}
	if err := placeSpecs(ctx, conn, o.Specs, o.Tablespace, belongs); err != nil {
		return CreateResult{}, err
	}
	if o.DryRun {
		created, err := a.wouldCreate(ctx, conn, o.Specs, template)
		return CreateResult{Created: created}, err
	}
	begun := a.Now()
	names := make([]string, len(o.Specs))
	for i, s := range o.Specs {
		names[i] = s.Slug
	}
	observer, end := a.Watch("create", names)
	created, results, stopped := tenant.CreateMany(ctx, fleet.Reuse(conn, a.Connect), o.Specs, tenant.CreateOptions{
		Registry: a.Registry,
		Template: template, Actor: a.Actor, Program: a.Program, LockTimeout: o.LockTimeout, Now: a.Now,
		Owner: belongs, Pool: !o.NoPool && !o.FromHistory, Direct: a.Direct,
	}, o.IfNotExists, fleet.Options{Concurrency: o.Concurrency, Drain: a.Drain(), Observer: observer})
	end()
	if results == nil && stopped != nil {
		return CreateResult{}, stopped
	}
	a.explainNames(ctx, results)
	if slices.ContainsFunc(created, func(c tenant.Created) bool { return !c.Pooled && !c.Existed }) {
		a.byHistory(why)
	}
	if o.Node != "" && ctx.Err() == nil {
		stopped = cmp.Or(stopped, a.settle(ctx, created, results, nodes, o))
	}
	return CreateResult{Created: created, Results: results, Stopped: stopped, Elapsed: a.Now().Sub(begun)}, nil
}

// nodesFor returns the nodes of the cluster, of which node must be one that takes tenants; none
// where node is "".
func nodesFor(ctx context.Context, conn *pgx.Conn, node string) ([]cluster.Node, error) {
	switch {
	case node == "":
		return nil, nil
	case !db.EngineOf(conn).Distributed():
		return nil, ErrNoCluster
	}
	nodes, err := cluster.Members(ctx, conn)
	if err != nil {
		return nil, err
	}
	return nodes, knownNode(nodes, node)
}

// settle moves the tenants that are there to the node that was asked for: a cluster makes them
// on its nodes in turn. What fails is in results; the same call with IfNotExists does the rest.
func (a *App) settle(ctx context.Context, created []tenant.Created, results []fleet.Result, nodes []cluster.Node,
	o CreateOptions) error {
	var at []int
	var names []string
	for i, r := range results {
		if r.State == fleet.Done {
			at, names = append(at, i), append(names, created[i].Tenant.Slug)
		}
	}
	observer, end := a.Watch("move", names)
	defer end()
	moved, stopped := fleet.Run(ctx, a.Connect, len(at), fleet.Options{
		Concurrency: 1, Drain: a.Drain(), Observer: observer,
	},
		func(ctx context.Context, conn *pgx.Conn, i int) error {
			_, err := a.moveToNode(ctx, conn, created[at[i]].Tenant, nodes, NodeMoveOptions{To: o.Node,
				MoveOptions: MoveOptions{Tenant: names[i], LockTimeout: o.LockTimeout}})
			return err
		})
	for i, m := range moved {
		r := &results[at[i]]
		r.Duration += m.Duration
		if m.State != fleet.Done {
			r.State, r.Err = fleet.Failed, &NotMovedError{names[i], o.Node, cmp.Or(m.Err, stopped)}
		}
	}
	return stopped
}

// EnsureTenant makes a tenant on conn unless there is one of that name. A dry run looks
// whether it could.
func (a *App) EnsureTenant(ctx context.Context, conn *pgx.Conn, spec tenant.Spec, dryRun bool) error {
	if refusal := a.RefuseSourced("create", registry.Tenant{Slug: spec.Slug}); refusal != nil {
		_, err := a.Registry.Get(ctx, conn, spec.Slug)
		if errors.Is(err, registry.ErrNotFound) {
			return refusal
		}
		return err
	}
	plan, err := a.TenantPlan(ctx, 0)
	if err != nil {
		return err
	}
	template, why, err := a.template(ctx, conn, plan, templateOptions{dryRun: dryRun, lockTimeout: a.Config.LockTimeout})
	if err != nil || dryRun {
		return err
	}
	belongs, err := a.newOwner(ctx, conn)
	if err != nil {
		return err
	}
	_, err = tenant.Create(ctx, conn, spec, tenant.CreateOptions{
		Registry: a.Registry, Owner: belongs,
		Template: template, Actor: a.Actor, Program: a.Program, LockTimeout: a.Config.LockTimeout, Now: a.Now, Pool: true,
		Direct: a.Direct,
	})
	switch {
	case err == nil:
		a.byHistory(why)
	case errors.Is(err, registry.ErrExists):
		return nil
	}
	return err
}

// copySettings gives new tenants the settings of one that is there.
func (a *App) copySettings(ctx context.Context, q db.Querier, specs []tenant.Spec, name string) error {
	if name == "" {
		return nil
	}
	t, err := a.Registry.Get(ctx, q, name)
	if err != nil {
		return err
	}
	for i := range specs {
		specs[i].Settings = t.Settings
	}
	return nil
}

// wouldCreate says what would become of tenants.
func (a *App) wouldCreate(ctx context.Context, q db.Querier, specs []tenant.Spec,
	template tenant.Template) ([]tenant.Created, error) {
	wanted := make([]string, len(specs))
	for i, s := range specs {
		wanted[i] = s.Slug
	}
	there, invalid, err := a.Registry.ListAll(ctx, q, registry.Filter{Slugs: wanted, AllSettings: true})
	if err != nil {
		return nil, err
	}
	if len(invalid) > 0 {
		return nil, invalid[0].Err()
	}
	known := make(map[string]registry.Tenant, len(there))
	for _, t := range there {
		known[t.Slug] = t
	}
	out := make([]tenant.Created, len(specs))
	for i, s := range specs {
		t, exists := known[s.Slug]
		out[i] = tenant.Created{Tenant: t, Existed: exists}
		if exists {
			continue
		}
		schema, err := db.SchemaForSlug(s.Slug)
		if err != nil {
			return nil, fmt.Errorf("tenant %q: %w", s.Slug, err)
		}
		out[i].Tenant = registry.Tenant{Slug: s.Slug, DisplayName: s.DisplayName, Schema: schema, Version: template.Version,
			Status: registry.Active}
	}
	return out, nil
}
