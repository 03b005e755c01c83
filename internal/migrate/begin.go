package migrate

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/registry"
)

// beginning is the start of a run: what it has to know is found out, and its ledger is opened.
type beginning struct {
	plan    *Plan
	connect Connect
	tenants []registry.Tenant
	opt     RunOptions

	conn    *pgx.Conn // for the registry
	own     bool      // conn was opened here
	guarded *precautions
	run     *run  // nil until the tenants are in their order
	former  int64 // the run that an attempt may have left in the ledger, 0 for none
}

// begin has the patience of the run's workers: where the server goes away, all is asked again on
// another connection. The beginning is to be closed, whatever the error.
func (p *Plan) begin(ctx context.Context, conn *pgx.Conn, connect Connect, tenants []registry.Tenant,
	o RunOptions) (*beginning, error) {
	b := &beginning{plan: p, connect: connect, tenants: tenants, opt: o, conn: conn}
	attempts, backoff := o.Fleet.Attempts, o.Fleet.Backoff
	if attempts <= 0 {
		attempts = fleet.DefaultAttempts
	}
	if backoff == nil {
		backoff = fleet.Backoff
	}
	for attempt := 1; ; attempt++ {
		err := b.try(ctx)
		away := db.ConnectionLost(err)
		if away && !errors.Is(err, db.ErrUnreachable) {
			err = fmt.Errorf("%w: %w", db.ErrUnreachable, err)
		}
		full := db.SQLState(err) == db.CodeTooManyConnections
		switch {
		case err == nil:
			return b, nil
		case ctx.Err() != nil || !away && !full:
			b.abandon(ctx, err)
			return b, err
		case attempt == attempts:
			return b, err
		}
		if away && o.Observe != nil {
			o.Observe(ServerAway{err})
		}
		if !fleet.Wait(ctx, o.Fleet.Drain, backoff(attempt+1)) {
			return b, err
		}
	}
}

// try begins a run.
func (b *beginning) try(ctx context.Context) error {
	if b.conn.IsClosed() {
		conn, err := b.connect(ctx)
		if err != nil {
			return err
		}
		b.conn, b.own = conn, true
	}
	if b.guarded != nil {
		b.guarded.close(ctx)
	}
	o := b.opt
	b.guarded = guardBeside(ctx, b.connect, b.tenants, o)
	if err := arrange(ctx, b.conn, b.tenants, o.Order); err != nil {
		return err
	}
	r := newRun(b.plan, b.connect, b.tenants, o)
	b.run = r
	if r.opt.Fleet.Concurrency <= 0 {
		r.opt.Fleet.Concurrency = fleet.Auto(ctx, b.conn, len(b.tenants), 1)
	}
	if o.Route.kind() == Up && o.Group != 1 && o.Fleet.Rate <= 0 {
		r.groups = newGroups(o.Group, r.opt.Fleet.Concurrency)
		r.limits.groups = r.groups
	}
	var err error
	if !o.OwnRole {
		if r.limits.Owners, err = owner.Read(ctx, b.conn, b.guarded.schemas); err != nil {
			return err
		}
	}
	r.ledger, err = openLedger(ctx, b.conn, b.connect, b.plan, r.report, o, b.former)
	if r.report.RunID != 0 {
		b.former = r.report.RunID
	}
	if err != nil {
		return err
	}
	r.limits.blocks, r.limits.nested = r.ledger.blocks, r.ledger.nested
	return r.useGuard(ctx, b.conn, b.guarded)
}

// report returns that of the run, nil where it did not come so far.
func (b *beginning) report() *Report {
	if b.run == nil {
		return nil
	}
	return b.run.report
}

// abandon closes a run in the ledger that ends before its first tenant.
func (b *beginning) abandon(ctx context.Context, why error) {
	if b.run == nil || b.run.ledger == nil {
		return
	}
	b.run.report.Stopped = why
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), ledgerHurry)
	defer cancel()
	l := b.run.ledger
	_ = l.write(ctx, l.queueEnd) // the run failed, and that is what is told
	if l.own {
		_ = l.conn.Close(ctx)
	}
}

// close closes the connections, if nobody has done so.
func (b *beginning) close(ctx context.Context) {
	if b.guarded != nil {
		b.guarded.close(ctx)
	}
	if b.own {
		_ = b.conn.Close(context.WithoutCancel(ctx))
	}
}
