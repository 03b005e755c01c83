package tenant

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

const (
	// shareOfFree is which part of the free lock table one transaction takes: the
	// rest is for everybody else.
	shareOfFree = 2
	// fewestLocks keeps a purge going on a server whose lock table is all but full.
	fewestLocks = 64
)

// object is something in a schema that can be dropped by itself.
type object struct {
	kind  string // "table", as drop wants it
	name  string // qualified and quoted
	locks int    // about how many locks its drop takes
}

// survey is what a purge has to know of a tenant's schema.
type survey struct {
	outside []string // what depends on it elsewhere, a few
	objects []object // what can be dropped by itself, the heaviest last
	room    int      // locks that one transaction may take
}

// look reads it all in one round trip.
func look(ctx context.Context, conn *pgx.Conn, t registry.Tenant, o PurgeOptions) (survey, error) {
	var (
		s    survey
		free int
		p    db.Pipeline
	)
	p.OwnTransaction()
	p.Query(func(rows pgx.Rows) (err error) {
		s.outside, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	}, outsideQuery, t.Schema.String())
	p.Query(func(rows pgx.Rows) (err error) {
		s.objects, err = pgx.CollectRows(rows, scanObject)
		return err
	}, objectsQuery, t.Schema.String())
	p.QueryRow([]any{&free}, `
		select current_setting('max_locks_per_transaction')::int
			* (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int)
			- (select count(*)::int from pg_locks where not fastpath)`)
	if err := p.Run(ctx, conn); err != nil {
		return s, fmt.Errorf("look at the schema of tenant %q: %w", t.Slug, err)
	}
	if s.room = o.Locks; s.room == 0 {
		s.room = max(fewestLocks, free/shareOfFree)
	}
	return s, nil
}

// dropInBatches drops the tables of a schema in several transactions, each of which fits
// into the free half of the server's lock table, until one transaction can drop
// the rest. One that fits as it stands is left alone.
func dropInBatches(ctx context.Context, conn *pgx.Conn, t registry.Tenant, s survey, done *Purged, o PurgeOptions) error {
	return dropObjects(ctx, conn, t, &s, o, func(batch []object) error {
		err := dropBatch(ctx, conn, t, batch, o)
		if err == nil {
			done.Transactions++
		}
		return err
	})
}

// dropObjects has drop called with what fits into one transaction, until the rest does.
// s is what is known of the schema, nil for nothing yet.
func dropObjects(ctx context.Context, conn *pgx.Conn, t registry.Tenant, s *survey, o PurgeOptions, drop func(batch []object) error) error {
	room := 0
	for {
		if s == nil {
			now, err := look(ctx, conn, t, o)
			if err != nil {
				return err
			}
			s = &now
		}
		if room == 0 {
			room = s.room
		}
		batch, whole := nextBatch(s.objects, room)
		if whole {
			return nil
		}
		if err := drop(batch); err != nil {
			if db.SQLState(err) != db.CodeOutOfMemory || len(batch) == 1 {
				return err
			}
			// Others need more of the lock table than they did.
			room = max(1, room/2)
		}
		s = nil
	}
}

// nextBatch returns the objects that fit into the room, at least one. whole tells
// that all do.
func nextBatch(objects []object, room int) (batch []object, whole bool) {
	used := 0
	for i, o := range objects {
		used += o.locks
		if used > room {
			return objects[:max(i, 1)], len(objects) <= 1
		}
	}
	return objects, true
}

// dropBatch drops objects in one transaction, the first of which marks the tenant
// as being purged.
func dropBatch(ctx context.Context, conn *pgx.Conn, t registry.Tenant, batch []object, o PurgeOptions) error {
	return db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: true}, func(ctx context.Context, q db.Querier) error {
		now, err := o.Registry.Lock(ctx, q, t, false)
		if err != nil {
			return err
		}
		if err := checkDue(now, o); err != nil {
			return err
		}
		var p db.Pipeline
		if now.PurgeStartedAt == nil {
			after, at := now, o.now()
			after.PurgeStartedAt = &at
			o.Registry.QueueUpdate(&p, &after)
			if err := queueChange(&p, now, after, registry.ActionPurging, o.MoveOptions, nil); err != nil {
				return err
			}
		}
		queueDrops(&p, batch)
		return p.Run(ctx, q)
	})
}

func queueDrops(p *db.Pipeline, batch []object) {
	for _, object := range batch {
		p.Exec("drop " + object.kind + " if exists " + object.name + " cascade")
	}
}

func scanObject(row pgx.CollectableRow) (object, error) {
	var schema, name, arguments string
	var o object
	err := row.Scan(&o.kind, &schema, &name, &arguments, &o.locks)
	o.name = pgx.Identifier{schema, name}.Sanitize() + arguments
	return o, err
}

