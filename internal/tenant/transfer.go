package tenant

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

// ErrElsewhere says that a transfer to another registry than the one that was asked for is
// under way, or has taken place.
var ErrElsewhere = errors.New("its transfer goes to another database")

// ErrOvertaken says that another run has taken the transfer over.
var ErrOvertaken = errors.New("another run goes on with the transfer")

// Leave begins the transfer of a tenant, or goes on with the one that has begun: from then
// on x.Attempt is the run that is at it. It returns the transfer as it is now; that of a
// tenant which has moved already is returned as it is. The error wraps ErrElsewhere where x goes to
// another registry.
func Leave(ctx context.Context, conn *pgx.Conn, slug string, x registry.Transfer,
	o MoveOptions) (t registry.Tenant, now registry.Transfer, err error) {
	found, err := o.Registry.Get(ctx, conn, slug)
	if err != nil {
		return found, x, err
	}
	err = db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: true},
		func(ctx context.Context, q db.Querier) error {
			before, err := o.Registry.Lock(ctx, q, found, true)
			if err != nil {
				return err
			}
			t, now = before, x
			now.TenantID = before.ID
			switch before.Status {
			case registry.Active, registry.Suspended:
				now.Was, t.Status = before.Status, registry.Leaving
				return write(ctx, q, before, &t, registry.ActionTransfer, o, map[string]any{"step": "begin", "id": x.ID,
					"host": x.Host, "port": x.Port, "database": x.Database, "registry": x.Registry},
					func(p *db.Pipeline) { o.Registry.QueueTransfer(p, now) })
			case registry.Leaving, registry.Moved:
			default:
				return &registry.StateError{Slug: slug, State: before.State()}
			}
			if now, err = transferOf(ctx, q, before, o.Registry); err != nil {
				return err
			}
			if !now.Same(x.Side) {
				return fmt.Errorf("tenant %q: %w: %s on %s:%d", slug, ErrElsewhere, now.Database, now.Host, now.Port)
			}
			if before.Status == registry.Moved {
				return nil
			}
			now.Attempt = x.Attempt
			var p db.Pipeline
			o.Registry.QueueAttempt(&p, before.ID, x.Attempt)
			return p.Run(ctx, q)
		})
	return t, now, explainMissing(err, found)
}

func transferOf(ctx context.Context, q db.Querier, t registry.Tenant,
	reg registry.Registry) (registry.Transfer, error) {
	all, err := reg.ListTransfers(ctx, q, []string{t.ID})
	if err != nil {
		return registry.Transfer{}, err
	}
	x, ok := all[t.ID]
	if !ok {
		return x, fmt.Errorf("tenant %q is %s, and the registry does not say where the transfer goes", t.Slug, t.Status)
	}
	return x, nil
}

// Stay gives up the transfer of a tenant that has not moved: it is what it was. The error
// wraps ErrOvertaken where another run is at the transfer.
func Stay(ctx context.Context, conn *pgx.Conn, t registry.Tenant, x registry.Transfer,
	o MoveOptions) (after registry.Tenant, err error) {
	err = db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: true},
		func(ctx context.Context, q db.Querier) error {
			before, err := lockLeaving(ctx, q, t, x, o.Registry)
			if err != nil {
				return err
			}
			after = before
			after.Status = x.Was
			return write(ctx, q, before, &after, registry.ActionTransfer, o, map[string]any{"step": "give up", "id": x.ID},
				func(p *db.Pipeline) { o.Registry.QueueStay(p, t.ID) })
		})
	return after, err
}

// lockLeaving locks a tenant that goes, for the run that is at it.
func lockLeaving(ctx context.Context, q db.Querier, t registry.Tenant, x registry.Transfer,
	reg registry.Registry) (registry.Tenant, error) {
	before, err := reg.Lock(ctx, q, t, true)
	if err != nil {
		return before, err
	}
	if before.Status != registry.Leaving {
		return before, &registry.StateError{Slug: t.Slug, State: before.State(), Wanted: registry.Leaving}
	}
	now, err := transferOf(ctx, q, before, reg)
	if err == nil && (now.ID != x.ID || now.Attempt != x.Attempt) {
		err = fmt.Errorf("tenant %q: %w", t.Slug, ErrOvertaken)
	}
	return before, err
}

