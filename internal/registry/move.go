package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

var (
	// ErrRunning says that a fleet run is going on.
	ErrRunning = errors.New("a run over the fleet is going on")
	// ErrThere says that a registry stands there already.
	ErrThere = errors.New("a registry stands there already")
)

// Move moves the registry to another schema, which is made where it is not there, in one
// transaction: tables with all that belongs to them, and functions. It fails with
// ErrRunning while a run over the fleet is going on, and waits for others no longer than
// lockTimeout. trusted are roles trusted by name. A dry run looks alone. It returns the names
// of what is moved.
func (r Registry) Move(ctx context.Context, conn *pgx.Conn, to Registry, trusted []string, lockTimeout time.Duration,
	dryRun bool) ([]string, error) {
	if err := r.movable(ctx, conn, to, trusted); err != nil {
		return nil, err
	}
	missing, err := to.NoSchema(ctx, conn)
	if err != nil {
		return nil, err
	}
	var moved []string
	errDone := errors.New("looked")
	err = db.InTx(ctx, conn, db.Locals{LockTimeout: lockTimeout, Follow: true},
		func(ctx context.Context, q db.Querier) error {
			there, err := r.ownTables(ctx, q)
			if err != nil {
				return err
			}
			for _, name := range there {
				if _, err := q.Exec(ctx, "lock table "+r.table(name)+" in access exclusive mode"); err != nil {
					return err
				}
			}
			alive, err := r.running(ctx, q)
			switch {
			case err != nil:
				return err
			case alive > 0:
				return fmt.Errorf("%w: run %d", ErrRunning, alive)
			}
			moved = append(there, functions()...)
			if dryRun {
				return errDone
			}
			var p db.Pipeline
			if missing {
				to.QueueSchema(&p)
			}
			for _, name := range there {
				p.Exec("alter table " + r.table(name) + " set schema " + to.Place())
			}
			for _, name := range functions() {
				p.Exec("alter function " + r.table(name) + "() set schema " + to.Place())
			}
			return p.Run(ctx, q)
		})
	if dryRun && errors.Is(err, errDone) {
		err = nil
	}
	return moved, err
}

// functions are the bare names of the functions that the migrations make.
func functions() []string { return []string{"tenant_events_append_only"} }

// movable fails where the registry is not here, or there is no room for it there.
func (r Registry) movable(ctx context.Context, q db.Querier, to Registry, trusted []string) error {
	here, err := r.LookToMake(ctx, q, trusted)
	if err != nil {
		return err
	}
	// What is in the way of an upgrade here is left where it is.
	ours := here
	ours.Strange = nil
	ours.Others = nil
	for _, o := range here.Others {
		if o.Ours {
			ours.Others = append(ours.Others, o)
		}
	}
	switch {
	case !here.Made && here.Taken() != nil:
		return here.Taken()
	case !here.Made:
		return ErrNoRegistry
	case ours.Refusal() != nil:
		return ours.Refusal()
	}
	there, err := to.LookToMake(ctx, q, trusted)
	switch {
	case err != nil:
		return err
	case there.Made:
		return fmt.Errorf("schema %s: %w", to.Place(), ErrThere)
	case there.Taken() != nil:
		return there.Taken()
	}
	return to.RefuseTenant(ctx, q)
}

// ownTables returns the bare names of the registry's tables that are there: an older one
// lacks some.
func (r Registry) ownTables(ctx context.Context, q db.Querier) ([]string, error) {
	rows, err := q.Query(ctx, `select c.relname::pg_catalog.text from pg_catalog.pg_class c
		where c.relnamespace operator(pg_catalog.=) pg_catalog.to_regnamespace($2)
			and c.relname operator(pg_catalog.=) any ($1::pg_catalog.text[]::pg_catalog.name[])
		  and c.relkind operator(pg_catalog.=) 'r' and `+markedSQL("c.oid", "c.relname::text", "$3")+` order by 1`,
		append(Tables(), versionsTable), r.Place(), marksJSON())
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// running returns the id of a run that is going on, 0 for none.
func (r Registry) running(ctx context.Context, q db.Querier) (id int64, err error) {
	err = q.QueryRow(ctx, `select coalesce((select r.id from `+r.Runs()+` r where r.finished_at is null and `+r.runAlive()+
		` limit 1), 0)`).Scan(&id)
	return id, err
}
