package tenant

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
)

// MoveOptions are common to everything that changes a tenant that is there.
type MoveOptions struct {
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

// StateError says that a tenant's state does not allow a move.
type StateError struct {
	Slug  string
	State Status // what it is
	// Already tells that the tenant is there where the move would have put it.
	Already bool
	// Wanted is the only state that would do; "" where the way there is plain.
	Wanted Status
}

// Error returns `tenant "acme" is suspended: activate it first`.
func (e *StateError) Error() string {
	text := fmt.Sprintf("tenant %q is %s", e.Slug, e.State)
	switch {
	case e.Already:
		return text + " already"
	case e.Wanted != "":
		return text + ", not " + string(e.Wanted)
	}
	switch e.State {
	case Suspended:
		text += ": activate it first"
	case Deleted:
		text += ": undelete it first"
	case Purging:
		text = fmt.Sprintf("tenant %q is being purged: there is no way back", e.Slug)
	}
	return text
}

// Is makes errors.Is(err, ErrState) true.
func (e *StateError) Is(target error) bool { return target == ErrState }

// Suspend shuts a tenant: its role, where it has one, loses the schema, and
// HoldOpen refuses it. Migrations still reach it. The error is a *StateError
// unless it is active.
func Suspend(ctx context.Context, conn *pgx.Conn, slug string, o MoveOptions) (Tenant, error) {
	return move(ctx, conn, slug, o, ActionSuspend, func(t *Tenant) error {
		if t.Status != Active {
			return &StateError{Slug: t.Slug, State: t.State(), Already: t.Status == Suspended}
		}
		t.Status = Suspended
		return nil
	})
}

// Activate opens a suspended tenant again. The error is a *StateError unless it
// is suspended.
func Activate(ctx context.Context, conn *pgx.Conn, slug string, o MoveOptions) (Tenant, error) {
	return move(ctx, conn, slug, o, ActionActivate, func(t *Tenant) error {
		if t.Status != Suspended {
			return &StateError{Slug: t.Slug, State: t.State(), Already: t.Status == Active}
		}
		t.Status = Active
		return nil
	})
}

// Delete closes a tenant. Its data stays until the retention is over and a purge
// comes by; its role loses the schema now. The error is a *StateError when it is
// deleted already.
func Delete(ctx context.Context, conn *pgx.Conn, slug string, retention time.Duration, o MoveOptions) (Tenant, error) {
	return move(ctx, conn, slug, o, ActionDelete, func(t *Tenant) error {
		if t.Status == Deleted {
			return &StateError{Slug: t.Slug, State: t.State(), Already: t.PurgeStartedAt == nil}
		}
		at := o.now()
		until := at.Add(retention)
		t.DeletedFrom, t.Status, t.DeletedAt, t.PurgeAfter = t.Status, Deleted, &at, &until
		return nil
	})
}

// Undelete brings a deleted tenant back as it was, active or suspended. The error
// is a *StateError unless it is deleted, and when a purge has begun.
func Undelete(ctx context.Context, conn *pgx.Conn, slug string, o MoveOptions) (Tenant, error) {
	return move(ctx, conn, slug, o, ActionUndelete, func(t *Tenant) error {
		switch {
		case t.PurgeStartedAt != nil:
			return &StateError{Slug: t.Slug, State: Purging}
		case t.Status != Deleted:
			return &StateError{Slug: t.Slug, State: t.Status, Wanted: Deleted}
		}
		t.Status = Active
		if t.DeletedFrom != "" {
			t.Status = t.DeletedFrom
		}
		t.DeletedFrom, t.DeletedAt, t.PurgeAfter = "", nil, nil
		return nil
	})
}

// move changes a tenant under its lock, so that it excludes migrations and other
// moves: the registry's row, what its role may do, and the audit, in one transaction.
func move(ctx context.Context, conn *pgx.Conn, slug string, o MoveOptions, action string, change func(*Tenant) error) (Tenant, error) {
	found, err := Get(ctx, conn, slug)
	if err != nil {
		return Tenant{}, err
	}
	if o.DryRun {
		err = change(&found)
		return found, err
	}
	err = db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout}, func(ctx context.Context, q db.Querier) error {
		before, err := lockTenant(ctx, q, found, true)
		if err != nil {
			return err
		}
		after := before
		if err := change(&after); err != nil {
			return err
		}
		opens, shuts := after.Status == Active && before.Status != Active, after.Status != Active && before.Status == Active
		if shuts {
			if shuts, err = roleThere(ctx, q, before); err != nil {
				return err
			}
		}
		var p db.Pipeline
		queueRow(&p, &after)
		if shuts || opens && after.Role != "" {
			queueAccess(&p, after, opens)
		}
		if err := queueChange(&p, before, after, action, o, nil); err != nil {
			return err
		}
		found = after
		return p.Run(ctx, q)
	})
	return found, explainMissing(err, found)
}

