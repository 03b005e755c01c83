package tenantsql

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
)

// ErrUnknown says that the connection was lost in the middle of a COMMIT, and that
// nobody could find out whether it took place.
var ErrUnknown = errors.New("the answer to COMMIT was lost: nobody knows whether it took place; see the audit of the " +
	"tenant")

// commitTimeout bounds the wait for the answer to a COMMIT, which no cancellation
// cuts short: its fate would be unknown.
const commitTimeout = 30 * time.Second

// attempt runs the script in one tenant, unless it would run others' code there.
func (r *run) attempt(ctx context.Context, conn *pgx.Conn, i int) error {
	if db.Traces(r.script) {
		defer db.Retire(ctx, conn)
	}
	if err := r.prepare(ctx, conn); err != nil {
		return err
	}
	schema := r.tenants[i].Schema
	if err := r.guard.Refuse(schema); err != nil {
		return err
	}
	err := r.guarded(ctx, conn, i)
	if !planted.Suspect(err) {
		return err
	}
	if err := r.guard.Clear(ctx, conn, schema); err != nil {
		return err
	}
	return r.guarded(ctx, conn, i)
}

// prepare looks for planted code in all tenants, and who owns them, once.
func (r *run) prepare(ctx context.Context, conn *pgx.Conn) error {
	r.preparing.Lock()
	defer r.preparing.Unlock()
	if r.prepared {
		return nil
	}
	schemas := make([]db.Schema, len(r.tenants))
	for i, t := range r.tenants {
		schemas[i] = t.Schema
	}
	if err := r.guard.Prepare(ctx, conn, schemas); err != nil {
		return err
	}
	if !r.o.OwnRole {
		var err error
		if r.owners, err = owner.Read(ctx, conn, schemas); err != nil {
			return err
		}
	}
	r.prepared = true
	return nil
}

// guarded is an attempt whose transaction begins with the guard.
func (r *run) guarded(ctx context.Context, conn *pgx.Conn, i int) error {
	if r.o.Write {
		return db.NameBlockers(ctx, conn, r.tenants[i].Schema, r.write(ctx, conn, i))
	}
	found := &result{rows: &buffer{spool: r.spool}}
	err := r.read(ctx, conn, r.tenants[i], found)
	if err == nil {
		err = found.rows.close()
	}
	if err != nil {
		found.rows.drop()
		return errors.Join(plain(err), r.undo(ctx, conn))
	}
	r.succeeded(i, found)
	return nil
}

// read costs one round trip. Where the schema is gone its check fails, and what the
// statements have found elsewhere is thrown away.
func (r *run) read(ctx context.Context, conn *pgx.Conn, t registry.Tenant, found *result) error {
	var p db.Pipeline
	p.Begin(db.Locals{Schema: t.Schema, Path: r.o.Path, LockTimeout: r.o.LockTimeout,
		StatementTimeout: r.o.StatementTimeout, Snapshot: true})
	r.guard.Queue(&p, t.Schema, "")
	as := r.owners.Of(t.Schema).Reads()
	p.Become(as)
	p.CheckSchema(t.Schema)
	p.Mark()
	r.queue(&p, found)
	if as != "" {
		p.Return()
	}
	p.Cleanse()
	p.Exec("rollback")
	return p.Run(ctx, conn)
}

// undo ends a transaction of which a statement of the script may have failed. The
// connection goes on serving where the script leaves nothing in its session.
func (r *run) undo(ctx context.Context, conn *pgx.Conn) error {
	if db.Traces(r.script) {
		return db.Undo(ctx, conn)
	}
	return db.Rollback(ctx, conn)
}

// queue adds the script. The rows of its last statement are kept.
func (r *run) queue(p *db.Pipeline, found *result) {
	for n, s := range r.script {
		last := n == len(r.script)-1
		p.QueryStatement(s, func(rows pgx.Rows) error {
			if err := rows.Err(); err != nil {
				return err
			}
			if last {
				if err := r.keep(rows, found); err != nil {
					return err
				}
			}
			rows.Close()
			if err := rows.Err(); err != nil {
				return err
			}
			found.affected += affected(rows.CommandTag())
			return nil
		})
	}
}

func (r *run) keep(rows pgx.Rows, found *result) error {
	found.columns = columnsOf(rows.FieldDescriptions())
	of, want := r.expected()
	if of != "" && !agree(want, found.columns) {
		return &ColumnsError{Of: of, Want: want, Got: found.columns}
	}
	for rows.Next() {
		if err := found.rows.add(rows.RawValues()); err != nil {
			return err
		}
	}
	return rows.Err()
}

