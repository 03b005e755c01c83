package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// Connect opens a connection, which the caller closes. It may be called by several
// goroutines at once.
type Connect = func(context.Context) (*pgx.Conn, error)

// App is what every call works with. It may be used by several goroutines at once.
type App struct {
	Config  *config.Config
	Connect Connect
	Direct  Connect // past a pooler
	// Unchecked connects before it is known whose the registry is.
	Unchecked Connect
	// Registry says where the registry stands.
	Registry registry.Registry
	Now      func() time.Time // time.Now outside of tests
	Actor    string           // who runs the program, "alice@desk", for the audit
	User     string           // the actor's name on the machine, for files
	Program  string           // "crmctl 1.4.0", for the audit and for files
	Build    string           // tells this build from others; caches are keyed by it

	// Changing is called before the first change of a call, or of a dry run, before
	// anything is connected: it names the target and has a protected one confirmed.
	Changing func(ctx context.Context, dryRun bool) error
	// Drain returns a channel that is closed when the work is to end: what is under way
	// is finished, and nothing else begun.
	Drain func() <-chan struct{}
	// Notify is told what is worth a word on the way.
	Notify func(Notice)
	// Open opens a file to be read, stdin for "-".
	Open func(path string) (io.ReadCloser, error)
	// Watch is told that a run over the named items begins. It returns who is told of
	// each, nil for nobody, and what ends it.
	Watch func(verb string, names []string) (o fleet.Observer, end func())
	// Bytes is told that work begins whose length is not known. It returns what counts
	// its bytes, and what ends it.
	Bytes func(verb string) (add func(int64), end func())

	// compared is set when it was looked whether the registry has what the application
	// names: once for all calls.
	compared *atomic.Bool
}

// Notice is something worth a word, one of the types below.
type Notice interface{ notice() }

// Notices.
type (
	// ExtensionMade says that an extension which the migrations ask for was made, or
	// would be by a dry run.
	ExtensionMade struct {
		Name, Schema string
		DryRun       bool
	}
	// OtherFiles names what stands beside the migrations and is none.
	OtherFiles struct {
		Dir   string
		Files []string
	}
	// ByHistory says why migrations are run one by one for a new schema, although they
	// are many. Known tells that this was said of these migrations before.
	ByHistory struct {
		Reason string
		Known  bool
	}
)

func (ExtensionMade) notice() {}
func (OtherFiles) notice()    {}
func (ByHistory) notice()     {}

// New returns an application with everything that was left out and can be: nothing is
// watched, confirmed or told, nothing ends the work early, and there is no stdin.
func New(a App) *App {
	a.compared = new(atomic.Bool)
	if a.Now == nil {
		a.Now = time.Now
	}
	if a.Direct == nil {
		a.Direct = a.Connect
	}
	if a.Unchecked == nil {
		a.Unchecked = a.Connect
	}
	if a.Changing == nil {
		a.Changing = func(context.Context, bool) error { return nil }
	}
	if a.Drain == nil {
		a.Drain = func() <-chan struct{} { return nil }
	}
	if a.Notify == nil {
		a.Notify = func(Notice) {}
	}
	if a.Open == nil {
		a.Open = func(path string) (io.ReadCloser, error) { return os.Open(path) }
	}
	if a.Watch == nil {
		a.Watch = func(string, []string) (fleet.Observer, func()) { return nil, func() {} }
	}
	if a.Bytes == nil {
		a.Bytes = func(string) (func(int64), func()) { return func(int64) {}, func() {} }
	}
	return &a
}

// move returns what every change of a tenant needs.
func (a *App) move(lockTimeout time.Duration) tenant.MoveOptions {
	return tenant.MoveOptions{Registry: a.Registry, Actor: a.Actor, Program: a.Program,
		LockTimeout: lockTimeout, Now: a.Now}
}

// change is Changing and a connection.
func (a *App) change(ctx context.Context, dryRun bool) (*pgx.Conn, error) {
	if err := a.Changing(ctx, dryRun); err != nil {
		return nil, err
	}
	return a.Connect(ctx)
}

// ServerAway says that there is no server any more, and that it is waited for.
type ServerAway struct{ Err error }

func (ServerAway) notice() {}

// lookPatiently does what changeSchemas does, and look on the connection. Where a server that
// was there goes away meanwhile, or says that it is about to come, both are tried again, as
// often as an item of a fleet. The connection is closed where there is an error.
func (a *App) lookPatiently(ctx context.Context, dryRun bool, look func(*pgx.Conn) error) error {
	if err := a.Changing(ctx, dryRun); err != nil {
		return err
	}
	met := false
	for attempt := 1; ; attempt++ {
		conn, err := a.connectSchemas(ctx, dryRun)
		if err == nil {
			met = true
			if err = look(conn); err == nil {
				return nil
			}
			closeConn(ctx, conn)
		}
		met = met || db.SQLState(err) != "" || !errors.Is(err, db.ErrUnreachable)
		if ctx.Err() != nil || !db.ConnectionLost(err) || !met { // not met: perhaps a wrong address
			return err
		}
		if !errors.Is(err, db.ErrUnreachable) {
			err = fmt.Errorf("%w: %w", db.ErrUnreachable, err)
		}
		if attempt == fleet.DefaultAttempts {
			return err
		}
		a.Notify(ServerAway{err})
		if !fleet.Wait(ctx, a.Drain(), fleet.Backoff(attempt+1)) {
			return err
		}
	}
}

// changeSchemas is change for what alters the schemas of tenants: in a cluster that takes
// every node, so that one message comes before anything is done.
func (a *App) changeSchemas(ctx context.Context, dryRun bool) (*pgx.Conn, error) {
	if err := a.Changing(ctx, dryRun); err != nil {
		return nil, err
	}
	return a.connectSchemas(ctx, dryRun)
}

// connectSchemas is changeSchemas without Changing.
func (a *App) connectSchemas(ctx context.Context, dryRun bool) (*pgx.Conn, error) {
	conn, err := a.Connect(ctx)
	if err != nil || dryRun {
		return conn, err
	}
	if err := cluster.Healthy(ctx, conn); err != nil {
		closeConn(ctx, conn)
		return nil, err
	}
	return conn, nil
}

// closeConn closes a connection, also after the context is gone. There is nobody to
// tell where that fails: what was to be committed has been.
func closeConn(ctx context.Context, conn *pgx.Conn) { _ = conn.Close(context.WithoutCancel(ctx)) }

// host returns the name of this machine, "" where it has none.
func host() string {
	name, _ := os.Hostname()
	return name
}