// queueRow adds the update of a tenant's row to what t says.
func queueRow(p *db.Pipeline, t *Tenant) {
	p.QueryRow([]any{&t.UpdatedAt}, `update public.tenants set slug = $2, display_name = $3, schema_name = $4, role_name = nullif($5, ''), status = $6,
		deleted_at = $7, purge_after = $8, deleted_from = nullif($9, ''), purge_started_at = $10, settings = $11::jsonb, updated_at = now()
		where id = $1 returning updated_at`,
		t.ID, t.Slug, t.DisplayName, t.Schema.String(), cmp.Or(t.Role, t.ForeignRole), string(t.Status),
		t.DeletedAt, t.PurgeAfter, string(t.DeletedFrom), t.PurgeStartedAt, string(t.Settings))
}

// queueChange adds the audit row of a change.
func queueChange(p *db.Pipeline, before, after Tenant, action string, o MoveOptions, detail map[string]any) error {
	from, to := changes(before, after)
	return QueueEvent(p, Event{
		TenantID: after.ID, Slug: after.Slug, Action: action, Actor: o.Actor, Program: o.Program,
		Before: from, After: to, Detail: detail,
	})
}

// explainMissing says of which tenant the role or the schema is gone.
func explainMissing(err error, t Tenant) error {
	switch db.SQLState(err) {
	case db.CodeUndefinedObject, db.CodeInvalidSchemaName:
		return fmt.Errorf("tenant %q: %w", t.Slug, err)
	}
	return err
}

// lockTenant takes the lock of a tenant and reads it again. With wait it waits as
// long as lock_timeout says. A tenant that was renamed since t was read is not the
// one that was meant any more.
func lockTenant(ctx context.Context, q db.Querier, t Tenant, wait bool) (Tenant, error) {
	var (
		p    db.Pipeline
		rows []row
	)
	p.LockTenant(t.ID, db.Schema{}, wait)
	p.Query(func(r pgx.Rows) (err error) {
		rows, err = pgx.CollectRows(r, scan)
		return err
	}, `select `+columns+` from public.tenants where id = $1`, t.ID)
	if err := p.Run(ctx, q); err != nil {
		if busy, ok := errors.AsType[*db.BusyError](err); ok {
			return Tenant{}, &busyError{t.Slug, busy}
		}
		if errors.Is(err, db.ErrNoTenant) {
			return Tenant{}, &NotFoundError{Slug: t.Slug}
		}
		return Tenant{}, fmt.Errorf("lock tenant %q: %w", t.Slug, err)
	}
	switch {
	case len(rows) == 0:
		return Tenant{}, &NotFoundError{Slug: t.Slug}
	case rows[0].invalid != nil:
		return Tenant{}, rows[0].invalid.Err()
	case rows[0].Slug != t.Slug:
		return Tenant{}, &NotFoundError{Slug: t.Slug}
	case rows[0].Schema != t.Schema: // what was found out about the former one is void
		return Tenant{}, fmt.Errorf("tenant %q: %w", t.Slug, db.ErrBusy)
	}
	return rows[0].Tenant, nil
}

// busyError says which tenant is busy. Who is in the way is found out after it was
// made, when the transaction is over.
type busyError struct {
	slug string
	err  *db.BusyError
}

func (e *busyError) Error() string { return fmt.Sprintf("tenant %q: %v", e.slug, e.err) }
func (e *busyError) Unwrap() error { return e.err }

func pgError(err error) (*pgconn.PgError, bool) { return errors.AsType[*pgconn.PgError](err) }
