package app

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/migrations"
)

// UpgradeOptions say how the registry is brought to the version of this program.
type UpgradeOptions struct {
	LockTimeout time.Duration
	DryRun      bool
}

// OtherRegistry says that another registry stands in the database, with tenants of its own.
type OtherRegistry struct{ Registry registry.Registry }

func (OtherRegistry) notice() {}

// UpgradeRegistry makes the registry, or brings it to the version of this program. The
// error is a *registry.TakenError where something else has a name that it needs.
func (a *App) UpgradeRegistry(ctx context.Context, o UpgradeOptions) (migrate.Change, error) {
	plan, err := migrate.Compile(ctx, migrations.Public())
	if err != nil {
		return migrate.Change{}, err
	}
	conn, err := a.change(ctx, o.DryRun)
	if err != nil {
		return migrate.Change{}, err
	}
	defer closeConn(ctx, conn)
	if err := a.roomForRegistry(ctx, conn); err != nil {
		return migrate.Change{}, err
	}
	var change migrate.Change
	if o.DryRun {
		change, err = plan.PlanPublic(ctx, conn, a.Registry)
	} else {
		change, err = plan.ApplyPublic(ctx, conn, migrate.ApplyOptions{Registry: a.Registry, LockTimeout: o.LockTimeout})
	}
	if err != nil {
		return migrate.Change{}, fmt.Errorf("migrate the registry: %w", err)
	}
	return change, nil
}

// roomForRegistry fails where something else has a name that the registry needs, and where
// it would be made in a tenant's schema. It notes what other registries there are.
func (a *App) roomForRegistry(ctx context.Context, conn *pgx.Conn) error {
	standing, err := a.Registry.LookToMake(ctx, conn, a.Config.TrustedOwners)
	if err == nil {
		err = standing.Taken()
	}
	if err != nil || standing.Made {
		return err
	}
	if err := a.Registry.RefuseTenant(ctx, conn); err != nil {
		return err
	}
	others, err := registry.Registries(ctx, conn)
	for _, other := range others {
		a.Notify(OtherRegistry{other})
	}
	return err
}
