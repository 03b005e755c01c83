package tenant

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/dropping"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/staging"
)

// poolLock names the advisory lock that whoever fills or drains the pool holds. Who
// takes from it does not.
const poolLock = "pool"

// errPoolBusy says that somebody else fills or drains the pool.
var errPoolBusy = errors.New("another run is filling or draining the pool")

// PoolOptions say how the pool is filled.
type PoolOptions struct {
	Registry    registry.Registry
	Template    Template
	Actor       string // for the audit, "alice@host"
	Program     string // for the audit, "crmctl 1.2.3"
	LockTimeout time.Duration
	Fleet       fleet.Options
	// Direct is as CreateOptions have it.
	Direct func(ctx context.Context) (*pgx.Conn, error)
}

// PoolChange is what was done to the pool.
type PoolChange struct {
	Made    int // schemas
	Dropped int // that were out of date, or too many
	Ready   int // afterwards
	// Results has the schemas to be dropped, then those to be made.
	Results []fleet.Result
}

// FillPool brings the number of ready schemas to count: what is missing is made,
// and what is out of date or too many dropped, each in a transaction of its own. A negative count
// keeps the number of schemas that are there,
// ready or not. The error is db.ErrBusy where somebody else is at it.
//
// A result that failed is no error of FillPool.
func FillPool(ctx context.Context, connect func(context.Context) (*pgx.Conn, error), count int,
	o PoolOptions) (PoolChange, error) {
	var change PoolChange
	err := holdPool(ctx, o.Registry, connect, func(ctx context.Context, q db.Querier) error {
		pool, err := o.Registry.ListPool(ctx, q, o.Template.Key)
		if err != nil {
			return err
		}
		if count < 0 {
			count = len(pool)
		}
		var drop []registry.PoolSchema
		ready := 0
		for _, s := range pool {
			if s.Ready && ready < count {
				ready++
			} else {
				drop = append(drop, s)
			}
		}
		change, err = changePool(ctx, connect, drop, count-ready, o)
		change.Ready = ready + change.Made
		return err
	})
	return change, err
}

// DrainPool drops schemas of the pool until no more than keep are left, those that
// are out of date first.
func DrainPool(ctx context.Context, connect func(context.Context) (*pgx.Conn, error), keep int,
	o PoolOptions) (PoolChange, error) {
	var change PoolChange
	err := holdPool(ctx, o.Registry, connect, func(ctx context.Context, q db.Querier) error {
		pool, err := o.Registry.ListPool(ctx, q, o.Template.Key)
		if err != nil {
			return err
		}
		var stale, ready []registry.PoolSchema
		for _, s := range pool {
			if s.Ready {
				ready = append(ready, s)
			} else {
				stale = append(stale, s)
			}
		}
		drop := append(stale, ready...)
		drop = drop[:max(0, len(drop)-max(0, keep))]
		change, err = changePool(ctx, connect, drop, 0, o)
		change.Ready = min(len(ready), max(0, keep))
		return err
	})
	return change, err
}

// holdPool calls fn while it holds the lock of the pool, on a connection that does
// nothing else.
func holdPool(ctx context.Context, reg registry.Registry, connect func(context.Context) (*pgx.Conn, error),
	fn func(ctx context.Context, q db.Querier) error) error {
	guard, err := connect(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = guard.Close(context.WithoutCancel(ctx)) }()
	return db.InTx(ctx, guard, db.Locals{}, func(ctx context.Context, q db.Querier) error {
		err := reg.HoldKey(ctx, q, poolLock)
		switch {
		case errors.Is(err, db.ErrBusy):
			return fmt.Errorf("%w: %w", errPoolBusy, err)
		case err != nil:
			return fmt.Errorf("lock the pool: %w", err)
		}
		return fn(ctx, q)
	})
}

