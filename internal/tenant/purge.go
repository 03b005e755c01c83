package tenant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/registry"
)

// PurgeFilter narrows what a purge may destroy; it can never widen it: a tenant
// must be deleted and its purge_after must be over.
type PurgeFilter struct {
	Registry registry.Registry
	// OlderThan additionally wants deleted_at to be that long ago. A purge that
	// has begun goes on whatever it says.
	OlderThan time.Duration
	// Max is the greatest number of tenants, 0 = all that are due. Those whose
	// purge has begun come first, then those deleted first.
	Max int
	// MaxPercent is the greatest share of all tenants of the registry, rounded
	// down, but at least one tenant; 0 = all that are due.
	MaxPercent float64
	// Slugs, if any, are the only ones considered.
	Slugs []string
	// Warn also looks for what falls due within that time from now.
	Warn time.Duration
}

// DueAt returns when a deleted tenant falls due: when its retention is over and
// it was deleted OlderThan ago.
func (f PurgeFilter) DueAt(t registry.Tenant) time.Time {
	var due time.Time
	if t.PurgeAfter != nil {
		due = *t.PurgeAfter
	}
	if t.DeletedAt == nil || t.PurgeStartedAt != nil {
		return due
	}
	if old := t.DeletedAt.Add(f.OlderThan); old.After(due) {
		return old
	}
	return due
}

// PurgePlan is what a purge would destroy.
type PurgePlan struct {
	Due []registry.Tenant
	// Kept are those that are due and beyond the caps.
	Kept []registry.Tenant
	// Soon are those that fall due within PurgeFilter.Warn, the next first.
	Soon []registry.Tenant
	// Invalid are rows that seem to be due and are not valid: they are left alone.
	Invalid []registry.InvalidRow
	// Tenants is the number of all tenants of the registry.
	Tenants int
}

// PlanPurge returns what a purge would destroy.
func PlanPurge(ctx context.Context, q db.Querier, f PurgeFilter, now time.Time) (PurgePlan, error) {
	var plan PurgePlan
	due, invalid, all, err := f.Registry.Due(ctx, q, now.Add(f.Warn), now.Add(f.Warn-f.OlderThan), f.Slugs)
	if err != nil {
		return plan, err
	}
	plan.Invalid, plan.Tenants = invalid, all
	for _, t := range due {
		if f.DueAt(t).After(now) {
			plan.Soon = append(plan.Soon, t)
		} else {
			plan.Due = append(plan.Due, t)
		}
	}
	slices.SortStableFunc(plan.Soon, func(a, b registry.Tenant) int { return f.DueAt(a).Compare(f.DueAt(b)) })
	if most := f.most(plan.Tenants, len(plan.Due)); most < len(plan.Due) {
		plan.Due, plan.Kept = plan.Due[:most], plan.Due[most:]
	}
	return plan, nil
}

// most returns how many of the tenants that are due the caps let through.
func (f PurgeFilter) most(tenants, due int) int {
	most := due
	if f.Max > 0 {
		most = min(most, f.Max)
	}
	if f.MaxPercent > 0 {
		most = min(most, max(1, int(float64(tenants)*f.MaxPercent/100)))
	}
	return most
}

// PurgeOptions are common to all tenants of one purge.
type PurgeOptions struct {
	MoveOptions

	// Before, if not nil, is called for each tenant before anything of it is
	// dropped: to take a backup. Its failure leaves the tenant as it is. It is
	// not called again for a tenant whose purge has begun. Several may run at
	// once, for different tenants. Where the tenant's tables are locked by others
	// afterwards, it is called again only when they could be locked: what was
	// written meanwhile has to be in the backup, too.
	Before func(ctx context.Context, t registry.Tenant) error
	// Locks is how many locks one transaction may take; 0 measures the room in
	// the server's lock table and takes half of what is free.
	Locks int

	sizer *fleet.Sizer // of what goes together; nil: every tenant alone
}

// Purged is what a purge did with a tenant.
type Purged struct {
	Tenant registry.Tenant
	// Elsewhere tells that another purge was at work on the tenant, or had done
	// it already.
	Elsewhere bool
	// RoleKept says why the tenant's role was not dropped with it, "" when it was
	// or when there was none.
	RoleKept string
	// Transactions is the number of those that dropped something.
	Transactions int

	prepared bool // Before was called
}

// PurgeMany destroys tenants for good: the schema is dropped before the row goes,
// both in one transaction where the server's lock table has room for it. A larger
// tenant loses its tables in several; from the first of these on there is no way
// back, the registry says so, and a purge that was killed is taken up by the next.
//
// Each is looked at again under its locks; one that was undeleted meanwhile fails
// with a *StateError. Two purges never work on the same tenant: the second leaves
// it to the first.
//
// The error says why the run ended before its tenants did, as fleet.Run returns it.
func PurgeMany(ctx context.Context, connect func(context.Context) (*pgx.Conn, error), due []registry.Tenant,
	o PurgeOptions, run fleet.Options) ([]Purged, []fleet.Result, error) {
	purged := make([]Purged, len(due))
	for i, t := range due {
		purged[i].Tenant = t
	}
	o.sizer = &fleet.Sizer{Most: purgeMost, Aim: purgeAim, Share: purgeShare}
	run.Together = together(purged, o)
	guards := db.Guards{Connect: connect}
	defer guards.Close(ctx)
	results, stopped := fleet.Run(ctx, connect, len(due), run, func(ctx context.Context, conn *pgx.Conn, i int) error {
		begun := time.Now()
		err := purge(ctx, conn, &guards, &purged[i], o)
		if err == nil {
			o.sizer.Took(time.Since(begun), 1)
		}
		if _, missing := errors.AsType[*registry.NotFoundError](err); missing {
			purged[i].Elsewhere = purged[i].Transactions == 0
			return nil
		}
		return err
	})
	for i := range results {
		if errors.Is(results[i].Err, errPurging) {
			purged[i].Elsewhere = true
		}
	}
	return purged, results, stopped
}

