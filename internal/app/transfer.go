package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// TransferOptions say which tenant goes where.
type TransferOptions struct {
	MoveOptions

	To               *App   // the application with the other database
	Role             Role   // whether it has a role there
	Tablespace       string // where its tables are made there; "" = one of the same name as here
	TrustCode        bool   // take code along that no migration makes
	StatementTimeout time.Duration
	Abort            bool // give up a transfer that was begun
}

// TransferResult is what became of a transfer.
type TransferResult struct {
	Tenant  registry.Tenant // there, or here after Abort
	Side    registry.Side   // where that is; here after Abort
	Rows    int64           // that were compared
	Newest  int64           // version of the files there
	Elapsed time.Duration
}

// TransferStep says how far a transfer has come.
type TransferStep struct{ Step string }

func (TransferStep) notice() {}

// The steps of a transfer.
const (
	StepLeaving  = "leaving"
	StepCopied   = "copied"
	StepCompared = "compared"
	StepMoved    = "moved"
)

// OtherSideError is an error of the database that a tenant goes to.
type OtherSideError struct {
	Profile string
	Err     error
}

// Error names the profile.
func (e *OtherSideError) Error() string { return "profile " + e.Profile + ": " + e.Err.Error() }

func (e *OtherSideError) Unwrap() error { return e.Err }

// UnfinishedTransferError says that a transfer has neither ended nor been given up. Moved tells
// that the tenant has changed hands, and is to be opened there.
type UnfinishedTransferError struct {
	Slug  string
	Moved bool
	Err   error
}

// Error says how far it is.
func (e *UnfinishedTransferError) Error() string {
	if e.Moved {
		return fmt.Sprintf("tenant %q has moved, but is not open there yet: %v", e.Slug, e.Err)
	}
	return fmt.Sprintf("the transfer of tenant %q is neither done nor given up: %v", e.Slug, e.Err)
}

func (e *UnfinishedTransferError) Unwrap() error { return e.Err }

// transfer is a transfer under way.
type transfer struct {
	TransferOptions

	a        *App
	from, to *pgx.Conn
	there    registry.Side
	here     registry.Side
	t        registry.Tenant
	x        registry.Transfer
	copy     backup.NewTenant
	plan     *migrate.Plan
}

// TransferTenant moves a tenant to another database: it is shut, copied, compared row by
// row, handed over, and opened there. At any time one registry owns it: this one until the commit that says
// moved, the other from then on. A transfer that was cut off is gone on with by the same call; one
// that fails before the tenant has changed hands is undone.
func (a *App) TransferTenant(ctx context.Context, o TransferOptions) (out TransferResult, err error) {
	begun := a.Now()
	slug, err := registry.Slug(o.Tenant)
	if err != nil {
		return out, err
	}
	o.Tenant = slug
	w := &transfer{TransferOptions: o, a: a}
	if w.from, err = a.changeSchemas(ctx, o.DryRun); err != nil {
		return out, err
	}
	defer closeConn(ctx, w.from)
	if err := a.Registry.RefuseWithoutTransfers(ctx, w.from); err != nil {
		return out, err
	}
	if w.to, err = o.To.changeSchemas(ctx, o.DryRun); err != nil {
		return out, w.otherSide(err)
	}
	defer closeConn(ctx, w.to)
	if err := w.look(ctx); err != nil {
		return out, err
	}
	switch {
	case o.Abort:
		out.Tenant, err = w.abort(ctx)
		out.Side = w.here
	case o.DryRun:
		out.Tenant, out.Side = w.t, w.there
	default:
		out.Tenant, out.Rows, err = w.run(ctx)
		out.Side = w.there
	}
	if w.plan != nil {
		out.Newest = w.plan.Head()
	}
	out.Elapsed = a.Now().Sub(begun)
	return out, err
}

func (w *transfer) otherSide(err error) error {
	if err == nil {
		return nil
	}
	return &OtherSideError{Profile: w.To.Config.Profile, Err: err}
}

// side returns a registry as the other one is to know it.
func (a *App) side(conn *pgx.Conn) registry.Side {
	cfg := conn.Config()
	return registry.Side{Profile: a.Config.Profile, Host: cfg.Host, Port: int(cfg.Port), Database: cfg.Database,
		Registry: a.Registry.Schema().String()}
}

// run does what is left to do of the transfer.
func (w *transfer) run(ctx context.Context) (out registry.Tenant, rows int64, err error) {
	id, err := uuid.NewV7()
	if err != nil {
		return out, 0, err
	}
	w.t, w.x, err = tenant.Leave(ctx, w.from, w.Tenant, registry.Transfer{ID: id.String(), Attempt: id.String(),
		Side: w.there}, w.a.move(w.LockTimeout))
	if err != nil {
		return out, 0, err
	}
	if w.t.Status == registry.Moved {
		return w.finish(ctx)
	}
	w.a.Notify(TransferStep{StepLeaving})
	out, rows, err = w.carry(ctx)
	if err == nil {
		return out, rows, nil
	}
	return out, rows, w.giveBack(ctx, err)
}

