package app

import (
	"cmp"
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tablespace"
	"github.com/crmctl/crmctl/internal/tenant"
)

// placeSpecs gives new tenants a tablespace, that of their settings where name is "", and makes
// sure that the session's role and their owner can make tables there.
func placeSpecs(ctx context.Context, q db.Querier, specs []tenant.Spec, name, belongs string) error {
	usual := map[string]bool{}
	for i := range specs {
		s := &specs[i]
		place := name
		if place == "" {
			place = registry.TablespaceOf(s.Settings)
		}
		if place == "" {
			continue
		}
		if _, looked := usual[place]; !looked {
			var err error
			if usual[place], err = tablespace.Look(ctx, q, place, "", belongs); err != nil {
				return err
			}
		}
		if usual[place] {
			place = ""
		}
		var err error
		if s.Settings, err = registry.WithTablespace(s.Settings, place); err != nil {
			return err
		}
	}
	return nil
}

// chosenPlace returns the tablespace that was asked for as package backup takes it: nil for none,
// which leaves it to the data.
func chosenPlace(name string) *string {
	if name == "" {
		return nil
	}
	return &name
}

// lookAtPlace makes sure that a copy of a tenant, which is to belong to a role, can be made in a
// tablespace, the tenant's own where name is "".
func lookAtPlace(ctx context.Context, q db.Querier, name, own, belongs string) error {
	name = cmp.Or(name, own)
	if name == "" {
		return nil
	}
	_, err := tablespace.Look(ctx, q, name, "", belongs)
	return err
}

// RelocateOptions say which tenant goes to which tablespace.
type RelocateOptions struct {
	MoveOptions

	To               string
	StatementTimeout time.Duration // of the copy of each table or index, 0 for none
}

// Relocated is what became of the tables and indexes of a tenant.
type Relocated struct {
	Tenant    registry.Tenant
	Relations []tablespace.Relation // that stood elsewhere, the smallest first
	Results   []fleet.Result        // of each; nil for a dry run
	Sequences int                   // that stay where they are
	Stopped   error                 // why the run ended before its time
	Elapsed   time.Duration
}

// Summary counts what became of the relations.
func (r *Relocated) Summary() fleet.Summary { return fleet.Summarize(r.Results, r.Stopped) }

// Relocating says what a relocation is about to do.
type Relocating struct {
	Slug, To  string
	Relations []tablespace.Relation
}

func (Relocating) notice() {}

// RelocateTenant brings the tables and indexes of a tenant to a tablespace, one at a time, each
// in a transaction of its own, the smallest first. What is made from then on is made there. The same call
// goes on where one has stopped. The error says that it could not begin.
func (a *App) RelocateTenant(ctx context.Context, o RelocateOptions) (out Relocated, err error) {
	begun := a.Now()
	slug, err := registry.Slug(o.Tenant)
	if err != nil {
		return out, err
	}
	conn, err := a.changeSchemas(ctx, o.DryRun)
	if err != nil {
		return out, err
	}
	defer closeConn(ctx, conn)
	if out.Tenant, err = a.Registry.Get(ctx, conn, slug); err != nil {
		return out, err
	}
	setting, err := a.placeOf(ctx, conn, out.Tenant, o.To)
	if err != nil {
		return out, err
	}
	move := a.move(o.LockTimeout)
	move.DryRun = true
	would, err := tenant.Relocate(ctx, conn, slug, setting, move)
	if err != nil {
		return out, err
	}
	move.DryRun = false
	look := db.Reading(ctx, o.LockTimeout, time.Minute)
	if out.Relations, out.Sequences, err = tablespace.Elsewhere(look, conn, out.Tenant.Schema, o.To); err != nil {
		return out, err
	}
	if err := tablespace.Refuse(out.Relations); err != nil {
		return out, err
	}
	if o.DryRun {
		out.Tenant = would
		return out, nil
	}
	if setting != out.Tenant.Tablespace {
		if out.Tenant, err = tenant.Relocate(ctx, conn, slug, setting, move); err != nil {
			return out, err
		}
	}
	a.Notify(Relocating{Slug: slug, To: o.To, Relations: out.Relations})
	names := make([]string, len(out.Relations))
	for i, r := range out.Relations {
		names[i] = r.Name
	}
	observer, end := a.Watch("relocate", names)
	out.Results, out.Stopped = fleet.Run(ctx, fleet.Reuse(conn, a.Connect), len(names),
		fleet.Options{Concurrency: 1, StopAfter: 1, Drain: a.Drain(), Observer: observer},
		func(ctx context.Context, conn *pgx.Conn, i int) error {
			return a.relocate(ctx, conn, out.Tenant, out.Relations[i], o)
		})
	end()
	out.Elapsed = a.Now().Sub(begun)
	return out, nil
}

// placeOf makes sure that a tenant may go to a tablespace, and returns the setting for it.
func (a *App) placeOf(ctx context.Context, conn *pgx.Conn, t registry.Tenant, name string) (string, error) {
	var work string
	if !a.ownRole() {
		roles, err := owner.Read(ctx, conn, []db.Schema{t.Schema})
		if err != nil {
			return "", err
		}
		work = roles.Of(t.Schema).Work
	}
	usual, err := tablespace.Look(ctx, conn, name, work)
	if err != nil || usual {
		return "", err
	}
	return name, nil
}

// relocate moves one table or index, under the tenant's lock. One that is gone meanwhile needs no
// move.
func (a *App) relocate(ctx context.Context, conn *pgx.Conn, t registry.Tenant, r tablespace.Relation,
	o RelocateOptions) error {
	err := db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout, Follow: true},
		func(ctx context.Context, q db.Querier) error {
			now, err := a.Registry.Lock(ctx, q, t, true)
			if err != nil {
				return err
			}
			var p db.Pipeline
			tablespace.QueueMove(&p, now.Schema, r, o.To)
			if err := a.Registry.QueueEvent(&p, registry.Event{TenantID: t.ID, Slug: t.Slug,
				Action: registry.ActionRelocate, Actor: a.Actor, Program: a.Program,
				Detail: map[string]any{"relation": r.Name, "from": r.Tablespace, "to": o.To, "bytes": r.Bytes},
			}); err != nil {
				return err
			}
			return p.Run(ctx, q)
		})
	if db.SQLState(err) == db.CodeUndefinedTable {
		return nil
	}
	return err
}
