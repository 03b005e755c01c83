package tenant

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
)

// Small tenants that need no backup go together: several share a transaction, in which
// each is looked at again under its lock, as one alone is. What stands in the way of one
// of them gives the group up, and each takes its turn alone: so what becomes of a tenant,
// and what is said of it, does not depend on the others.

const (
	// purgeMost is how many tenants share a transaction at the most.
	purgeMost = 10
	// purgeAim is how long a group is meant to take. Nobody waits for the tables of
	// tenants that were deleted, but a place in the lock table is everybody's.
	purgeAim = time.Second
	// purgeLimit is when a group is given up, whatever it waits for.
	purgeLimit = 5 * time.Second
	// purgeLockTimeout is how long it waits for one lock.
	purgeLockTimeout = 20 * time.Millisecond
	// purgeShare is the part of the server's free lock table, one in so many, that all
	// groups under way may fill.
	purgeShare = 4
)

// errApart says that a group of tenants cannot go together.
var errApart = errors.New("not to be purged together")

// together returns how the fleet purges several tenants at once, nil where each goes
// alone.
func together(purged []Purged, o PurgeOptions) *fleet.Together {
	if o.Before != nil || o.sizer == nil {
		return nil
	}
	return &fleet.Together{
		Begin: func(workers int) { o.sizer.Workers = workers },
		Size:  o.sizer.Size,
		Fits: func(i int) bool { // a role goes in steps of its own
			t := purged[i].Tenant
			return t.PurgeStartedAt == nil && t.Role == "" && t.ForeignRole == ""
		},
		Work: func(ctx context.Context, conn *pgx.Conn, items []int) error {
			begun := time.Now()
			tenants := make([]registry.Tenant, len(items))
			for k, i := range items {
				tenants[k] = purged[i].Tenant
			}
			limited, cancel := context.WithTimeout(ctx, purgeLimit)
			defer cancel()
			err := purgeTogether(limited, conn, tenants, o)
			unknown := errors.Is(err, db.ErrCommitUnknown)
			for _, i := range items {
				if err == nil || unknown { // whoever is gone when it takes its turn was purged here
					purged[i].Transactions++
				}
			}
			if err != nil {
				if db.SQLState(err) == db.CodeOutOfMemory {
					o.sizer.Stop()
				}
				o.sizer.GaveUp(limited.Err() != nil || errors.Is(err, errApart))
				return err
			}
			o.sizer.Took(time.Since(begun), len(items))
			return nil
		},
	}
}

// purgeTogether destroys tenants in one transaction, all or none.
func purgeTogether(ctx context.Context, conn *pgx.Conn, tenants []registry.Tenant, o PurgeOptions) error {
	return db.InTx(ctx, conn, db.Locals{LockTimeout: purgeLockTimeout, Follow: true},
		func(ctx context.Context, q db.Querier) error {
			now, err := holdDue(ctx, q, tenants, o)
			if err != nil {
				return err
			}
			var p db.Pipeline
			ids := make([]string, len(now))
			schemas := make([]db.Schema, len(now))
			for i, t := range now {
				ids[i], schemas[i] = t.ID, t.Schema
			}
			p.DropSchemas(schemas...)
			o.Registry.QueueDeletes(&p, ids)
			for _, t := range now {
				if err := queuePurged(&p, t, "", o); err != nil {
					return err
				}
			}
			return p.Run(ctx, q)
		})
}

// holdDue locks tenants and reads them again. It fails where one of them may not be
// purged, or not like this.
func holdDue(ctx context.Context, q db.Querier, tenants []registry.Tenant, o PurgeOptions) ([]registry.Tenant, error) {
	var (
		p       db.Pipeline
		s       survey
		now     []registry.Tenant
		reaches bool
		rows    = make([]registry.Version, len(tenants))
		keys    = make([]string, len(tenants))
		schemas = make([]db.Schema, len(tenants))
		names   = make([]string, len(tenants))
	)
	for i, t := range tenants {
		rows[i] = registry.Version{ID: t.ID, Schema: t.Schema}
		keys[i] = purgeKey(t)
		schemas[i], names[i] = t.Schema, t.Schema.String()
	}
	o.Registry.QueueKeys(&p, keys)
	o.Registry.QueueLocks(&p, rows)
	o.Registry.QueueRows(&p, rows, &now)
	p.QueryRow([]any{&reaches}, reachesQuery, names)
	s.QueueOutside(&p, names)
	s.Queue(&p, schemas...)
	if err := p.Run(ctx, q); err != nil {
		return nil, err
	}
	all, free := s.Locks()
	// What the other groups hold is no longer free: they fill the same part of the table.
	budget := o.sizer.Budget(free * purgeShare / (purgeShare - 1))
	if o.Locks > 0 {
		budget = o.Locks
	}
	if reaches || len(s.outside) > 0 || all > budget || len(now) != len(tenants) {
		return nil, fmt.Errorf("%d tenants with %d locks: %w", len(tenants), all, errApart)
	}
	for i, t := range now {
		if t.Slug != tenants[i].Slug || t.Role != "" || t.ForeignRole != "" || t.PurgeStartedAt != nil {
			return nil, fmt.Errorf("tenant %q: %w", t.Slug, errApart)
		}
		if err := checkDue(t, o); err != nil {
			return nil, err
		}
	}
	return slices.Clip(now), nil
}

// reachesQuery reports whether tables of some schemas refer to tables of others, or
// inherit from them: their drop locks these, and everybody else out of them.
const reachesQuery = `
	with inside as materialized (
		select d.objid, n.oid as home from pg_namespace n
		cross join lateral (select * from pg_depend d where d.refclassid = 'pg_namespace'::regclass
			and d.refobjid = n.oid and d.classid = 'pg_class'::regclass offset 0) d
		where n.nspname = any ($1::text[]::name[])
	)
	select exists (select from inside i cross join lateral (
			select k.confrelid as oid from pg_constraint k where k.conrelid = i.objid and k.contype = 'f'
			union all
			select h.inhparent from pg_inherits h where h.inhrelid = i.objid
			offset 0) other
		join pg_class c on c.oid = other.oid where c.relnamespace <> i.home)`