// errPurging says that another purge holds the tenant. It is worth another try.
var errPurging = errors.New("another purge is at it")

// purge destroys one tenant. A connection of its own holds the purge's lock while
// it lasts, in a transaction that does nothing else: a lock of the session would
// not survive a pooler. The lock saves a second purge the work, and no more: what
// is destroyed is destroyed under the tenant's own lock, which nobody has while the
// backup is taken, so that an undelete comes through until the end.
func purge(ctx context.Context, conn *pgx.Conn, guards *db.Guards, p *Purged, o PurgeOptions) error {
	guard, err := guards.Take(ctx)
	if err != nil {
		return err
	}
	defer guards.Give(guard)
	return db.InTx(ctx, guard, db.Locals{}, func(ctx context.Context, q db.Querier) error {
		err := o.Registry.HoldKey(ctx, q, purgeKey(p.Tenant))
		switch {
		case errors.Is(err, db.ErrBusy):
			return fmt.Errorf("tenant %q: %w: %w", p.Tenant.Slug, errPurging, err)
		case err != nil:
			return fmt.Errorf("lock tenant %q: %w", p.Tenant.Slug, err)
		}
		return db.NameBlockers(ctx, conn, p.Tenant.Schema, purgeLocked(ctx, conn, p, o))
	})
}

// purgeKey names what two purges of a tenant must not both hold.
func purgeKey(t registry.Tenant) string { return "purge:" + t.ID }

func purgeLocked(ctx context.Context, conn *pgx.Conn, p *Purged, o PurgeOptions) error {
	now, err := o.Registry.Get(ctx, conn, p.Tenant.Slug)
	if err != nil {
		return err
	}
	if now.ID != p.Tenant.ID {
		return &registry.NotFoundError{Slug: p.Tenant.Slug}
	}
	if err := checkDue(now, o); err != nil {
		return err
	}
	s, err := inspect(ctx, conn, now, o)
	if err != nil {
		return err
	}
	// A cascade has to end at the schema's border.
	if len(s.outside) > 0 {
		return &OutsideError{Slug: now.Slug, Objects: s.outside}
	}
	o.sizer.Locked(s.Locks())
	if o.Before != nil && now.PurgeStartedAt == nil {
		if p.prepared {
			if err := tryTables(ctx, conn, now, s, o); err != nil {
				return err
			}
		}
		p.prepared = true
		if err := o.Before(ctx, now); err != nil {
			return fmt.Errorf("before the purge of tenant %q: %w", now.Slug, err)
		}
	}
	if err := dropInBatches(ctx, conn, now, s, p, o); err != nil {
		return err
	}
	return finish(ctx, conn, now, p, o)
}

func checkDue(t registry.Tenant, o PurgeOptions) error {
	switch {
	case t.Status != registry.Deleted:
		return &registry.StateError{Slug: t.Slug, State: t.Status, Wanted: registry.Deleted}
	case t.PurgeAfter == nil || t.PurgeAfter.After(o.now()):
		return fmt.Errorf("tenant %q is not due for purge any more: %w", t.Slug, registry.ErrState)
	}
	return nil
}

// finish drops what is left of the schema, the role and the row in one
// transaction. The audit row is all that stays.
func finish(ctx context.Context, conn *pgx.Conn, t registry.Tenant, done *Purged, o PurgeOptions) error {
	kept := ""
	err := db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: true},
		func(ctx context.Context, q db.Querier) error {
			now, err := o.Registry.Lock(ctx, q, t, false)
			if err != nil {
				return err
			}
			if err := checkDue(now, o); err != nil {
				return err
			}
			var p db.Pipeline
			owner.QueueRights(&p, now.Schema)
			p.DropSchemas(now.Schema)
			p.Return()
			o.Registry.QueueDelete(&p, now.ID)
			if now.Role != "" || now.ForeignRole != "" { // which goes when its schema is gone
				if err := p.Run(ctx, q); err != nil {
					return err
				}
				if kept, err = dropRoleOf(ctx, q, now, o.Registry); err != nil {
					return err
				}
				p = db.Pipeline{}
			}
			if err := queuePurged(&p, now, kept, o); err != nil {
				return err
			}
			return p.Run(ctx, q)
		})
	if err == nil {
		done.Transactions++
		done.RoleKept = kept
	}
	return err
}

// queuePurged adds the row of the audit that stays of a tenant. kept is why its role was
// not dropped.
func queuePurged(p *db.Pipeline, t registry.Tenant, kept string, o PurgeOptions) error {
	detail := map[string]any{"schema": t.Schema.String(), "version": t.Version, "deleted_at": t.DeletedAt}
	if kept != "" {
		detail["role_kept"] = kept
	}
	return o.Registry.QueueEvent(p, registry.Event{
		TenantID: t.ID, Slug: t.Slug, Action: registry.ActionPurge, Actor: o.Actor, Program: o.Program,
		Before: registry.Fields(t), Detail: detail,
	})
}
