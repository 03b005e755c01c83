package tenant

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// BlockedError says that others hold locks on the tables of a tenant.
type BlockedError struct {
	Slug     string
	Sessions []string // `pid 9120 (app "report", idle in transaction 14m0s)`
	Err      error    // what the server said
}

// Error names the tenant and who is in the way.
func (e *BlockedError) Error() string {
	return fmt.Sprintf("tenant %q: its tables are locked by %s: %v", e.Slug, strings.Join(e.Sessions, ", "), e.Err)
}

// Unwrap returns what the server said.
func (e *BlockedError) Unwrap() error { return e.Err }

// nameBlockers finds out who holds locks in a tenant's schema where err is that a lock
// was not granted. It asks afterwards: who has let go meanwhile is not named.
func nameBlockers(ctx context.Context, conn *pgx.Conn, t Tenant, err error) error {
	const most = 3
	if db.SQLState(err) != db.CodeLockNotAvailable || conn.IsClosed() {
		return err
	}
	type session struct {
		PID                int32
		Application, State string
		Seconds            float64
	}
	found, lookErr := db.Select(ctx, conn, pgx.RowToStructByPos[session], `
		select a.pid, coalesce(a.application_name, ''), coalesce(a.state, ''),
			coalesce(extract(epoch from clock_timestamp() - a.xact_start), 0)::float8
		from pg_stat_activity a
		where a.pid in (
			select l.pid from pg_locks l
			join pg_class c on c.oid = l.relation
			join pg_namespace n on n.oid = c.relnamespace and n.nspname = $1
			where l.locktype = 'relation' and l.granted and l.pid <> pg_backend_pid()
			  and l.database = (select oid from pg_database where datname = current_database()))
		order by a.xact_start limit $2`, t.Schema.String(), most)
	if lookErr != nil || len(found) == 0 {
		return err
	}
	blocked := &BlockedError{Slug: t.Slug, Err: err}
	for _, s := range found {
		var about []string
		if s.Application != "" {
			about = append(about, fmt.Sprintf("app %q", s.Application))
		}
		if s.State != "" {
			about = append(about, s.State+" "+(time.Duration(s.Seconds)*time.Second).String())
		}
		text := fmt.Sprintf("pid %d", s.PID)
		if len(about) > 0 {
			text += " (" + strings.Join(about, ", ") + ")"
		}
		blocked.Sessions = append(blocked.Sessions, text)
	}
	return blocked
}

// tryTables takes the locks that the first drop of a purge will need, and lets them go
// again.
func tryTables(ctx context.Context, conn *pgx.Conn, t Tenant, s survey, o PurgeOptions) error {
	batch, _ := nextBatch(s.objects, s.room)
	var tables []string
	for _, object := range batch {
		if object.kind == "table" {
			tables = append(tables, object.name)
		}
	}
	if len(tables) == 0 {
		return nil
	}
	err := db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout}, func(ctx context.Context, q db.Querier) error {
		_, err := q.Exec(ctx, "lock table "+strings.Join(tables, ", ")+" in access exclusive mode")
		return err
	})
	if err != nil {
		return fmt.Errorf("lock the tables of tenant %q: %w", t.Slug, err)
	}
	return nil
}