// HandOver makes a tenant that goes one that has moved. compare is called while nobody can write to
// its tables, or change the tenant, and returns how many rows were compared; its error
// leaves the tenant as it is. The commit is the moment at which the tenant changes hands.
func HandOver(ctx context.Context, conn *pgx.Conn, t registry.Tenant, x registry.Transfer,
	compare func(ctx context.Context) (int64, error), o MoveOptions) error {
	return db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: true},
		func(ctx context.Context, q db.Querier) error {
			before, err := lockLeaving(ctx, q, t, x, o.Registry)
			if err != nil {
				return err
			}
			if err := shutTables(ctx, q, t.Schema); err != nil {
				return fmt.Errorf("lock the tables of tenant %q: %w", t.Slug, err)
			}
			rows, err := compare(ctx)
			if err != nil {
				return err
			}
			after := before
			after.Status = registry.Moved
			return write(ctx, q, before, &after, registry.ActionTransfer, o,
				map[string]any{"step": "moved", "id": x.ID, "rows": rows, "host": x.Host, "port": x.Port,
					"database": x.Database, "registry": x.Registry},
				func(p *db.Pipeline) { o.Registry.QueueMoved(p, t.ID, rows) })
		})
}

// shutTables keeps everybody from writing to the tables of a schema until the transaction
// ends. Who only reads does not wait.
func shutTables(ctx context.Context, q db.Querier, schema db.Schema) error {
	var names []string
	var p db.Pipeline
	p.Query(func(rows pgx.Rows) (err error) {
		names, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	}, `select pg_catalog.format('%I.%I', n.nspname, c.relname) from pg_catalog.pg_class c
		join pg_catalog.pg_namespace n on n.oid operator(pg_catalog.=) c.relnamespace
		where n.nspname operator(pg_catalog.=) $1::pg_catalog.text::pg_catalog.name
			and c.relkind operator(pg_catalog.=) any ('{r,p}'::pg_catalog."char"[])
		order by c.oid`, schema.String())
	if err := p.Run(ctx, q); err != nil {
		return err
	}
	p = db.Pipeline{}
	owner.QueueRights(&p, schema)
	for _, name := range names {
		p.Apart("lock table " + name + " in share mode")
	}
	p.Return()
	return p.Run(ctx, q)
}

// Receive opens a tenant that came from another registry. handOver is called while nobody can
// change the copy, makes the other side let it go and returns how many rows were compared: an
// error of it leaves the copy as it is.
func Receive(ctx context.Context, conn *pgx.Conn, t registry.Tenant, x registry.Transfer,
	handOver func(ctx context.Context) (int64, error), o MoveOptions) (after registry.Tenant, err error) {
	err = db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: true},
		func(ctx context.Context, q db.Querier) error {
			before, err := lockIncoming(ctx, q, t, x, o.Registry)
			if err != nil {
				return err
			}
			rows, err := handOver(ctx)
			if err != nil {
				return err
			}
			after = before
			after.Status = x.Was
			return write(ctx, q, before, &after, registry.ActionTransfer, o, map[string]any{"step": "received", "id": x.ID,
				"rows": rows},
				func(p *db.Pipeline) { o.Registry.QueueMoved(p, t.ID, rows) })
		})
	return after, err
}

// lockIncoming locks the copy of a tenant that a transfer has made.
func lockIncoming(ctx context.Context, q db.Querier, t registry.Tenant, x registry.Transfer,
	reg registry.Registry) (registry.Tenant, error) {
	before, err := reg.Lock(ctx, q, t, true)
	if err != nil {
		return before, err
	}
	if before.Status != registry.Incoming {
		return before, &registry.StateError{Slug: t.Slug, State: before.State(), Wanted: registry.Incoming}
	}
	now, err := transferOf(ctx, q, before, reg)
	if err == nil && now.ID != x.ID {
		err = fmt.Errorf("tenant %q: %w", t.Slug, ErrOvertaken)
	}
	return before, err
}

// Discard destroys the copy of a tenant that has not come: x is the transfer that made it. A copy that it
// was at when it was killed is taken up by the next.
func Discard(ctx context.Context, connect func(context.Context) (*pgx.Conn, error), conn *pgx.Conn, t registry.Tenant,
	x registry.Transfer, o MoveOptions) error {
	if t.Status == registry.Incoming {
		at := o.now()
		err := db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: true},
			func(ctx context.Context, q db.Querier) error {
				before, err := lockIncoming(ctx, q, t, x, o.Registry)
				if err != nil {
					return err
				}
				t = before
				t.Status, t.DeletedAt, t.PurgeAfter = registry.Deleted, &at, &at
				return write(ctx, q, before, &t, registry.ActionTransfer, o, map[string]any{"step": "discard", "id": x.ID}, nil)
			})
		if err != nil {
			return err
		}
	}
	_, results, err := PurgeMany(ctx, connect, []registry.Tenant{t}, PurgeOptions{MoveOptions: o},
		fleet.Options{Concurrency: 1})
	if err == nil {
		err = results[0].Err
	}
	return err
}
