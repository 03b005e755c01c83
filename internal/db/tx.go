package db

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Locals are the settings of one transaction. They end with it, so a pooler in
// transaction mode cannot carry them to another client.
type Locals struct {
	// Schema is where unqualified names are found and made, for statements that
	// stand in files or come from a user. The zero Schema means none: the path is
	// OwnPath, so that a statement of ours never calls what somebody planted.
	Schema Schema
	// Path follows Schema, where that is not zero.
	Path Path
	// Tablespace is where tables and indexes are made that do not say otherwise, "" for
	// wherever the database makes them.
	Tablespace string
	// Named puts the name of Schema into the setting crmctl.schema, for statements whose
	// text is the same for all tenants.
	Named bool
	// EveryRow is for our own reads of a tenant's tables: where a row policy would
	// hide rows, the statement fails instead. It is always so without a Schema.
	EveryRow bool
	// Enter, if not nil, adds to InTx's transaction what has to come before it looks whether
	// it stands in Schema: taking a role that sees it. That is given back behind the look.
	Enter func(p *Pipeline)
	// Role, if not empty, is what SET LOCAL ROLE takes.
	Role string
	// LockTimeout bounds the wait for each lock, StatementTimeout the run of
	// each statement; zero is without an end, whatever the server's setting is.
	LockTimeout      time.Duration
	StatementTimeout time.Duration
	// Tenant is the row of the tenant whose lock is taken for the length of the
	// transaction, as LockTenant does; the zero Row takes none. Wait waits for it. Without
	// Wait a tenant that is gone is ErrBusy until NameBlockers has looked.
	Tenant Row
	Wait   bool
	// AsyncCommit lets COMMIT return before its WAL record is on disk. A later
	// synchronous commit of any session flushes it too.
	AsyncCommit bool
	// AsConfigured leaves the settings that decide how values are written as text and
	// read from it as the database has them: for migrations, which others wrote for it.
	AsConfigured bool
	// Follow is for a transaction that changes something: where the answer to its Commit
	// is lost, what became of it is found out. It takes no round trip.
	Follow bool
	// Snapshot makes the transaction read only, and one moment: repeatable read.
	Snapshot bool
	// Writes begins a transaction that may write, also where the database or the login has
	// them read only.
	Writes bool
}

// OwnPath is the search_path of our own statements: functions and operators are
// those of PostgreSQL, and everything else is named in full. pg_temp is named
// because it would come first, for tables and types, where it is not.
const OwnPath = "pg_catalog, pg_temp"

// rollbackTimeout bounds the wait for a rollback after the context is gone.
const rollbackTimeout = 5 * time.Second

// Begin adds the start of a transaction with the given locals. CheckSchema must
// follow where l.Schema is not zero, after the schema was made if the pipeline
// makes it.
func (p *Pipeline) Begin(l Locals) {
	isolation := "read committed"
	switch {
	case l.Snapshot:
		isolation = "repeatable read, read only"
	case l.Writes:
		isolation += ", read write"
	}
	p.begins, p.limits, p.limit = true, true, l.StatementTimeout
	p.Exec("begin isolation level " + isolation)
	p.settings(l, "true")
	// What set_config sets stays on this node.
	p.distributed("set local citus.propagate_set_commands = 'local'")
	p.distributed("set local lock_timeout = " + milliseconds(l.LockTimeout))
	switch {
	case l.Tenant == (Row{}):
	case l.Wait || l.Schema.IsZero():
		p.LockTenant(l.Tenant, l.Schema, l.Wait)
	default:
		p.tryTenant(l.Tenant, l.Schema)
	}
	if l.Role != "" { // which need not know the registry
		p.Exec(`select pg_catalog.set_config('role', $1, true)`, l.Role)
	}
	if l.Follow {
		p.follow()
	}
}

// Session adds the settings of l for the rest of the session, for statements that
// cannot run in a transaction. The session must be a server process of its own, and
// serve nothing else afterwards.
func (p *Pipeline) Session(l Locals) { p.settings(l, "false") }

