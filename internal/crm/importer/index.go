package importer

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

const (
	// exclusiveWait is how long the lock for the fast path is waited for. While
	// it is, the tenant's other queries queue up behind.
	exclusiveWait = 250 * time.Millisecond
	// indexMemory is what sorting for an index may take, unless the server grants
	// more anyway.
	indexMemory = "256MB"
	// ginMemory is what a GIN index is built with. It collects entries in a tree, and with
	// more memory the tree outgrows the processor's caches: 256MB took a quarter longer for
	// 300,000 and for a million contacts.
	ginMemory = "8MB"
)

// contactsOf returns the name of a tenant's contacts.
func contactsOf(schema db.Schema) string { return schema.Quoted() + ".contacts" }

// index is one that is dropped for a load and made again.
type index struct {
	Name       string `db:"name"`
	Definition string `db:"definition"`
	Email      bool   `db:"email"` // the unique one on email, which merging needs
	GIN        bool   `db:"gin"`
}

// droppableSQL finds the indexes that their definition restores in full. What
// carries more than that stays: one that a constraint stands on, that replication
// or CLUSTER uses, that does not stand where it would be made again, with a statistics target
// or comment of its own, or that belongs to an extension.
const droppableSQL = `
select c.relname::text as name, pg_catalog.pg_get_indexdef(i.indexrelid) as definition,
       i.indisunique and i.indnkeyatts = 1 and i.indpred is null and coalesce(a.attname = 'email', false) as email,
       m.amname = 'gin' as gin
from pg_catalog.pg_index i
join pg_catalog.pg_class c on c.oid = i.indexrelid
join pg_catalog.pg_am m on m.oid = c.relam
left join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = i.indkey[0]
where i.indrelid = $1 and i.indisvalid and i.indisready and i.indislive
  and not i.indisprimary and not i.indisexclusion and not i.indisreplident and not i.indisclustered
  and c.reltablespace = coalesce((select s.oid from pg_catalog.pg_tablespace s
                  where s.spcname::text = pg_catalog.current_setting('default_tablespace') and s.oid <> (
                      select d.dattablespace from pg_catalog.pg_database d
                      where d.datname = pg_catalog.current_database())), 0)
  and not exists (select from pg_catalog.pg_constraint k where k.conindid = i.indexrelid)
  and not exists (select from pg_catalog.pg_description d
                  where d.classoid = 'pg_catalog.pg_class'::regclass and d.objoid = i.indexrelid)
  and not exists (select from pg_catalog.pg_depend d
                  where d.classid = 'pg_catalog.pg_class'::regclass and d.objid = i.indexrelid
                  	and d.deptype in ('e', 'x'))
  and not exists (select from pg_catalog.pg_attribute s where s.attrelid = i.indexrelid and s.attstattarget >= 0)
order by email desc, c.oid`

// lockEmpty locks the contacts against everybody when there are none and that is
// possible at once, and reports whether it did. A refusal does not fail the
// transaction.
func lockEmpty(ctx context.Context, q db.Querier, schema db.Schema, lockTimeout time.Duration) (bool, error) {
	empty := false
	isEmpty := "select not exists (select from " + contactsOf(schema) + ")"
	if err := q.QueryRow(ctx, isEmpty).Scan(&empty); err != nil {
		return false, fmt.Errorf("look into contacts: %w", err)
	}
	if !empty {
		return false, nil
	}
	setTimeout := func(p *db.Pipeline, d time.Duration) {
		p.Exec(`select pg_catalog.set_config('lock_timeout', $1, true)`, strconv.FormatInt(d.Milliseconds(), 10))
	}
	var lock db.Pipeline
	lock.Exec("savepoint empty")
	setTimeout(&lock, min(exclusiveWait, lockTimeout))
	lock.Exec("lock table only " + contactsOf(schema) + " in access exclusive mode")
	setTimeout(&lock, lockTimeout)
	lock.QueryRow([]any{&empty}, isEmpty)
	err := lock.Run(ctx, q)
	if err == nil && empty {
		if _, err := q.Exec(ctx, "release savepoint empty"); err != nil {
			return false, fmt.Errorf("lock contacts: %w", err)
		}
		return true, nil
	}
	if code := db.SQLState(err); err != nil && code != db.CodeLockNotAvailable && code != db.CodeInsufficientPrivilege &&
		code != db.CodeDeadlockDetected {
		return false, fmt.Errorf("lock contacts: %w", err)
	}
	// What came behind in the savepoint would have an xmin of its own.
	var unlock db.Pipeline
	unlock.Exec("rollback to savepoint empty")
	unlock.Exec("release savepoint empty")
	if err := unlock.Run(ctx, q); err != nil {
		return false, fmt.Errorf("unlock contacts: %w", err)
	}
	return false, nil
}

// dropIndexes drops the indexes of a table that can be made again as they were,
// and returns them.
func dropIndexes(ctx context.Context, q db.Querier, schema db.Schema, path db.Path, table uint32) ([]index, error) {
	var indexes []index
	var look db.Pipeline
	look.OwnPath() // so that a definition names everything in full
	look.Query(func(rows pgx.Rows) (err error) {
		indexes, err = pgx.CollectRows(rows, pgx.RowToStructByName[index])
		return err
	}, droppableSQL, table)
	look.StandIn(schema, path)
	if err := look.Run(ctx, q); err != nil {
		return nil, fmt.Errorf("read indexes of contacts: %w", err)
	}
	var drop db.Pipeline
	for _, i := range indexes {
		drop.Exec("drop index " + pgx.Identifier{schema.String(), i.Name}.Sanitize())
	}
	if err := drop.Run(ctx, q); err != nil {
		return nil, fmt.Errorf("drop indexes of contacts: %w", err)
	}
	return indexes, nil
}

// createIndexes makes dropped indexes again: only the unique one on email, or
// all others. told is called before each.
func createIndexes(ctx context.Context, q db.Querier, indexes []index, email bool, told func(name string)) error {
	for _, i := range indexes {
		if i.Email != email {
			continue
		}
		told(i.Name)
		var create db.Pipeline
		memory := indexMemory
		if i.GIN {
			memory = ginMemory
		}
		create.Exec(`select pg_catalog.set_config('maintenance_work_mem', $1, true)
			where $2 or pg_catalog.pg_size_bytes(pg_catalog.current_setting('maintenance_work_mem')) operator(pg_catalog.<)
				pg_catalog.pg_size_bytes($1)`, memory, i.GIN)
		create.Script([]db.Statement{{SQL: i.Definition}})
		err := create.Run(ctx, q)
		if statement, ok := errors.AsType[*db.StatementError](err); ok {
			return fmt.Errorf("make index again: %s: %w", statement.Statement.SQL, statement.Err)
		}
		if err != nil {
			return fmt.Errorf("make indexes again: %w", err)
		}
	}
	return nil
}
