package tenant

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/registry"
)

// MoveOptions are common to everything that changes a tenant that is there.
type MoveOptions struct {
	Registry    registry.Registry
	Actor       string // for the audit, "alice@host"
	Program     string // for the audit, "crmctl 1.2.3"
	LockTimeout time.Duration
	Now         func() time.Time // nil = time.Now
	// DryRun looks whether the move can be made and returns what the tenant would be.
	// Nothing is locked or written.
	DryRun bool
}

// now returns the time in the precision PostgreSQL keeps.
func (o MoveOptions) now() time.Time {
	if o.Now != nil {
		return o.Now().UTC().Truncate(time.Microsecond)
	}
	return time.Now().UTC().Truncate(time.Microsecond)
}

// Suspend shuts a tenant: its role, where it has one, loses the schema, and
// HoldOpen refuses it. Migrations still reach it. The error is a *StateError
// unless it is active.
func Suspend(ctx context.Context, conn *pgx.Conn, slug string, o MoveOptions) (registry.Tenant, error) {
	return move(ctx, conn, slug, o, registry.ActionSuspend, func(t *registry.Tenant) error {
		if t.Status != registry.Active {
			return &registry.StateError{Slug: t.Slug, State: t.State(), Already: t.Status == registry.Suspended}
		}
		t.Status = registry.Suspended
		return nil
	})
}

// Activate opens a suspended tenant again. The error is a *StateError unless it
// is suspended.
func Activate(ctx context.Context, conn *pgx.Conn, slug string, o MoveOptions) (registry.Tenant, error) {
	return move(ctx, conn, slug, o, registry.ActionActivate, func(t *registry.Tenant) error {
		if t.Status != registry.Suspended {
			return &registry.StateError{Slug: t.Slug, State: t.State(), Already: t.Status == registry.Active}
		}
		t.Status = registry.Active
		return nil
	})
}

// Delete closes a tenant. Its data stays until the retention is over and a purge
// comes by; its role loses the schema now. The error is a *StateError when it is
// deleted already.
func Delete(ctx context.Context, conn *pgx.Conn, slug string, retention time.Duration,
	o MoveOptions) (registry.Tenant, error) {
	return move(ctx, conn, slug, o, registry.ActionDelete, func(t *registry.Tenant) error {
		if t.Status == registry.Deleted {
			return &registry.StateError{Slug: t.Slug, State: t.State(), Already: t.PurgeStartedAt == nil}
		}
		at := o.now()
		until := at.Add(retention)
		if t.Status != registry.Gone { // which has kept the status before
			t.DeletedFrom = t.Status
		}
		t.Status, t.DeletedAt, t.PurgeAfter = registry.Deleted, &at, &until
		return nil
	})
}

// Undelete brings a deleted tenant back as it was, active or suspended. The error
// is a *StateError unless it is deleted, and when a purge has begun.
func Undelete(ctx context.Context, conn *pgx.Conn, slug string, o MoveOptions) (registry.Tenant, error) {
	return move(ctx, conn, slug, o, registry.ActionUndelete, func(t *registry.Tenant) error {
		switch {
		case t.PurgeStartedAt != nil:
			return &registry.StateError{Slug: t.Slug, State: registry.Purging}
		case t.Status != registry.Deleted:
			return &registry.StateError{Slug: t.Slug, State: t.Status, Wanted: registry.Deleted}
		}
		t.Status = registry.Active
		if t.DeletedFrom != "" {
			t.Status = t.DeletedFrom
		}
		t.DeletedFrom, t.DeletedAt, t.PurgeAfter = "", nil, nil
		return nil
	})
}

// staying is a change that a tenant on its way to or from another registry does not
// take: a transfer alone ends that. What is left of one that has moved may be deleted.
func staying(change func(*registry.Tenant) error) func(*registry.Tenant) error {
	return func(t *registry.Tenant) error {
		was := t.Status
		if was == registry.Leaving || was == registry.Incoming {
			return &registry.StateError{Slug: t.Slug, State: was}
		}
		err := change(t)
		if err == nil && was == registry.Moved && t.Status != registry.Deleted {
			return &registry.StateError{Slug: t.Slug, State: was}
		}
		return err
	}
}

// move changes a tenant under its lock, so that it excludes migrations and other
// moves: the registry's row, what its role may do, and the audit, in one transaction.
func move(ctx context.Context, conn *pgx.Conn, slug string, o MoveOptions, action string,
	change func(*registry.Tenant) error) (registry.Tenant, error) {
	found, err := o.Registry.Get(ctx, conn, slug)
	if err != nil {
		return registry.Tenant{}, err
	}
	change = staying(change)
	if o.DryRun {
		err = change(&found)
		return found, err
	}
	err = db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: true},
		func(ctx context.Context, q db.Querier) error {
			before, err := o.Registry.Lock(ctx, q, found, true)
			if err != nil {
				return err
			}
			after := before
			if err := change(&after); err != nil {
				return err
			}
			if err := write(ctx, q, before, &after, action, o, nil, nil); err != nil {
				return err
			}
			found = after
			return nil
		})
	return found, explainMissing(err, found)
}

// write makes a tenant whose row is locked what after says: the registry's row, what its role
// may do, and the audit. more, if not nil, adds what belongs to it.
func write(ctx context.Context, q db.Querier, before registry.Tenant, after *registry.Tenant, action string,
	o MoveOptions, detail map[string]any, more func(p *db.Pipeline)) error {
	opens, shuts := after.Status == registry.Active && before.Status != registry.Active,
		after.Status != registry.Active && before.Status == registry.Active
	if shuts {
		var err error
		if shuts, err = roleThere(ctx, q, before); err != nil {
			return err
		}
	}
	var p db.Pipeline
	o.Registry.QueueUpdate(&p, after)
	if more != nil {
		more(&p)
	}
	if shuts || opens && after.Role != "" {
		owner.QueueRights(&p, after.Schema)
		queueAccess(&p, *after, opens)
		p.Return()
	}
	if err := queueChange(&p, before, *after, action, o, detail); err != nil {
		return err
	}
	return p.Run(ctx, q)
}

// queueChange adds the audit row of a change.
func queueChange(p *db.Pipeline, before, after registry.Tenant, action string, o MoveOptions,
	detail map[string]any) error {
	from, to := registry.Changes(before, after)
	return o.Registry.QueueEvent(p, registry.Event{
		TenantID: after.ID, Slug: after.Slug, Action: action, Actor: o.Actor, Program: o.Program,
		Before: from, After: to, Detail: detail,
	})
}

// explainMissing says of which tenant the role or the schema is gone.
func explainMissing(err error, t registry.Tenant) error {
	switch db.SQLState(err) {
	case db.CodeUndefinedObject, db.CodeInvalidSchemaName:
		return fmt.Errorf("tenant %q: %w", t.Slug, err)
	}
	return err
}

func pgError(err error) (*pgconn.PgError, bool) { return errors.AsType[*pgconn.PgError](err) }