func affected(tag pgconn.CommandTag) int64 {
	if tag.Insert() || tag.Update() || tag.Delete() || len(tag.String()) > 5 && tag.String()[:5] == "MERGE" {
		return tag.RowsAffected()
	}
	return 0
}

// write runs the script under the tenant's lock and commits it with its
// audit row.
func (r *run) write(ctx context.Context, conn *pgx.Conn, i int) error {
	t := r.tenants[i]
	var open db.Pipeline
	open.Begin(db.Locals{Schema: t.Schema, Path: r.o.Path, LockTimeout: r.o.LockTimeout,
		StatementTimeout: r.o.StatementTimeout, Tenant: r.o.Registry.Row(t.ID), Tablespace: t.Tablespace})
	r.guard.Queue(&open, t.Schema, "")
	as := r.owners.Of(t.Schema).Work
	open.Become(as) // the session's own role need not see the schema
	open.CheckSchema(t.Schema)
	if as != "" {
		open.Return()
	}
	if r.o.Hold != nil {
		r.o.Hold(&open, t)
	}
	if err := open.Run(ctx, conn); err != nil {
		return errors.Join(r.doubt(i, plain(err)), db.Rollback(ctx, conn))
	}
	// The lock shows that the session of an attempt before this one is over.
	if done, err := r.settle(ctx, conn, i); done || err != nil {
		return errors.Join(err, db.Rollback(ctx, conn))
	}
	found := &result{rows: &buffer{spool: r.spool}}
	err := r.change(ctx, conn, t, found)
	if err == nil {
		err = found.rows.close()
	}
	if err != nil || r.o.DryRun {
		if err = errors.Join(plain(err), r.undo(ctx, conn)); err != nil {
			found.rows.drop()
			return err
		}
		r.succeeded(i, found)
		return nil
	}
	return r.commit(ctx, conn, i, found)
}

// change runs the script, makes sure that it has not left the schema, and adds the
// audit row.
func (r *run) change(ctx context.Context, conn *pgx.Conn, t registry.Tenant, found *result) error {
	var script, end db.Pipeline
	as := r.owners.Of(t.Schema).Work
	script.Become(as)
	script.Mark()
	r.queue(&script, found)
	script.CheckSchema(t.Schema)
	if as != "" {
		script.Return()
	}
	if err := script.Run(ctx, conn); err != nil {
		return err
	}
	if r.o.Audit != nil && !r.o.DryRun {
		if err := r.o.Audit(&end, Event{Tenant: t, Token: r.token, Affected: found.affected}); err != nil {
			return err
		}
	}
	end.Cleanse()
	return end.Run(ctx, conn)
}

func (r *run) commit(ctx context.Context, conn *pgx.Conn, i int, found *result) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), commitTimeout)
	defer cancel()
	err := db.Commit(ctx, conn)
	switch {
	case err == nil:
		r.succeeded(i, found)
		return nil
	case db.ConnectionLost(err):
		r.doubtful[i] = found // another attempt finds out
		return r.doubt(i, err)
	case ctx.Err() != nil:
		r.doubtful[i] = found
		return fmt.Errorf("%w (no answer in %s)", ErrUnknown, commitTimeout)
	}
	found.rows.drop()
	return err
}

// doubt adds ErrUnknown to an error that leaves the fate of an earlier COMMIT open.
func (r *run) doubt(i int, err error) error {
	if r.doubtful[i] == nil {
		return err
	}
	return fmt.Errorf("%w: %w", ErrUnknown, err)
}

// settle finds out what became of a COMMIT whose answer an earlier attempt has not
// got. It reports whether the tenant is done.
func (r *run) settle(ctx context.Context, conn *pgx.Conn, i int) (bool, error) {
	before := r.doubtful[i]
	switch {
	case before == nil:
		return false, nil
	case r.o.Committed == nil:
		return false, ErrUnknown
	}
	done, err := r.o.Committed(ctx, conn, Event{Tenant: r.tenants[i], Token: r.token})
	if err != nil {
		return false, r.doubt(i, err)
	}
	r.doubtful[i] = nil
	if !done {
		before.rows.drop()
		return false, nil
	}
	r.succeeded(i, before)
	return true, nil
}

// plain takes off the wrapping of a statement of this program, whose place says
// nothing.
func plain(err error) error {
	var statement *db.StatementError
	if errors.As(err, &statement) && statement.Statement.File == "" {
		if state := db.SQLState(statement.Err); state != "" {
			return statement // says its SQLSTATE
		}
		return statement.Err
	}
	return err
}