// settings adds l. local reports whether the settings end with the transaction.
func (p *Pipeline) settings(l Locals, local string) {
	args := []any{l.searchPath()}
	p.Exec("select pg_catalog.set_config('search_path', $1, "+local+")"+l.others(&args, local), args...)
}

// others returns expressions that set everything but the path, and adds their parameters.
func (l Locals) others(args *[]any, local string) string {
	var sql string
	set := func(name, value string) {
		*args = append(*args, value)
		sql += setting(name, "$"+strconv.Itoa(len(*args)), local)
	}
	set("lock_timeout", milliseconds(l.LockTimeout))
	set("statement_timeout", milliseconds(l.StatementTimeout))
	sql += unbounded(local)
	if !l.AsConfigured {
		sql += dialect(local)
	}
	if l.EveryRow || l.Schema.IsZero() {
		set("row_security", "off")
	}
	if l.Schema.IsZero() {
		sql += plain(local)
	}
	if l.AsyncCommit {
		set("synchronous_commit", "off")
	}
	if l.Named {
		set("crmctl.schema", l.Schema.name)
	}
	if l.Tablespace != "" {
		set("default_tablespace", l.Tablespace)
	}
	// A client that dies leaves its locks with the server until the statement
	// ends, unless the server looks for it now and then. Only Linux servers can
	// since 14; elsewhere anything but 0 may be an error.
	return sql + `, pg_catalog.set_config('client_connection_check_interval',
		case when pg_catalog.strpos(pg_catalog.version(), 'linux') operator(pg_catalog.>) 0
			then '2s' else '0' end, ` + local + `)`
}

// CheckSchema adds a check that unqualified names are made in s. It fails with
// ErrWrongSchema when the schema is gone.
func (p *Pipeline) CheckSchema(s Schema) {
	p.Query(func(rows pgx.Rows) error {
		current, err := pgx.CollectExactlyOneRow(rows, pgx.RowTo[*string])
		if err != nil {
			return err
		}
		if current == nil || *current != s.name {
			return fmt.Errorf("%w: %s", ErrWrongSchema, s.name)
		}
		return nil
	}, "select pg_catalog.current_schema()::pg_catalog.text")
}

// Leave adds a check that the transaction still stands in the schema from, and gives it
// the path and the settings of l, as Begin does; the tablespace of from must be that of l. It
// fails with ErrWrongSchema.
func (p *Pipeline) Leave(from Schema, l Locals) {
	args := []any{l.searchPath(), from.name}
	sql := `select 1 operator(pg_catalog./) coalesce(
		(pg_catalog.current_schema()::pg_catalog.text operator(pg_catalog.=) $2::pg_catalog.text)::pg_catalog.int4, 0),
		pg_catalog.set_config('search_path', $1, true)` + l.others(&args, "true")
	p.Query(func(rows pgx.Rows) error {
		rows.Close()
		if SQLState(rows.Err()) == CodeDivisionByZero {
			return fmt.Errorf("%w: %s", ErrWrongSchema, from.name)
		}
		return rows.Err()
	}, sql, args...)
}

func (l Locals) searchPath() string {
	if l.Schema.IsZero() {
		return OwnPath
	}
	return l.Path.Behind(l.Schema)
}

// milliseconds returns a limit as the server takes it: 0 is without an end.
func milliseconds(d time.Duration) string {
	if d <= 0 {
		return "0"
	}
	return strconv.FormatInt(max(1, d.Milliseconds()), 10)
}

// InTx runs fn in a transaction with the given locals, standing in l.Schema
// when that is not zero. It commits when fn returns nil and rolls back
// otherwise, also when the context is gone by then; the error names who was in the
// way of a lock. q is conn itself: fn must not begin or end transactions on it.
func InTx(ctx context.Context, conn *pgx.Conn, l Locals, fn func(ctx context.Context, q Querier) error) error {
	var open Pipeline
	open.Begin(l)
	if l.Enter != nil {
		l.Enter(&open)
	}
	if !l.Schema.IsZero() {
		open.CheckSchema(l.Schema)
	}
	if l.Enter != nil {
		open.Return()
	}
	if err := open.Run(ctx, conn); err != nil {
		return undo(ctx, conn, l, Plain(err))
	}
	if err := fn(ctx, conn); err != nil {
		return undo(ctx, conn, l, err)
	}
	return Commit(ctx, conn)
}

