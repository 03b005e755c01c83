package app

import (
	"context"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/planted"
)

// RepairTenant records what somebody found out about the file that was cut off in a
// tenant. It returns what was known of it before; a dry run changes nothing.
func (a *App) RepairTenant(ctx context.Context, slug string, mark migrate.Mark, lockTimeout time.Duration,
	dryRun bool) (*migrate.DirtyError, error) {
	plan, err := a.TenantPlan(ctx, 0)
	if err != nil {
		return nil, err
	}
	conn, err := a.changeSchemas(ctx, dryRun)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	t, err := a.Registry.Get(ctx, conn, slug)
	if err != nil {
		return nil, err
	}
	if dryRun {
		return migrate.PlanRepair(ctx, conn, a.Registry, t)
	}
	var roles owner.Roles
	if !a.ownRole() {
		if roles, err = owner.Read(ctx, conn, []db.Schema{t.Schema}); err != nil {
			return nil, err
		}
	}
	return plan.Repair(ctx, conn, t, mark, migrate.ApplyOptions{
		Registry: a.Registry, LockTimeout: lockTimeout, Guard: &planted.Guard{Trusted: a.Config.TrustedOwners},
		Owners: roles,
	})
}
