package tenant

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
)

// RemoveOptions are common to Delete, Undelete and Purge.
type RemoveOptions struct {
	Actor       string
	LockTimeout time.Duration
	Now         func() time.Time // nil = time.Now
}

func (o RemoveOptions) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}

// Delete closes a tenant. Its data stays until the retention is over and Purge
// runs. The error wraps ErrState when it is deleted already.
func Delete(ctx context.Context, conn *pgx.Conn, slug string, retention time.Duration, o RemoveOptions) (Tenant, error) {
	return move(ctx, conn, slug, o, func(t *Tenant) (Event, error) {
		if t.Status == Deleted {
			return Event{}, fmt.Errorf("tenant %q: %w: it is deleted already", slug, ErrState)
		}
		at := o.now().UTC().Truncate(time.Microsecond)
		until := at.Add(retention)
		before := t.Status
		t.Status, t.DeletedAt, t.PurgeAfter = Deleted, &at, &until
		return Event{Action: ActionDelete, Detail: map[string]any{"from": before, "purge_after": until}}, nil
	})
}

// Undelete opens a deleted tenant again. The error wraps ErrState when it is
// not deleted.
func Undelete(ctx context.Context, conn *pgx.Conn, slug string, o RemoveOptions) (Tenant, error) {
	return move(ctx, conn, slug, o, func(t *Tenant) (Event, error) {
		if t.Status != Deleted {
			return Event{}, fmt.Errorf("tenant %q: %w: it is %s, not deleted", slug, ErrState, t.Status)
		}
		t.Status, t.DeletedAt, t.PurgeAfter = Active, nil, nil
		return Event{Action: ActionUndelete}, nil
	})
}

// move changes a tenant's status under its advisory lock and a row lock, so that
// it excludes migrations and other moves, and writes the audit row.
func move(ctx context.Context, conn *pgx.Conn, slug string, o RemoveOptions, change func(*Tenant) (Event, error)) (Tenant, error) {
	found, err := Get(ctx, conn, slug)
	if err != nil {
		return Tenant{}, err
	}
	err = db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout}, func(ctx context.Context, q db.Querier) error {
		t, err := lockTenant(ctx, q, found)
		if err != nil {
			return err
		}
		event, err := change(&t)
		if err != nil {
			return err
		}
		event.TenantID, event.Slug, event.Actor = t.ID, t.Slug, o.Actor
		var p db.Pipeline
		p.Exec(`update public.tenants set status = $2, deleted_at = $3, purge_after = $4, updated_at = pg_catalog.now() where id = $1`,
			t.ID, string(t.Status), t.DeletedAt, t.PurgeAfter)
		if err := QueueEvent(&p, event); err != nil {
			return err
		}
		found = t
		return p.Run(ctx, q)
	})
	return found, err
}

// lockTenant takes the advisory lock of the tenant's schema, then locks its row
// and reads it again.
func lockTenant(ctx context.Context, q db.Querier, t Tenant) (Tenant, error) {
	var (
		p    db.Pipeline
		rows []Tenant
	)
	p.TryLock(t.Schema)
	p.Query(func(r pgx.Rows) (err error) {
		rows, err = pgx.CollectRows(r, scan)
		return err
	}, `select `+columns+` from public.tenants where id = $1 for update`, t.ID)
	if err := p.Run(ctx, q); err != nil {
		if errors.Is(err, db.ErrBusy) {
			return Tenant{}, fmt.Errorf("tenant %q: %w", t.Slug, db.ErrBusy)
		}
		return Tenant{}, fmt.Errorf("lock tenant %q: %w", t.Slug, err)
	}
	if len(rows) == 0 {
		return Tenant{}, &NotFoundError{Slug: t.Slug}
	}
	return rows[0], nil
}

// PurgeFilter narrows what Purge may destroy; it can never widen it: a tenant
// must be deleted and its purge_after must be over.
type PurgeFilter struct {
	// OlderThan additionally wants deleted_at to be that long ago.
	OlderThan time.Duration
	// Limit is the greatest number of tenants, 0 = all that are due. Those
	// deleted first come first.
	Limit int
	// Slugs, if any, are the only ones considered.
	Slugs []string
}

// PurgeDue returns the tenants that Purge would destroy.
func PurgeDue(ctx context.Context, q db.Querier, f PurgeFilter, now time.Time) ([]Tenant, error) {
	limit := any(nil)
	if f.Limit > 0 {
		limit = f.Limit
	}
	due, err := db.Select(ctx, q, scan, `select `+columns+`
		from public.tenants
		where status = 'deleted' and purge_after <= $1 and deleted_at <= $2
		  and (cardinality($3::text[]) = 0 or slug = any ($3::text[]))
		order by deleted_at, slug limit $4`,
		now, now.Add(-f.OlderThan), nonNil(f.Slugs), limit)
	if err != nil {
		return nil, fmt.Errorf("read the registry: %w", registryError(err))
	}
	return due, nil
}

// PurgeMany destroys the given tenants for good, one transaction each: the schema
// is dropped before the row goes. Each is looked at again under its locks; one
// that was undeleted meanwhile fails with ErrState, and one that is gone already
// is Done.
func PurgeMany(ctx context.Context, connect func(context.Context) (*pgx.Conn, error), due []Tenant, o RemoveOptions, run fleet.Options) []fleet.Result {
	results, _ := fleet.Run(ctx, connect, len(due), run, func(ctx context.Context, conn *pgx.Conn, i int) error {
		err := purge(ctx, conn, due[i], o)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		return err
	})
	return results // what was not started says so itself
}

func purge(ctx context.Context, conn *pgx.Conn, t Tenant, o RemoveOptions) error {
	return db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout}, func(ctx context.Context, q db.Querier) error {
		now, err := lockTenant(ctx, q, t)
		if err != nil {
			return err
		}
		if now.Status != Deleted || now.PurgeAfter == nil || now.PurgeAfter.After(o.now()) {
			return fmt.Errorf("tenant %q: %w: it is not due for purge any more", t.Slug, ErrState)
		}
		var p db.Pipeline
		p.Exec("drop schema if exists " + now.Schema.Quoted() + " cascade")
		p.Exec("delete from public.tenants where id = $1", now.ID)
		if err := QueueEvent(&p, Event{
			TenantID: now.ID, Slug: now.Slug, Action: ActionPurge, Actor: o.Actor,
			Detail: map[string]any{"schema": now.Schema.String(), "version": now.Version, "deleted_at": now.DeletedAt},
		}); err != nil {
			return err
		}
		return p.Run(ctx, q)
	})
}