// undo rolls back for the reason err, and says who was in the way where that was it.
func undo(ctx context.Context, conn *pgx.Conn, l Locals, err error) error {
	if rollbackErr := Rollback(ctx, conn); rollbackErr != nil {
		return errors.Join(err, rollbackErr)
	}
	return NameBlockers(ctx, conn, l.Schema, err)
}

// Select runs one query of ours and collects its rows with to. It costs one round
// trip: the query shares an implicit transaction with the settings of OwnSettings.
func Select[T any](ctx context.Context, q Querier, to pgx.RowToFunc[T], sql string, args ...any) ([]T, error) {
	var p Pipeline
	var out []T
	p.ownSettings(ctx, q)
	p.Query(func(rows pgx.Rows) (err error) {
		out, err = pgx.CollectRows(rows, to)
		return err
	}, sql, args...)
	if err := p.Run(ctx, q); err != nil {
		return nil, Plain(err)
	}
	return out, nil
}

// OwnPath takes the tenant's schema off the path of the transaction, for statements of
// ours that do not name everything in full. StandIn puts it back.
func (p *Pipeline) OwnPath() {
	p.Exec("select pg_catalog.set_config('search_path', '" + OwnPath + "', true)" + plain("true"))
}

// StandIn puts s on the path of the transaction, as Begin did, with what is behind it.
// What the tables of a tenant call when rows are written may look for names there.
func (p *Pipeline) StandIn(s Schema, behind Path) { p.path(behind.Behind(s)) }

func (p *Pipeline) path(path string) {
	p.Exec("select pg_catalog.set_config('search_path', $1, true)", path)
}

// Exec runs one statement of ours, as Select does.
func Exec(ctx context.Context, q Querier, sql string, args ...any) (pgconn.CommandTag, error) {
	var p Pipeline
	var tag pgconn.CommandTag
	p.ownSettings(ctx, q)
	p.Query(func(rows pgx.Rows) error {
		rows.Close()
		tag = rows.CommandTag()
		return rows.Err()
	}, sql, args...)
	return tag, Plain(p.Run(ctx, q))
}

// Commit ends the transaction of conn, and waits for the answer although ctx is
// cancelled. Where the answer is lost and the transaction was begun with Locals.Follow,
// the server is asked what became of it: the error is nil where it is committed, though
// conn is gone, and otherwise wraps ErrNotCommitted or ErrCommitUnknown. Without Follow
// the error tells ConnectionLost, and only a look at the data can say what became of it.
func Commit(ctx context.Context, conn *pgx.Conn) error {
	defer wireOf(conn).done(true)
	id := takeTransaction(conn)
	wait, cancel := unhurried(ctx)
	defer cancel()
	tag, err := conn.Exec(wait, "commit")
	if err != nil {
		err = errors.Join(fmt.Errorf("commit: %w", err), Rollback(ctx, conn))
		if conn.IsClosed() && id != "" {
			return fateOf(ctx, conn.Config(), id, err)
		}
		return err
	}
	// COMMIT of a failed transaction succeeds and says ROLLBACK.
	if tag.String() != "COMMIT" {
		return fmt.Errorf("commit: the server answered %s", tag)
	}
	return nil
}

// Rollback ends a transaction that conn may be in. It ignores the cancellation
// of ctx, and a connection that is gone has nothing left to roll back.
func Rollback(ctx context.Context, conn *pgx.Conn) error {
	if conn.IsClosed() || idle(conn) {
		return nil
	}
	defer wireOf(conn).done(true)
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
	defer cancel()
	if _, err := conn.Exec(ctx, "rollback"); err != nil {
		// A connection in an unknown state must not serve another tenant.
		_ = conn.Close(ctx)
		if !ConnectionLost(err) {
			return fmt.Errorf("roll back: %w", err)
		}
	}
	return nil
}

// idle reports whether q is a connection that no transaction is under way on.
func idle(q Querier) bool {
	const idle = 'I'
	conn, ok := q.(*pgx.Conn)
	return ok && conn.PgConn().TxStatus() == idle
}
