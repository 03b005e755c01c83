package app

import (
	"context"
	"errors"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// RestoreOptions say how a tenant is made out of a backup.
type RestoreOptions struct {
	As               string // the slug of the new tenant; "" = that of the backup
	Migrate          bool   // then to the newest version
	TrustCode        bool   // make code of the file too that no migration makes
	SkipErasures     bool   // bring back persons whose data was erased since
	Role             Role
	Tablespace       string // where its tables are made; "" = where those of the data were
	LockTimeout      time.Duration
	StatementTimeout time.Duration
}

// RestoreResult is what became of a tenant that was restored.
type RestoreResult struct {
	Made    *backup.Made
	Version int64 // of the tenant now
	Newest  int64 // of the files
	Elapsed time.Duration
}

// NotMigratedError says that a tenant is restored and could not be migrated.
type NotMigratedError struct {
	Slug string
	Err  error
}

func (e *NotMigratedError) Error() string {
	return "tenant \"" + e.Slug + "\" is restored, but not migrated: " + e.Err.Error()
}

func (e *NotMigratedError) Unwrap() error { return e.Err }

func (o RestoreOptions) limits() backup.Limits {
	return backup.Limits{LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout}
}

// RestoreTenant makes a tenant out of a backup. There is a result when the tenant is
// there, even where the error says that it could not be migrated (*NotMigratedError).
// The error is backup.ErrOtherKind for a backup of the registry, of which something was
// read then.
func (a *App) RestoreTenant(ctx context.Context, conn *pgx.Conn, in *backup.File,
	o RestoreOptions) (*RestoreResult, error) {
	begun := a.Now()
	create, plan, err := a.newTenant(ctx, conn, registry.ActionRestore, o.limits(), o.Role)
	if err != nil {
		return nil, err
	}
	if create.Owner, err = a.newOwner(ctx, conn); err != nil {
		return nil, err
	}
	create.SetAside = func(ctx context.Context, q db.Querier, slug string, schema db.Schema) (string, error) {
		t, err := tenant.SetAside(ctx, q, slug, schema, a.move(o.LockTimeout))
		return t.Slug, err
	}
	create.TrustCode, create.Tablespace = o.TrustCode, chosenPlace(o.Tablespace)
	made, err := backup.Restore(ctx, conn, in, backup.RestoreOptions{NewTenant: create, As: o.As,
		Forget: a.forget(o.SkipErasures)})
	if err != nil {
		return nil, err
	}
	out := &RestoreResult{Made: made, Version: made.Version, Newest: plan.Head(), Elapsed: a.Now().Sub(begun)}
	if err := a.acceptSaved(ctx, conn, made); err != nil {
		return out, err
	}
	if o.Migrate {
		out.Version, err = a.migrateMade(ctx, conn, plan, made, o.LockTimeout)
	}
	return out, err
}

// RestoreRegistry restores a backup of the registry.
func (a *App) RestoreRegistry(ctx context.Context, conn *pgx.Conn, in *backup.File,
	o RestoreOptions) (*backup.Manifest, error) {
	return backup.RestoreRegistry(ctx, conn, in, backup.RegistryOptions{Registry: a.Registry, Limits: o.limits(),
		Tables: registry.SavedTables(), Judge: judgeTenant, JudgeSource: judgeSource})
}

// TryRestore reads the whole of a backup and looks whether its tenant could be made, for
// which it changes nothing.
func (a *App) TryRestore(ctx context.Context, conn *pgx.Conn, in *backup.File, as,
	place string) (*WouldRestore, error) {
	m, err := backup.Verify(backup.UntilDone(ctx, in), nil)
	if err != nil {
		return nil, err
	}
	would := &WouldRestore{Manifest: m, Encrypted: in.Encrypted, Size: in.Size}
	if m.Kind != backup.KindTenant {
		return would, nil
	}
	if as == "" {
		as = m.Tenant.Slug
	}
	plan, err := a.TenantPlan(ctx, 0)
	if err != nil {
		return nil, err
	}
	if _, err := planOf(plan, m.Applied()); err != nil {
		return nil, err
	}
	belongs, err := a.newOwner(ctx, conn)
	if err != nil {
		return nil, err
	}
	if err := lookAtPlace(ctx, conn, place, registry.TablespaceOf(m.Tenant.Settings), belongs); err != nil {
		return nil, err
	}
	would.SetAside, err = a.placeFor(ctx, conn, as, m.Tenant)
	m.Tenant.Slug = as
	return would, err
}

// placeFor looks whether the tenant of a backup could be made: there is none of that
// name, or it is the very tenant, and its schema is gone, or it is deleted, and would be
// set aside.
func (a *App) placeFor(ctx context.Context, conn *pgx.Conn, slug string,
	saved *backup.Tenant) (setAside bool, err error) {
	there, err := a.Registry.Get(ctx, conn, slug)
	switch {
	case errors.Is(err, registry.ErrNotFound):
		return false, nil
	case err != nil:
		return false, err
	case there.PurgeStartedAt != nil:
		return false, &registry.StateError{Slug: slug, State: registry.Purging}
	}
	found, err := db.Select(ctx, conn, pgx.RowTo[bool],
		"select exists (select from pg_namespace where nspname = $1::text::name)", saved.Schema)
	switch {
	case err != nil:
		return false, err
	case !found[0] && there.ID == saved.ID && there.Schema.String() == saved.Schema:
		return false, nil
	case there.Status == registry.Deleted:
		return true, nil
	}
	return false, &registry.ExistsError{Slug: slug, Registered: true, Status: there.State()}
}

// migrateMade brings a tenant that was just made to the newest version, and returns
// the version it has.
func (a *App) migrateMade(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan, made *backup.Made,
	lockTimeout time.Duration) (int64, error) {
	schema, err := db.RegisteredSchema(made.Tenant.Schema)
	if err != nil {
		return made.Version, err
	}
	t := registry.Tenant{ID: made.Tenant.ID, Slug: made.Tenant.Slug, Schema: schema, Version: made.Version,
		Tablespace: registry.TablespaceOf(made.Tenant.Settings)}
	route := migrate.Route{Kind: migrate.Up}
	if !plan.Behind(route, t.Version) {
		return t.Version, nil
	}
	report, err := plan.Run(ctx, conn, a.Connect, []registry.Tenant{t}, migrate.RunOptions{
		Registry: a.Registry,
		Route:    route, Trusted: a.Config.TrustedOwners, OwnRole: a.ownRole(),
		Fleet:  fleet.Options{Concurrency: 1, Drain: a.Drain()},
		Direct: a.Direct, LockTimeout: lockTimeout, Actor: a.Actor,
	})
	if err != nil {
		return t.Version, &NotMigratedError{Slug: t.Slug, Err: err}
	}
	if outcome := report.Outcomes[0]; outcome.Err != nil {
		return outcome.To, &NotMigratedError{Slug: t.Slug, Err: outcome.Err}
	}
	return report.Outcomes[0].To, nil
}