// finish opens a tenant there that has moved.
func (w *transfer) finish(ctx context.Context) (registry.Tenant, int64, error) {
	rows := int64(0)
	if w.x.Rows != nil {
		rows = *w.x.Rows
	}
	found, err := w.To.Registry.Get(ctx, w.to, w.Tenant)
	switch {
	case err != nil:
		return found, 0, w.otherSide(err)
	case found.ID == w.t.ID && !found.Status.Travels():
		return found, rows, nil
	}
	found, err = tenant.Receive(ctx, w.to, found, w.x, func(context.Context) (int64, error) { return rows, nil },
		w.To.move(w.LockTimeout))
	return found, rows, w.otherSide(err)
}

// carry copies the tenant, unless that is done, and hands it over.
func (w *transfer) carry(ctx context.Context) (registry.Tenant, int64, error) {
	copied, err := w.copyThere(ctx, w.x, true)
	if err != nil {
		return registry.Tenant{}, 0, err
	}
	if copied != nil {
		out, rows, err := w.handOver(ctx, *copied)
		if !errors.Is(err, backup.ErrDiffers) {
			return out, rows, err
		}
		// Somebody has written to the tenant since that copy was made.
		if err := w.discard(ctx, *copied, w.x); err != nil {
			return out, 0, w.otherSide(err)
		}
	}
	if err := w.makeCopy(ctx); err != nil {
		return registry.Tenant{}, 0, err
	}
	if copied, err = w.copyThere(ctx, w.x, false); err != nil {
		return registry.Tenant{}, 0, err
	}
	if copied == nil {
		return registry.Tenant{}, 0, w.otherSide(&registry.NotFoundError{Slug: w.Tenant})
	}
	return w.handOver(ctx, *copied)
}

// makeCopy copies the tenant, with what was accepted of it and who was erased.
func (w *transfer) makeCopy(ctx context.Context) error {
	accepted, err := w.a.Registry.ListAccepted(ctx, w.from, []string{w.t.ID})
	if err != nil {
		return err
	}
	erased, err := w.a.Registry.ListErasures(ctx, w.from, []string{w.t.ID}, time.Time{})
	if err != nil {
		return err
	}
	limits := backup.Limits{LockTimeout: w.LockTimeout, StatementTimeout: w.StatementTimeout}
	o := backup.TransferOptions{NewTenant: w.copy, From: w.a.Registry, Structures: w.a.structures(ctx, limits)}
	audit := w.copy.Audit
	o.Audit = func(p *db.Pipeline, e registry.Event) error {
		x := w.x
		x.TenantID, x.Side = e.TenantID, w.here
		w.To.Registry.QueueTransfer(p, x)
		w.To.Registry.QueueAccept(p, accepted)
		w.To.Registry.QueueErasuresOf(p, x.TenantID, erased)
		return audit(p, e)
	}
	var end func()
	o.Progress, end = w.a.Bytes("transfer")
	defer end()
	_, err = backup.Transfer(ctx, w.from, w.to, backup.Source{ID: w.t.ID, Slug: w.t.Slug, Schema: w.t.Schema}, o)
	if err == nil {
		w.a.Notify(TransferStep{StepCopied})
	}
	return err
}

// handOver compares the copy with the tenant while nobody writes to either, and lets the
// tenant change hands.
func (w *transfer) handOver(ctx context.Context, copied registry.Tenant) (registry.Tenant, int64, error) {
	one, err := w.a.Connect(ctx)
	if err != nil {
		return copied, 0, err
	}
	defer closeConn(ctx, one)
	other, err := w.To.Connect(ctx)
	if err != nil {
		return copied, 0, w.otherSide(err)
	}
	defer closeConn(ctx, other)
	count, end := w.a.Bytes("compare")
	defer end()
	limits := backup.Limits{LockTimeout: w.LockTimeout, StatementTimeout: w.StatementTimeout}
	rows := int64(0)
	compare := func(ctx context.Context) (n int64, err error) {
		rows, err = backup.Compare(ctx, one, other, w.t.Schema, limits, count)
		if err == nil {
			w.a.Notify(TransferStep{StepCompared})
		}
		return rows, err
	}
	out, err := tenant.Receive(ctx, w.to, copied, w.x, func(ctx context.Context) (int64, error) {
		err := tenant.HandOver(ctx, w.from, w.t, w.x, compare, w.a.move(w.LockTimeout))
		if err == nil {
			w.a.Notify(TransferStep{StepMoved})
		}
		return rows, err
	}, w.To.move(w.LockTimeout))
	return out, rows, err
}