// objectsQuery lists what can be dropped by itself, the heaviest last. A drop locks
// the relation and everything that goes with it: its two types, its toast table and
// that one's index, indexes, constraints, defaults, triggers, rules, policies, and
// sequences of its columns.
//
// What is in a schema is found by what depends on it: the catalogs of relations and
// functions have no index by schema, and a fleet's are large. offset 0 keeps the
// planner, which may know little of them yet, from reading them whole.
const objectsQuery = `
	with inside as (
		select d.classid, d.objid from pg_namespace n
		cross join lateral (select * from pg_depend d where d.refclassid = 'pg_namespace'::regclass and d.refobjid = n.oid offset 0) d
		where n.nspname = $1
	)
	select case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table'
			when 'S' then 'sequence' else 'table' end,
		$1::text, c.relname, '',
		(4 + case when c.reltoastrelid <> 0 then 3 else 0 end
			+ (select count(*) from pg_depend d where d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid and d.deptype in ('a', 'i', 'n'))
			+ (select count(*) from pg_constraint k where k.conrelid = c.oid))::int as locks
	from inside
	cross join lateral (select * from pg_class c where c.oid = inside.objid offset 0) c
	where inside.classid = 'pg_class'::regclass and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and not c.relispartition
	  and (c.relkind <> 'S' or not exists (select from pg_depend d
		where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype in ('a', 'i')))
	union all
	select case p.prokind when 'a' then 'aggregate' when 'p' then 'procedure' else 'function' end,
		$1::text, p.proname, '(' || pg_get_function_identity_arguments(p.oid) || ')', 2
	from inside
	cross join lateral (select * from pg_proc p where p.oid = inside.objid offset 0) p
	where inside.classid = 'pg_proc'::regclass
	order by 5, 3`

// OutsideError says that objects outside of a tenant's schema depend on it: to drop
// the schema would take them along.
type OutsideError struct {
	Slug    string
	Objects []string // a few of them
}

// Error names the objects.
func (e *OutsideError) Error() string {
	return fmt.Sprintf("tenant %q: other schemas depend on its tables, which a purge would destroy too: %s; drop them first",
		e.Slug, strings.Join(e.Objects, ", "))
}

// outsideQuery describes what depends on a schema's relations, types and functions
// and belongs to another one: columns, keys, views, defaults, functions, partitions.
// It goes by the index of what is depended on alone.
const outsideQuery = `
	with home as (select oid from pg_namespace where nspname = $1),
	inside as (
		select d.classid, d.objid from home
		cross join lateral (select * from pg_depend d where d.refclassid = 'pg_namespace'::regclass and d.refobjid = home.oid offset 0) d
	),
	types as (
		select y.oid, y.typarray from inside cross join lateral (
			select y.oid, y.typarray from pg_type y where inside.classid = 'pg_type'::regclass and y.oid = inside.objid
			union all
			select y.oid, y.typarray from pg_class c join pg_type y on y.oid = c.reltype where inside.classid = 'pg_class'::regclass and c.oid = inside.objid
			offset 0) y
	),
	all_inside as (
		select classid, objid from inside
		union select 'pg_type'::regclass, oid from types
		union select 'pg_type'::regclass, typarray from types where typarray <> 0
		-- What an extension has stands in no schema, or in another: wrappers, languages.
		union select d.classid, d.objid from inside i join pg_depend d on d.refclassid = i.classid and d.refobjid = i.objid and d.deptype = 'e'
			where i.classid = 'pg_extension'::regclass
	),
	dependent as (
		select d.classid, d.objid, d.objsubid, case d.classid
			when 'pg_class'::regclass then (select c.relnamespace from pg_class c where c.oid = d.objid)
			when 'pg_constraint'::regclass then (select k.connamespace from pg_constraint k where k.oid = d.objid)
			when 'pg_rewrite'::regclass then (select c.relnamespace from pg_rewrite r join pg_class c on c.oid = r.ev_class where r.oid = d.objid)
			when 'pg_attrdef'::regclass then (select c.relnamespace from pg_attrdef e join pg_class c on c.oid = e.adrelid where e.oid = d.objid)
			when 'pg_trigger'::regclass then (select c.relnamespace from pg_trigger g join pg_class c on c.oid = g.tgrelid
				where g.oid = d.objid and not g.tgisinternal)
			when 'pg_policy'::regclass then (select c.relnamespace from pg_policy o join pg_class c on c.oid = o.polrelid where o.oid = d.objid)
			when 'pg_proc'::regclass then (select p.pronamespace from pg_proc p where p.oid = d.objid)
			when 'pg_type'::regclass then (select y.typnamespace from pg_type y where y.oid = d.objid)
			when 'pg_foreign_server'::regclass then 0 -- in no schema, and everybody's
			when 'pg_event_trigger'::regclass then 0
			end as nsp
		from all_inside i
		cross join lateral (select * from pg_depend d where d.refclassid = i.classid and d.refobjid = i.objid offset 0) d
	)
	select distinct pg_describe_object(d.classid, d.objid, d.objsubid)
	from dependent d
	where d.nsp <> (select oid from home) and d.nsp <> 'pg_toast'::regnamespace
	order by 1
	limit 5`
