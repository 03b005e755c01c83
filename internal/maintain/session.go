package maintain

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
)

var (
	errRefused = errors.New("this role may not do it")
	errGone    = errors.New("there is no such table any more")
)

// session is a connection while it works on a tenant.
type session struct {
	run     *run
	conn    *pgx.Conn
	item    int
	pooled  bool
	taken   bool // the role of the owner is taken, whose rights count
	notices []*pgconn.Notice
}

// session prepares a connection for a tenant: one of our own gets our limits and the role of
// the owner, whatever database and login are set to. A pooler's is left as it is.
func (r *run) session(ctx context.Context, conn *pgx.Conn, i int) (*session, error) {
	s := &session{run: r, conn: conn, item: i}
	var pid uint32
	var level string
	if err := conn.QueryRow(ctx, `select pg_catalog.pg_backend_pid(), pg_catalog.current_setting('client_min_messages')`).
		Scan(&pid, &level); err != nil {
		return nil, err
	}
	if s.pooled = pid != conn.PgConn().PID(); s.pooled {
		switch {
		case r.o.Action == Reindex:
			return nil, ErrPooled
		case slices.Contains([]string{"error", "fatal", "panic"}, level):
			return nil, ErrSilenced
		}
	} else if err := s.settings(ctx); err != nil {
		return nil, err
	}
	db.Notices(conn, func(n *pgconn.Notice) { s.notices = append(s.notices, n) })
	return s, nil
}

// end lets go of the connection.
func (s *session) end() { db.Notices(s.conn, nil) }

func (s *session) settings(ctx context.Context) error {
	o := s.run.o
	var p db.Pipeline
	p.Exec("reset role")
	p.Session(db.Locals{LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout})
	p.Exec(`select pg_catalog.set_config('client_min_messages', 'warning', false),
		pg_catalog.set_config('default_transaction_read_only', 'off', false)`) // to drop what a reindex has left
	if as := o.Owners.Of(s.run.items[s.item].Tenant.Schema).Work; as != "" {
		s.taken = true
		p.Exec("select pg_catalog.set_config('role', $1, false)", as)
	}
	return db.Plain(p.Run(ctx, s.conn))
}

// statement returns what is sent for a table. Vacuum and analyze pass by what is locked, and
// say so.
func (s *session) statement(table string) string {
	name := db.Quoted(s.run.items[s.item].Tenant.Schema.String(), table)
	switch o := s.run.o; o.Action {
	case Analyze:
		return "analyze (skip_locked) " + name
	case Reindex:
		return "reindex table concurrently " + name
	default:
		options := "skip_locked"
		if o.Analyze {
			options += ", analyze"
		}
		if o.Freeze {
			options += ", freeze"
		}
		return "vacuum (" + options + ") " + name
	}
}

// do works on one table. A lock that is not to be had is an error with its SQLSTATE.
func (s *session) do(ctx context.Context, t Table) error {
	if !t.May && !s.taken {
		return errRefused
	}
	if limit := s.run.o.StatementTimeout; s.pooled && limit > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, limit)
		defer cancel()
	}
	s.notices = nil
	_, err := s.conn.Exec(ctx, s.statement(t.Name))
	switch db.SQLState(err) {
	case "":
	case db.CodeUndefinedTable, db.CodeInvalidSchemaName:
		return errGone
	case db.CodeInsufficientPrivilege:
		return errRefused
	}
	if err != nil {
		return s.failed(ctx, t, err)
	}
	return s.judge()
}

// judge looks at what the server has warned of: it passes by what is locked, and what the role
// may not do, and calls it a success.
func (s *session) judge() error {
	for _, n := range s.notices {
		switch {
		case n.SeverityUnlocalized != "WARNING":
			continue
		case n.Code == db.CodeLockNotAvailable:
			return (*pgconn.PgError)(n)
		case n.Routine == refusedBefore17, n.Routine == refusedSince17:
			return errRefused
		}
		out := &s.run.outcomes[s.item]
		if len(out.Warnings) < mostWarnings {
			out.Warnings = append(out.Warnings, n.Message)
		}
	}
	return nil
}

const (
	// mostWarnings is how many warnings of a tenant are kept.
	mostWarnings = 20
	// The functions of the server that warn of a table which the role may not vacuum or analyze.
	// The text of the warning is in any language.
	refusedBefore17 = "vacuum_is_relation_owner"
	refusedSince17  = "vacuum_is_permitted_for_relation"
)

// failed clears away what a reindex has left that came to no end.
func (s *session) failed(ctx context.Context, t Table, cause error) error {
	err := fmt.Errorf("%s %s: %w", s.run.o.Action, t.Name, cause)
	if s.run.o.Action != Reindex || s.conn.IsClosed() || db.ConnectionLost(cause) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
	defer cancel()
	if dropErr := s.dropLeftovers(ctx); dropErr != nil {
		if left, readErr := s.leftovers(ctx); readErr == nil && len(left) > 0 {
			return &LeftError{Indexes: left, Err: err}
		}
	}
	return err
}

// cleanupTimeout bounds what has to be put in order after a failure.
const cleanupTimeout = 30 * time.Second

// leftovers returns the indexes of the tenant's tables, and of their TOAST, that a REINDEX
// CONCURRENTLY has left behind, qualified and quoted.
func (s *session) leftovers(ctx context.Context) ([]string, error) {
	schema := s.run.items[s.item].Tenant.Schema
	return db.Select(ctx, s.conn, func(row pgx.CollectableRow) (string, error) {
		var space, name string
		err := row.Scan(&space, &name)
		return db.Quoted(space, name), err
	}, `with t as materialized (
			select c.oid, c.reltoastrelid from pg_depend d join pg_class c on c.oid = d.objid
			where d.refclassid = 'pg_namespace'::regclass and d.classid = 'pg_class'::regclass
				and d.refobjid = (select n.oid from pg_namespace n where n.nspname = $1)
		)
		select n.nspname::text, x.relname::text
		from (select t.oid from t union all select t.reltoastrelid from t where t.reltoastrelid <> 0) a
		join pg_index i on i.indrelid = a.oid and not i.indisvalid
		join pg_class x on x.oid = i.indexrelid
		join pg_namespace n on n.oid = x.relnamespace
		where x.relname ~ '_cc(new|old)[0-9]*$'
		order by 1, 2`, schema.String())
}

// dropLeftovers drops them. One that a reindex under way is building is locked.
func (s *session) dropLeftovers(ctx context.Context) error {
	left, err := s.leftovers(ctx)
	if err != nil {
		return err
	}
	for _, index := range left {
		if _, err := s.conn.Exec(ctx, "drop index concurrently if exists "+index); err != nil {
			return fmt.Errorf("drop the invalid index %s: %w", index, err)
		}
		out := &s.run.outcomes[s.item]
		out.Dropped = append(out.Dropped, index)
	}
	return nil
}
