package app

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
)

// CRMOptions bound what a CRM takes and keeps. Zero values are the defaults.
type CRMOptions struct {
	// Connections are those in use at once at the most (default 4), PerTenant those of one
	// tenant (default half of them, at least one).
	Connections, PerTenant int
	// IdleFor is how long a connection is kept that nobody needs (default one minute).
	IdleFor time.Duration
	// MaxAge is how long what was looked up of a tenant is used (default 10 seconds), Tenants
	// of how many it is kept (default 1,000).
	MaxAge  time.Duration
	Tenants int
	// Unbounded is for what looks at every row: a statement reads as long as it does, unless
	// the configuration bounds it.
	Unbounded bool
	// Follow listens on a connection of its own for changes of the registry, past a pooler.
	// Where none is to be had, MaxAge alone bounds what is known.
	Follow bool
}

func (o CRMOptions) withDefaults() CRMOptions {
	o.Connections = max(1, cmp.Or(o.Connections, 4))
	o.PerTenant = min(o.Connections, max(1, cmp.Or(o.PerTenant, o.Connections/2)))
	o.IdleFor = cmp.Or(o.IdleFor, time.Minute)
	o.MaxAge = cmp.Or(o.MaxAge, 10*time.Second)
	o.Tenants = max(1, cmp.Or(o.Tenants, 1000))
	return o
}

// CRM reads and writes the contacts, conversations and messages of a fleet's tenants. It
// keeps connections and what it has looked up of tenants, so that a program that runs for
// long pays for them once. It may be used by several goroutines at once.
//
// What is kept may be out of date, and nothing wrong comes of it: each transaction makes sure
// that the tenant still has the name, the schema and the state in question. Where that is not
// so, and nothing was done yet, the tenant is looked up again.
//
// Who asks waits for a connection as long as the context allows (*db.WaitError). A call
// within a call needs a second connection of the same tenant: with PerTenant 1 it waits for
// itself.
type CRM struct {
	app   *App
	pool  *db.Pool
	known *knownTenants
	end   context.CancelFunc // of what listens
	ended sync.WaitGroup

	unbounded bool // of CRMOptions
}

// OpenCRM returns a CRM, which Close ends. Nothing is connected before it is needed, but for
// what listens.
func (a *App) OpenCRM(o CRMOptions) *CRM {
	o = o.withDefaults()
	ctx, end := context.WithCancel(context.Background())
	c := &CRM{app: a, end: end, unbounded: o.Unbounded, known: newKnownTenants(o.Tenants, o.MaxAge, a.Now),
		pool: db.NewPool(a.Connect, db.PoolLimits{Size: o.Connections, Share: o.PerTenant, IdleFor: o.IdleFor,
			RecycleAfter: fleet.DefaultRecycleAfter})}
	if o.Follow {
		c.ended.Go(func() { c.follow(ctx) })
	}
	return c
}

// Close ends what listens, and closes the connections. Those in use are closed when their
// calls end.
func (c *CRM) Close(ctx context.Context) {
	c.end()
	c.pool.Close(ctx)
	c.ended.Wait()
}

// Read runs fn over the contacts, conversations and messages of a tenant, in a transaction
// that only reads. A suspended tenant is read too.
func (c *CRM) Read(ctx context.Context, tenant string, fn func(ctx context.Context, r *crm.Reader) error) error {
	return c.with(ctx, tenant, readStates(), func(conn *pgx.Conn, known *crmTenant, begun func()) error {
		return known.opened.Read(ctx, conn, func(ctx context.Context, r *crm.Reader) error {
			begun()
			return fn(ctx, r)
		})
	})
}

// Write changes a tenant's contacts, conversations or messages, with a row of the audit for
// each.
func (c *CRM) Write(ctx context.Context, o CRMWrite) error {
	if err := c.app.Changing(ctx, o.DryRun); err != nil {
		return err
	}
	do := o.Do
	return c.with(ctx, o.Tenant, []registry.Status{registry.Active},
		func(conn *pgx.Conn, known *crmTenant, begun func()) error {
			o.Do = func(ctx context.Context, w *crm.Writer) error {
				begun()
				return do(ctx, w)
			}
			return writeCRM(ctx, conn, known.opened, o)
		})
}

// with runs fn over a tenant in one of the states. fn tells when it has begun to do what it
// is asked for: until then it may be run again, with the tenant looked up anew or on another
// connection.
func (c *CRM) with(ctx context.Context, name string, states []registry.Status,
	fn func(conn *pgx.Conn, known *crmTenant, begun func()) error) error {
	slug, err := registry.Slug(name)
	if err != nil {
		return err
	}
	anew := false
	for {
		try, err := c.once(ctx, slug, anew, states, fn)
		if err == nil {
			return nil
		}
		if try.known != nil && (!try.began || db.SQLState(err) != "") {
			c.known.forget(try.known)
		}
		switch {
		case try.began || ctx.Err() != nil:
			return err
		case try.lost: // it was open for long, and the server or the network has closed it
		case try.kept && !anew && !db.Retryable(err):
			anew = true
		default:
			return err
		}
	}
}

// crmTry is how far one attempt of CRM.with has come.
type crmTry struct {
	known *crmTenant
	kept  bool // known from before
	began bool
	lost  bool // the connection was kept, and is closed now
}

// once is one attempt of with. The connection is given back even where fn panics.
func (c *CRM) once(ctx context.Context, slug string, anew bool, states []registry.Status,
	fn func(conn *pgx.Conn, known *crmTenant, begun func()) error) (try crmTry, err error) {
	lent, err := c.pool.Take(ctx, slug)
	if err != nil {
		return try, err
	}
	defer lent.Give(ctx)
	try.known, try.kept, err = c.lookUp(ctx, lent.Conn, slug, anew)
	switch {
	case err != nil:
	case !slices.Contains(states, try.known.tenant.Status):
		err = &registry.StateError{Slug: slug, State: try.known.tenant.State()}
	default:
		err = fn(lent.Conn, try.known, func() { try.began = true })
	}
	try.lost = lent.Kept && lent.Conn.IsClosed()
	return try, err
}

// lookUp returns what is known of a tenant, and whether that was known before.
func (c *CRM) lookUp(ctx context.Context, conn *pgx.Conn, slug string, anew bool) (*crmTenant, bool, error) {
	if !anew {
		if known := c.known.get(slug); known != nil {
			return known, true, nil
		}
	}
	era, at := c.known.now(), c.app.Now()
	known, err := c.app.openCRM(ctx, conn, slug, c.unbounded)
	if err != nil {
		return nil, false, err
	}
	known.at = at
	if known.opened != nil {
		c.known.put(known, era)
	}
	return known, false, nil
}

// follow forgets tenants whose rows have changed, as long as it can hear of them.
func (c *CRM) follow(ctx context.Context) {
	for attempt := 2; ctx.Err() == nil; attempt++ {
		conn, err := c.app.Direct(ctx)
		if err == nil {
			err = c.app.Registry.Follow(ctx, conn, func(id string) {
				attempt = 2
				c.known.changed(id)
			})
			closeConn(ctx, conn)
		}
		// A pooler stays one, and a standby hears nothing.
		if errors.Is(err, db.ErrPooled) || db.ServerWide(err) {
			return
		}
		select {
		case <-ctx.Done():
		case <-time.After(fleet.Backoff(attempt)):
		}
	}
}
