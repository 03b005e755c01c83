package tenant

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/dropping"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/registry"
)

// survey is what a purge has to know of a tenant's schema.
type survey struct {
	dropping.Survey

	outside []string // what depends on it elsewhere, a few
}

// QueueOutside adds the question what depends on schemas elsewhere.
func (s *survey) QueueOutside(p *db.Pipeline, schemas []string) {
	p.Query(func(rows pgx.Rows) (err error) {
		s.outside, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	}, outsideQuery, schemas)
}

// inspect reads it all in one round trip.
func inspect(ctx context.Context, conn *pgx.Conn, t registry.Tenant, o PurgeOptions) (survey, error) {
	var (
		s survey
		p db.Pipeline
	)
	p.OwnTransaction()
	s.QueueOutside(&p, []string{t.Schema.String()})
	s.Queue(&p, t.Schema)
	if err := p.Run(ctx, conn); err != nil {
		return s, fmt.Errorf("look at the schema of tenant %q: %w", t.Slug, err)
	}
	s.Most = o.Locks
	return s, nil
}

// dropInBatches drops the tables of a schema in several transactions, each of which fits
// into the free half of the server's lock table, until one transaction can drop
// the rest. One that fits as it stands is left alone.
func dropInBatches(ctx context.Context, conn *pgx.Conn, t registry.Tenant, s survey, done *Purged,
	o PurgeOptions) error {
	return dropping.InBatches(ctx, conn, t.Schema, &s.Survey, func(batch []dropping.Object) error {
		err := dropBatch(ctx, conn, t, batch, o)
		if err == nil {
			done.Transactions++
		}
		return err
	})
}

// dropBatch drops objects in one transaction, the first of which marks the tenant
// as being purged.
func dropBatch(ctx context.Context, conn *pgx.Conn, t registry.Tenant, batch []dropping.Object, o PurgeOptions) error {
	return db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: true},
		func(ctx context.Context, q db.Querier) error {
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
			owner.QueueRights(&p, now.Schema)
			dropping.Queue(&p, batch)
			p.Return()
			return p.Run(ctx, q)
		})
}

// OutsideError says that objects outside of a tenant's schema depend on it: to drop
// the schema would take them along.
type OutsideError struct {
	Slug    string
	Objects []string // a few of them
}

// Error names the objects.
func (e *OutsideError) Error() string {
	return fmt.Sprintf("tenant %q: other schemas depend on its tables, which a purge would destroy too: %s; drop them "+
		"first",
		e.Slug, strings.Join(e.Objects, ", "))
}

// outsideQuery describes what depends on relations, types and functions of some schemas
// and belongs to another one than what it depends on: columns, keys, views, defaults, functions, partitions.
// It goes by the index of what is depended on alone.
const outsideQuery = `
	with home as (select oid from pg_namespace where nspname = any ($1::text[]::name[])),
	inside as (
		select d.classid, d.objid, home.oid as home from home
		cross join lateral (select * from pg_depend d where d.refclassid = 'pg_namespace'::regclass
			and d.refobjid = home.oid offset 0) d
	),
	types as (
		select y.oid, y.typarray, inside.home from inside cross join lateral (
			select y.oid, y.typarray from pg_type y where inside.classid = 'pg_type'::regclass and y.oid = inside.objid
			union all
			select y.oid, y.typarray from pg_class c join pg_type y on y.oid = c.reltype
				where inside.classid = 'pg_class'::regclass and c.oid = inside.objid
			offset 0) y
	),
	all_inside as (
		select classid, objid, home from inside
		union select 'pg_type'::regclass, oid, home from types
		union select 'pg_type'::regclass, typarray, home from types where typarray <> 0
		-- What an extension has stands in no schema, or in another: wrappers, languages.
		union select d.classid, d.objid, i.home from inside i join pg_depend d on d.refclassid = i.classid
			and d.refobjid = i.objid and d.deptype = 'e'
			where i.classid = 'pg_extension'::regclass
	),
	dependent as (
		select d.classid, d.objid, d.objsubid, case d.classid
			when 'pg_class'::regclass then (select c.relnamespace from pg_class c where c.oid = d.objid)
			when 'pg_constraint'::regclass then (select k.connamespace from pg_constraint k where k.oid = d.objid)
			when 'pg_rewrite'::regclass then (select c.relnamespace from pg_rewrite r join pg_class c on c.oid = r.ev_class
				where r.oid = d.objid)
			when 'pg_attrdef'::regclass then (select c.relnamespace from pg_attrdef e join pg_class c on c.oid = e.adrelid
				where e.oid = d.objid)
			when 'pg_trigger'::regclass then (select c.relnamespace from pg_trigger g join pg_class c on c.oid = g.tgrelid
				where g.oid = d.objid and not g.tgisinternal)
			when 'pg_policy'::regclass then (select c.relnamespace from pg_policy o join pg_class c on c.oid = o.polrelid
				where o.oid = d.objid)
			when 'pg_proc'::regclass then (select p.pronamespace from pg_proc p where p.oid = d.objid)
			when 'pg_type'::regclass then (select y.typnamespace from pg_type y where y.oid = d.objid)
			when 'pg_foreign_server'::regclass then 0 -- in no schema, and everybody's
			when 'pg_event_trigger'::regclass then 0
			end as nsp, i.home
		from all_inside i
		cross join lateral (select * from pg_depend d where d.refclassid = i.classid and d.refobjid = i.objid offset 0) d
	)
	select distinct pg_describe_object(d.classid, d.objid, d.objsubid)
	from dependent d
	where d.nsp <> d.home and d.nsp <> 'pg_toast'::regnamespace
	order by 1
	limit 5`
