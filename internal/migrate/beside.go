package migrate

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
)

// ErrOvertaken says that another program applied a file while it was under way here.
var ErrOvertaken = errors.New("another program is migrating this tenant at the same time")

// overtaken turns the failure of a migration into one that is worth another try where
// another program has written the version of the failed file meanwhile: goose takes no lock
// that could be seen, so the second of two finds its tables made. The database is asked
// after a failure only, when nothing of the transaction is left.
//
// Where that cannot be seen either, both failures are told, and what stands in the way of
// the look may be that other program: then it is worth another try, too.
func (p *Plan) overtaken(ctx context.Context, conn *pgx.Conn, t registry.Tenant, err error,
	lockTimeout time.Duration) error {
	if err == nil || db.SQLState(err) == "" || db.Retryable(err) || ctx.Err() != nil || conn.IsClosed() ||
		conn.PgConn().TxStatus() != 'I' {
		return err
	}
	if rowTaken(err, t) {
		return &db.BusyError{Err: fmt.Errorf("%w: %w", ErrOvertaken, err)}
	}
	failed, ok := errors.AsType[*db.StatementError](err)
	if !ok || failed.Statement.File == "" {
		return err
	}
	for _, m := range p.Migrations {
		if m.File != failed.Statement.File {
			continue
		}
		switch has, unread := hasVersion(ctx, conn, t.Schema, m.Version, lockTimeout); {
		case has:
			return &db.BusyError{Err: fmt.Errorf("%w: %w", ErrOvertaken, err)}
		case unread != nil:
			if db.Retryable(unread) {
				unread = &db.BusyError{Err: unread}
			}
			return errors.Join(err, fmt.Errorf("look whether another program has applied %s: %w", m.File, unread))
		}
	}
	return err
}

// rowTaken reports whether err says that the row of a version is there already, where
// somebody has put a unique index on the table of versions.
func rowTaken(err error, t registry.Tenant) bool {
	server, ok := errors.AsType[*pgconn.PgError](err)
	return ok && server.Code == db.CodeUniqueViolation && server.SchemaName == t.Schema.String() &&
		server.TableName == string(tenantVersions)
}

// hasVersion reports whether a schema says that a version was applied to it.
func hasVersion(ctx context.Context, conn *pgx.Conn, s db.Schema, version int64,
	lockTimeout time.Duration) (has bool, err error) {
	err = db.InTx(ctx, conn, db.Locals{LockTimeout: lockTimeout}, func(ctx context.Context, q db.Querier) error {
		var p db.Pipeline
		planted.QueueRead(&p, []planted.Table{{Schema: s.String(), Name: string(tenantVersions)}})
		p.QueryRow([]any{&has}, `select exists (select from `+tenantVersions.in(s)+` where is_applied and version_id = $1)`,
			version)
		return p.Run(ctx, q)
	})
	if db.SQLState(err) == db.CodeUndefinedTable { // the failure of the migration says more of that
		return false, nil
	}
	return has && err == nil, err
}
