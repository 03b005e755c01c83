package staging

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// Errors of building.
var (
	// ErrPooled says that a statement which cannot run in a transaction met a pooler: it
	// would run in whatever session the pooler has at hand.
	ErrPooled = errors.New("a connection pooler stands between, and files marked NO TRANSACTION that commit for " +
		"themselves need a direct connection")
	// ErrBuilding says that another run is at work on a schema of that name.
	ErrBuilding = fmt.Errorf("it is being created by another run: %w", db.ErrBusy)
	// errCleared says that somebody took this builder for dead.
	errCleared = fmt.Errorf("what was built was cleared away by another run meanwhile: %w", db.ErrBusy)
)

const (
	// cleanupTimeout bounds what has to be put in order after a failure.
	cleanupTimeout = 30 * time.Second
	// young is how long a row may be there before its builder has locked it.
	young = time.Minute
)

// Options say what is built, and how.
type Options struct {
	Registry         registry.Registry
	Schema           db.Schema
	Slug             string // of the tenant to be, "" for none
	Actor            string
	LockTimeout      time.Duration
	StatementTimeout time.Duration
	Tablespace       string // see db.Locals
	// Direct opens a connection past a pooler, for what runs outside of transactions;
	// nil opens one like that of the work.
	Direct func(ctx context.Context) (*pgx.Conn, error)
}

// Site is a schema under construction.
type Site struct {
	Options

	id    string
	conn  *pgx.Conn // does the work
	guard *pgx.Conn // holds the row
	done  bool
}

// Open makes the schema, empty, along with its row, and holds that. conn does the work
// afterwards and must not be in a transaction; the site has a connection of its own
// besides, made as conn was. What a builder of the same name has left who is dead is
// cleared away before; the error is ErrBuilding where it is not dead. The caller ends
// with Clear in any case.
func Open(ctx context.Context, conn *pgx.Conn, o Options) (*Site, error) {
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	guard, err := db.Connect(ctx, conn.Config())
	if err != nil {
		return nil, err
	}
	s := &Site{Options: o, id: id.String(), conn: conn, guard: guard}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(explain(err), s.Clear(ctx))
	}
	return s, nil
}

func (s *Site) open(ctx context.Context) error {
	if err := sweep(ctx, s.guard, s.Registry, s.LockTimeout); err != nil {
		return err
	}
	err := s.found(ctx)
	if state := db.SQLState(err); state == db.CodeDuplicateSchema || state == db.CodeUniqueViolation {
		cleared, clearErr := Clear(ctx, s.guard, s.Registry, s.Schema, s.LockTimeout)
		switch {
		case clearErr != nil:
			return clearErr
		case !cleared: // a schema that nobody is building
			return err
		}
		err = s.found(ctx)
	}
	if err != nil {
		return err
	}
	return s.hold(ctx)
}

// found commits the empty schema and its row.
func (s *Site) found(ctx context.Context) error {
	return db.InTx(ctx, s.guard, db.Locals{LockTimeout: s.LockTimeout}, func(ctx context.Context, q db.Querier) error {
		var p db.Pipeline
		p.CreateSchema(s.Schema.String())
		s.Registry.QueueBuild(&p, s.id, s.Schema, s.Slug, s.Actor)
		return db.Plain(p.Run(ctx, q))
	})
}

// hold locks the row for as long as the guard's transaction lasts.
func (s *Site) hold(ctx context.Context) error {
	var p db.Pipeline
	p.Begin(db.Locals{LockTimeout: s.LockTimeout})
	s.own(&p, "for no key update")
	p.Rest()
	return db.Plain(p.Run(ctx, s.guard))
}

// own locks the row in the transaction of p, and fails where it is not there any more.
func (s *Site) own(p *db.Pipeline, lock string) {
	s.Registry.QueueLockBuild(p, s.id, lock, errCleared)
}

// Claim makes sure, in a transaction of the work's, that the site is this builder's
// until the end of it.
func (s *Site) Claim(p *db.Pipeline) { s.own(p, "for key share") }

// Run builds: each stage of the script is committed.
func (s *Site) Run(ctx context.Context, script []db.Statement) error {
	for _, stage := range Stages(script) {
		run := s.transaction
		if stage.Direct {
			run = s.direct
		}
		if err := run(ctx, stage.Script); err != nil {
			return err
		}
	}
	return nil
}

