package app

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// giveBackTimeout bounds what is done to undo a transfer that failed.
const giveBackTimeout = time.Minute

// giveBack makes the tenant what it was before a transfer that failed, and destroys the copy. Where
// it has changed hands by then, or another run is at it, that is left alone. The source lets go of the
// transfer first: a copy without one is nobody's.
func (w *transfer) giveBack(ctx context.Context, failed error) error {
	if errors.Is(failed, tenant.ErrOvertaken) {
		return failed
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), giveBackTimeout)
	defer cancel()
	conn := w.from
	if conn.IsClosed() {
		again, err := w.a.Connect(ctx)
		if err != nil {
			return &UnfinishedTransferError{Slug: w.t.Slug, Err: failed}
		}
		defer closeConn(ctx, again)
		conn = again
	}
	_, err := tenant.Stay(ctx, conn, w.t, w.x, w.a.move(w.LockTimeout))
	state, inState := errors.AsType[*registry.StateError](err)
	switch {
	case inState && state.State == registry.Moved:
		return &UnfinishedTransferError{Slug: w.t.Slug, Moved: true, Err: failed}
	case errors.Is(err, tenant.ErrOvertaken):
		return failed
	case err != nil:
		return &UnfinishedTransferError{Slug: w.t.Slug, Err: errors.Join(failed, err)}
	}
	_ = w.clearThere(ctx) // the next transfer does, and doctor tells of it
	return failed
}

// clearThere destroys what the transfer has left there.
func (w *transfer) clearThere(ctx context.Context) error {
	if w.to.IsClosed() {
		again, err := w.To.Connect(ctx)
		if err != nil {
			return w.otherSide(err)
		}
		defer closeConn(ctx, again)
		w.to = again
	}
	_, err := w.copyThere(ctx, registry.Transfer{}, true)
	return err
}

// abort gives up a transfer that was begun.
func (w *transfer) abort(ctx context.Context) (registry.Tenant, error) {
	if w.t.Status != registry.Leaving {
		return w.t, &registry.StateError{Slug: w.t.Slug, State: w.t.State(), Wanted: registry.Leaving}
	}
	if w.DryRun {
		return w.t, nil
	}
	id, err := uuid.NewV7()
	if err != nil {
		return w.t, err
	}
	move := w.a.move(w.LockTimeout)
	if w.t, w.x, err = tenant.Leave(ctx, w.from, w.Tenant, registry.Transfer{Attempt: id.String(), Side: w.there},
		move); err != nil {
		return w.t, err
	}
	out, err := tenant.Stay(ctx, w.from, w.t, w.x, move)
	if err != nil {
		return out, err
	}
	return out, w.clearThere(ctx)
}