// randomHex returns 16 digits that nobody has drawn before.
func randomHex() string {
	var b [8]byte
	rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func changePool(ctx context.Context, connect func(context.Context) (*pgx.Conn, error), drop []registry.PoolSchema,
	missing int, o PoolOptions) (PoolChange, error) {
	add := make([]db.Schema, missing)
	for i := range add {
		var err error
		if add[i], err = db.RegisteredSchema(db.PoolPrefix + randomHex()); err != nil {
			return PoolChange{}, err
		}
	}
	var c PoolChange
	var made, dropped atomic.Int64
	results, err := fleet.Run(ctx, connect, len(drop)+len(add), o.Fleet, func(ctx context.Context, conn *pgx.Conn,
		i int) error {
		if i < len(drop) {
			gone, err := dropPooled(ctx, conn, drop[i], o)
			if gone {
				dropped.Add(1)
			}
			return err
		}
		if db.Traces(o.Template.Script) {
			defer db.Retire(ctx, conn)
		}
		err := makePooled(ctx, conn, add[i-len(drop)], o)
		if err == nil {
			made.Add(1)
		}
		return err
	})
	c.Results, c.Made, c.Dropped = results, int(made.Load()), int(dropped.Load())
	return c, err
}

// queuePooled adds the row of a schema of the pool, and its event.
func queuePooled(p *db.Pipeline, schema db.Schema, o PoolOptions) error {
	o.Registry.QueuePooled(p, schema, o.Template.Key, o.Template.Version)
	return queuePoolEvent(p, schema, registry.ActionPool, o, map[string]any{"version": o.Template.Version})
}

// makePooled makes a schema and its row in one transaction, or in several where the
// template is.
func makePooled(ctx context.Context, conn *pgx.Conn, schema db.Schema, o PoolOptions) error {
	if staging.Several(o.Template.Script) {
		return stagePooled(ctx, conn, schema, o)
	}
	var p db.Pipeline
	p.Begin(db.Locals{Schema: schema, LockTimeout: o.LockTimeout, AsConfigured: true, Follow: true})
	if err := queuePooled(&p, schema, o); err != nil {
		return err
	}
	p.CreateSchema(schema.String())
	o.Template.queue(&p)
	p.CheckSchema(schema)
	o.Template.queueEnd(&p)
	err := p.Run(ctx, conn)
	if err == nil {
		err = db.Commit(ctx, conn)
	}
	if err == nil {
		return nil
	}
	err = errors.Join(err, o.Template.undo(ctx, conn))
	if pgErr, ok := pgError(err); o.Registry.TakenPooled(err) || ok && pgErr.Code == db.CodeDuplicateSchema {
		// The answer to an earlier attempt's commit was lost: it is ours, for
		// nobody else can know the name.
		return nil
	}
	return o.Registry.ExplainPool(err)
}

// dropPooled drops a schema and its row in one transaction, or in several where it does
// not fit into the server's lock table. Where somebody has taken it meanwhile that is
// not done, and no error.
func dropPooled(ctx context.Context, conn *pgx.Conn, s registry.PoolSchema, o PoolOptions) (bool, error) {
	gone, err := dropPooledWhole(ctx, conn, s, o)
	if db.SQLState(err) != db.CodeOutOfMemory {
		return gone, err
	}
	if still, err := dropPooledTables(ctx, conn, s, o); err != nil || !still {
		return false, err
	}
	return dropPooledWhole(ctx, conn, s, o)
}

// dropPooledTables drops a schema's tables in several transactions, until one can drop
// the rest. From the first on no tenant can take the schema. still reports whether it is
// the pool's.
func dropPooledTables(ctx context.Context, conn *pgx.Conn, s registry.PoolSchema,
	o PoolOptions) (still bool, err error) {
	err = dropping.InBatches(ctx, conn, s.Schema, nil, func(batch []dropping.Object) error {
		err := db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: true},
			func(ctx context.Context, q db.Querier) error {
				var err error
				if still, err = o.Registry.SpoilPooled(ctx, q, s.Schema); err != nil || !still {
					return err
				}
				var p db.Pipeline
				dropping.Queue(&p, batch)
				return p.Run(ctx, q)
			})
		if err == nil && !still {
			err = errTaken
		}
		return err
	})
	if errors.Is(err, errTaken) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("drop the tables of schema %s: %w", s.Schema, err)
	}
	return true, nil
}

// errTaken says that a schema is not the pool's any more.
var errTaken = errors.New("somebody took it")

func dropPooledWhole(ctx context.Context, conn *pgx.Conn, s registry.PoolSchema, o PoolOptions) (gone bool, err error) {
	err = db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: true},
		func(ctx context.Context, q db.Querier) error {
			if gone, err = o.Registry.DropPooled(ctx, q, s.Schema); err != nil || !gone {
				return err
			}
			var p db.Pipeline
			p.Exec("drop schema if exists " + s.Schema.Quoted() + " cascade")
			if err := queuePoolEvent(&p, s.Schema, registry.ActionUnpool, o, map[string]any{"version": s.Version}); err != nil {
				return err
			}
			return p.Run(ctx, q)
		})
	if err != nil {
		return false, fmt.Errorf("drop schema %s: %w", s.Schema, err)
	}
	return gone, nil
}

// queuePoolEvent adds an event about a schema that belongs to no tenant yet.
func queuePoolEvent(p *db.Pipeline, schema db.Schema, action string, o PoolOptions, detail map[string]any) error {
	detail["schema"] = schema.String()
	return o.Registry.QueueEvent(p, registry.Event{
		TenantID: uuid.Nil.String(), Slug: schema.String(), Action: action, Actor: o.Actor, Program: o.Program,
		Detail: detail,
	})
}