func (s *Site) locals() db.Locals {
	return db.Locals{Schema: s.Schema, LockTimeout: s.LockTimeout, StatementTimeout: s.StatementTimeout,
		AsConfigured: true, Tablespace: s.Tablespace}
}

func (s *Site) transaction(ctx context.Context, script []db.Statement) error {
	traces := db.Traces(script)
	var p db.Pipeline
	p.Begin(s.locals())
	s.Claim(&p)
	if traces {
		p.Mark()
	}
	p.Script(script)
	p.CheckSchema(s.Schema)
	if traces {
		p.Cleanse()
	}
	err := p.Run(ctx, s.conn)
	if err == nil {
		return db.Commit(ctx, s.conn)
	}
	if traces {
		return errors.Join(err, db.Undo(ctx, s.conn))
	}
	return errors.Join(err, db.Rollback(ctx, s.conn))
}

// direct runs statements outside of transactions, on a session that serves nothing else.
func (s *Site) direct(ctx context.Context, script []db.Statement) error {
	dial := s.Direct
	if dial == nil {
		dial = func(ctx context.Context) (*pgx.Conn, error) { return db.Connect(ctx, s.conn.Config()) }
	}
	conn, err := dial(ctx)
	if err != nil {
		return err
	}
	defer db.Retire(ctx, conn)
	switch err := db.RefusePooler(ctx, conn); {
	case errors.Is(err, db.ErrPooled):
		return ErrPooled
	case err != nil:
		return err
	}
	var p db.Pipeline
	p.Session(s.locals())
	if err := p.Run(ctx, conn); err != nil {
		return err
	}
	for _, statement := range script {
		if err := s.alone(ctx, conn, statement); err != nil {
			return err
		}
	}
	return nil
}

// alone runs one statement that is committed by itself, while the guard holds the row.
func (s *Site) alone(ctx context.Context, conn *pgx.Conn, statement db.Statement) error {
	var held db.Pipeline
	held.Rest()
	if err := held.Run(ctx, s.guard); err != nil {
		return fmt.Errorf("the connection that guards schema %s: %w", s.Schema, db.Plain(err))
	}
	if err := s.check(ctx, conn); err != nil {
		return err
	}
	if _, err := conn.Exec(db.AsWritten(ctx), statement.SQL); err != nil {
		return &db.StatementError{Statement: statement, Err: err}
	}
	return s.check(ctx, conn)
}

// check makes sure that conn stands in the schema.
func (s *Site) check(ctx context.Context, conn *pgx.Conn) error {
	var p db.Pipeline
	p.CheckSchema(s.Schema)
	return db.Plain(p.Run(ctx, conn))
}

// Finish ends the construction within the transaction in which the schema becomes
// something else, and which has claimed the site: the row goes with its commit.
func (s *Site) Finish(ctx context.Context) error {
	// The claim keeps others away from here on.
	if err := db.Rollback(ctx, s.guard); err != nil {
		return err
	}
	var p db.Pipeline
	s.Registry.QueueEndBuild(&p, s.id, errCleared)
	return db.Plain(p.Run(ctx, s.conn))
}

// Clear drops the schema unless the construction was ended, and ends the site. conn's
// transaction must be over. It ignores the cancellation of ctx.
func (s *Site) Clear(ctx context.Context) error {
	if s.done {
		return nil
	}
	s.done = true
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	err := db.Rollback(ctx, s.guard)
	if s.guard.IsClosed() {
		guard, dialErr := db.Connect(ctx, s.conn.Config())
		if dialErr != nil {
			return errors.Join(err, left(s.Schema, dialErr))
		}
		s.guard = guard
	}
	defer func() { _ = s.guard.Close(ctx) }()
	if _, clearErr := clearID(ctx, s.guard, s.Registry, s.Schema, s.id, s.LockTimeout); clearErr != nil &&
		db.SQLState(clearErr) != db.CodeUndefinedTable {
		err = errors.Join(err, left(s.Schema, clearErr))
	}
	return err
}

func left(schema db.Schema, err error) error {
	return fmt.Errorf("schema %s is left half built, and is cleared away later: %w", schema, err)
}

// explain says of a registry that it is too old.
func explain(err error) error {
	if db.SQLState(err) == db.CodeUndefinedTable {
		return fmt.Errorf("%w: it has no table of schemas under construction, and these migrations need more than one "+
			"transaction", registry.ErrOldRegistry)
	}
	return err
}
