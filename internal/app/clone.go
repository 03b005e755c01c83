package app

import (
	"context"
	"crypto/rand"
	"errors"
	"time"

	"github.com/crmctl/crmctl/internal/adopt"
	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// CloneOptions say what is copied, and how.
type CloneOptions struct {
	From, To         string // slugs
	DisplayName      string // "" = the tenant's own
	SchemaOnly       bool
	Anonymize        bool
	Seed             string   // of the fakes; "" = a random one
	KeepColumns      []string // "table.column", left as they are
	Role             Role
	Tablespace       string // where its tables are made; "" = where those of the data were
	LockTimeout      time.Duration
	StatementTimeout time.Duration
	DryRun           bool
}

// CloneResult is what became of the copy.
type CloneResult struct {
	Source  registry.Tenant
	Made    *backup.Made // nil for a dry run
	Elapsed time.Duration
}

// CloneTenant copies a tenant to a new one, which is whole or absent. The error wraps
// registry.ErrExists where there is one of that name.
func (a *App) CloneTenant(ctx context.Context, o CloneOptions) (out CloneResult, err error) {
	if err := a.RefuseSourced("clone", registry.Tenant{}); err != nil {
		return out, err
	}
	from, err := a.changeSchemas(ctx, o.DryRun)
	if err != nil {
		return out, err
	}
	defer closeConn(ctx, from)
	if out.Source, err = a.Registry.Get(ctx, from, o.From); err != nil {
		return out, err
	}
	belongs, err := a.ownerOf(ctx, from, out.Source.Schema)
	if err != nil {
		return out, err
	}
	if err := lookAtPlace(ctx, from, o.Tablespace, out.Source.Tablespace, belongs); err != nil {
		return out, err
	}
	if o.DryRun {
		return out, a.refuseTwin(ctx, from, o.To)
	}
	to, err := a.Connect(ctx)
	if err != nil {
		return out, err
	}
	defer closeConn(ctx, to)
	limits := backup.Limits{LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout}
	create, _, err := a.newTenant(ctx, to, registry.ActionClone, limits, o.Role)
	if err != nil {
		return out, err
	}
	create.Owner, create.Tablespace = belongs, chosenPlace(o.Tablespace)
	begun := a.Now()
	var end func()
	create.Progress, end = a.Bytes("clone")
	defer end()
	clone := backup.CloneOptions{NewTenant: create, Slug: o.To, DisplayName: o.DisplayName, SchemaOnly: o.SchemaOnly}
	if o.Anonymize {
		if o.Seed == "" {
			o.Seed = rand.Text()
		}
		clone.Anonymizer = backup.NewAnonymizer(o.Seed, o.KeepColumns)
	}
	accepted, err := a.Registry.ListAccepted(ctx, to, []string{out.Source.ID})
	if err != nil {
		return out, err
	}
	imports, err := a.Registry.HasImports(ctx, to)
	if err != nil {
		return out, err
	}
	others, err := a.holdsOthers(ctx, to, out.Source)
	if err != nil {
		return out, err
	}
	if len(accepted) > 0 || others { // its own is wanted, in the copy too
		clone.Structures = a.structures(ctx, limits)
	}
	clone.Keep = func(ctx context.Context, q db.Querier, id string) error {
		if len(accepted) > 0 {
			if err := a.Registry.CopyAccepted(ctx, q, out.Source.ID, id); err != nil {
				return err
			}
		}
		return a.Registry.CopyErasures(ctx, q, out.Source.ID, id)
	}
	out.Made, err = backup.Clone(ctx, from, to, backup.Source{ID: out.Source.ID, Slug: out.Source.Slug,
		Schema: out.Source.Schema, Imports: imports}, clone)
	out.Elapsed = a.Now().Sub(begun)
	return out, err
}

// holdsOthers reports whether a tenant's schema has tables in which other programs keep what
// they did, which no migration makes.
func (a *App) holdsOthers(ctx context.Context, q db.Querier, t registry.Tenant) (bool, error) {
	kept, err := a.Registry.ListSources(ctx, q)
	if err != nil {
		return false, err
	}
	return adopt.Holds(ctx, q, t.Schema, adopt.TablesOf(kept))
}

// refuseTwin returns registry.ErrExists where there is a tenant of a name.
func (a *App) refuseTwin(ctx context.Context, q db.Querier, slug string) error {
	switch _, err := a.Registry.Get(ctx, q, slug); {
	case err == nil:
		return &registry.ExistsError{Slug: slug, Registered: true}
	case !errors.Is(err, registry.ErrNotFound):
		return err
	}
	return nil
}
