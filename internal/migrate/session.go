package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/sqltext"
)

// session makes sure that the session which does the work is one of its own, and gives
// it the settings of a file's first statement.
func (d *direct) session(ctx context.Context, p *Plan) error {
	switch err := db.RefusePooler(ctx, d.conn); {
	case errors.Is(err, db.ErrPooled):
		return ErrPooled
	case err != nil:
		return err
	}
	return d.settings(ctx, p)
}

// settings puts the session into the tenant's schema, with our limits, and takes back
// what a file has set for itself: a setting ends with its file.
func (d *direct) settings(ctx context.Context, p *Plan) error {
	var run db.Pipeline
	run.Exec("reset all")
	run.Session(db.Locals{
		Schema: d.tenant.Schema, LockTimeout: d.limits.LockTimeout, StatementTimeout: d.limits.StatementTimeout,
		AsConfigured: true, Tablespace: d.tenant.Tablespace,
	})
	if as := d.limits.Owners.Of(d.tenant.Schema).Work; as != "" {
		run.Exec("select pg_catalog.set_config('role', $1, false)", as)
	}
	if !p.path.IsZero() {
		run.Script([]db.Statement{p.path.Statement(false)})
	}
	if err := run.Run(ctx, d.conn); err != nil {
		return err
	}
	return d.setLockTimeout(ctx, d.limits.LockTimeout)
}

// setLockTimeout sets how long statements wait for locks from here on.
func (d *direct) setLockTimeout(ctx context.Context, wait time.Duration) error {
	return d.conn.QueryRow(ctx, "select pg_catalog.set_config('lock_timeout', $1, false)",
		lockSetting(wait)).Scan(&d.lockWait)
}

// waitFor is setLockTimeout unless the file has set a limit of its own.
func (d *direct) waitFor(ctx context.Context, wait time.Duration) error {
	if d.lockWait == "" {
		return nil
	}
	return d.setLockTimeout(ctx, wait)
}

// doneError is an error behind a statement that is done, and committed.
type doneError struct{ err error }

func (e *doneError) Error() string { return e.err.Error() }
func (e *doneError) Unwrap() error { return e.err }

// exec runs a statement of a file, which must not leave the tenant's schema. What fails
// behind it, most often because the run was cancelled, is a *doneError.
func (d *direct) exec(ctx context.Context, s db.Statement) error {
	if _, err := d.conn.Exec(db.AsWritten(ctx), s.SQL); err != nil {
		return &db.StatementError{Statement: s, Err: err}
	}
	err := d.lookBehind(ctx, s)
	if err != nil && !errors.Is(err, db.ErrWrongSchema) {
		return &doneError{err}
	}
	return err
}

// lookBehind looks where the session stands after a statement, and at what limits it has left.
func (d *direct) lookBehind(ctx context.Context, s db.Statement) error {
	var current *string
	var lockWait string
	if err := d.conn.QueryRow(ctx, "select pg_catalog.current_schema()::pg_catalog.text, "+
		"pg_catalog.current_setting('lock_timeout')").Scan(&current, &lockWait); err != nil {
		return err
	}
	if current == nil || *current != d.tenant.Schema.String() {
		return fmt.Errorf("%w: a migration left %s", db.ErrWrongSchema, d.tenant.Schema)
	}
	return d.limited(ctx, s, lockWait)
}

// limited notices a limit that a statement has set, which holds until the end of its
// file, and sets ours again where the statement has given up its own.
func (d *direct) limited(ctx context.Context, s db.Statement, lockWait string) error {
	names := sqltext.Settings(s.SQL)
	back := sqltext.Default(s.SQL)
	if back && slices.Contains(names, "statement_timeout") {
		if _, err := d.conn.Exec(ctx, "select pg_catalog.set_config('statement_timeout', $1, false)",
			lockSetting(d.limits.StatementTimeout)); err != nil {
			return err
		}
	}
	switch set := slices.Contains(names, "lock_timeout"); {
	case back && set:
		return d.setLockTimeout(ctx, d.limits.LockTimeout)
	case set, lockWait != d.lockWait:
		d.lockWait = ""
	}
	return nil
}

// LostSessionError says that a file cannot be taken up in the middle: what a statement
// that is done had left in its session is gone with that.
type LostSessionError struct {
	*DirtyError

	Statement db.Statement
	Left      string // "a temporary object"
}

// Unwrap returns how far the file has come.
func (e *LostSessionError) Unwrap() error { return e.DirtyError }

// Error names the statement and says what can be done.
func (e *LostSessionError) Error() string {
	return fmt.Sprintf("dirty: %s stands after %d of %d statements, and what line %d left in its session for those "+
		"after it (%s) is gone: "+
		"do the rest of the file by hand, and mark it as applied", e.File, e.Done, e.Statements, e.Statement.Line, e.Left)
}

// restore gives the session what the statements that are done have left in theirs, for a
// file that is taken up in the middle.
func (d *direct) restore(ctx context.Context, s Step, dirty *DirtyError) error {
	script := s.Script()
	rest := script[dirty.Done:]
	if len(rest) == 0 {
		return nil
	}
	var again []db.Statement
	for _, done := range script[:dirty.Done] {
		switch lasts := sqltext.Lasts(done.SQL); {
		case lasts.Again:
			again = append(again, done)
		case lasts.Gone != "" && (lasts.Name == "" || names(rest, lasts.Name)):
			return &LostSessionError{DirtyError: dirty, Statement: done, Left: lasts.Gone}
		}
	}
	for _, statement := range again {
		if err := d.exec(ctx, statement); err != nil {
			return err
		}
	}
	return nil
}

// names reports whether one of the statements has a name in it.
func names(script []db.Statement, name string) bool {
	return slices.ContainsFunc(script, func(s db.Statement) bool { return slices.Contains(sqltext.Names(s.SQL), name) })
}
