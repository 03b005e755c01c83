package outside

import (
	"context"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// touched is what the statistics of this session say of a table outside the schema.
type touched struct {
	Name    string
	Read    int64
	Changed int64
}

// ask runs a query within the transaction that runs the migrations, on PostgreSQL's own
// names. The path stays so.
func ask[T any](ctx context.Context, q db.Querier, to pgx.RowToFunc[T], sql string, args ...any) (out []T, err error) {
	var p db.Pipeline
	p.OwnPath()
	p.Query(func(rows pgx.Rows) (err error) {
		out, err = pgx.CollectRows(rows, to)
		return err
	}, sql, args...)
	return out, p.Run(ctx, q)
}

// Counts are tables outside a schema by name.
type Counts map[string]touched

// ofNoSchema returns the system's tables about what belongs to no schema.
func ofNoSchema() []string {
	return []string{
		"pg_authid", "pg_auth_members", "pg_database", "pg_db_role_setting", "pg_tablespace",
		"pg_extension", "pg_foreign_server", "pg_foreign_data_wrapper", "pg_user_mapping",
		"pg_event_trigger", "pg_publication", "pg_publication_rel", "pg_publication_namespace",
		"pg_subscription", "pg_language", "pg_cast", "pg_transform", "pg_am", "pg_largeobject",
		"pg_largeobject_metadata", "pg_shdescription", "pg_shseclabel", "pg_seclabel",
		"pg_parameter_acl",
	}
}

// Count returns the tables outside a schema that this transaction has locked and this
// session has read or changed, as counted since the counters were last sent off. That does
// not happen within a transaction, so two counts in one transaction tell what happened
// between them, and at the worst too much: of a table that is locked in between, what the
// session did a moment before. Of the system's tables only those that belong to no schema
// are counted.
func Count(ctx context.Context, q db.Querier, schema db.Schema) (counts Counts, err error) {
	var p db.Pipeline
	p.OwnPath()
	QueueCount(&p, schema, &counts)
	return counts, p.Run(ctx, q)
}

// QueueCount adds Count to a pipeline on PostgreSQL's own path.
func QueueCount(p *db.Pipeline, schema db.Schema, counts *Counts) {
	p.Query(func(rows pgx.Rows) error {
		list, err := pgx.CollectRows(rows, pgx.RowToStructByName[touched])
		*counts = make(Counts, len(list))
		for _, t := range list {
			(*counts)[t.Name] = t
		}
		return err
	}, `
		with locked as materialized (
			-- Who reads or changes a table keeps a lock on it to the end of the transaction, but
			-- for the system's own, and the C code of extensions at theirs.
			select l.relation as oid from pg_catalog.pg_locks l
			where l.pid = pg_catalog.pg_backend_pid() and l.locktype = 'relation'
			union
			select c.oid from pg_catalog.pg_class c
			where c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace
				and c.relname = any ($2::pg_catalog.text[]::pg_catalog.name[])
			union
			select d.objid from pg_catalog.pg_depend d where d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
				and d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.deptype = 'e'
		), used as materialized (
			select coalesce((select i.indrelid from pg_catalog.pg_index i where i.indexrelid = c.oid), c.oid) as oid,
				pg_catalog.pg_stat_get_xact_numscans(c.oid) as scans, case when c.relkind = 'i' then 0 else
					pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) + pg_catalog.pg_stat_get_xact_tuples_updated(c.oid)
					+ pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) end as changed
			from pg_catalog.pg_class c
			where c.oid in (select oid from locked union
					select i.indexrelid from pg_catalog.pg_index i join locked on locked.oid = i.indrelid)
				and c.relkind in ('r', 'p', 't', 'm', 'i') and (pg_catalog.pg_stat_get_xact_numscans(c.oid) > 0
				or pg_catalog.pg_stat_get_xact_tuples_inserted(c.oid) > 0
				or pg_catalog.pg_stat_get_xact_tuples_updated(c.oid) > 0
				or pg_catalog.pg_stat_get_xact_tuples_deleted(c.oid) > 0)
		)
		select pg_catalog.format('%I.%I', n.nspname, c.relname) as name,
			case when n.nspname = 'pg_catalog' then 0 else pg_catalog.sum(u.scans) end::bigint as read,
			pg_catalog.sum(u.changed)::bigint as changed
		from used u join pg_catalog.pg_class c on c.oid = u.oid
		join pg_catalog.pg_namespace n on n.oid = c.relnamespace
		where n.nspname <> $1 and n.nspname !~ '^pg_(toast|temp)' and n.nspname <> 'information_schema'
		  and (n.nspname <> 'pg_catalog' or c.relname = any ($2::pg_catalog.text[]::pg_catalog.name[]))
		group by n.nspname, c.relname`,
		schema.String(), ofNoSchema())
}

// made returns an object outside a schema that the transaction has made or altered,
// "" for none. A row that can be seen and whose transaction is still in progress
// can only be our own.
const made = `
	with fresh as materialized (
		select 'schema' as what, nspname::text as name, oid as namespace, 0::oid as relation, xmin
		from pg_catalog.pg_namespace where pg_catalog.age(xmin) <= 0
		union all
		select 'relation', relname::text, relnamespace, oid, xmin from pg_catalog.pg_class
		where pg_catalog.age(xmin) <= 0
		union all
		select 'function', proname::text, pronamespace, 0::oid, xmin from pg_catalog.pg_proc
		where pg_catalog.age(xmin) <= 0
		union all
		select 'type', typname::text, typnamespace, 0::oid, xmin from pg_catalog.pg_type
		where pg_catalog.age(xmin) <= 0 and typcategory <> 'A'
		union all
		select 'default privileges', null, defaclnamespace, 0::oid, xmin from pg_catalog.pg_default_acl
		where pg_catalog.age(xmin) <= 0
	)
	select coalesce((
		select o.what || ' ' || case o.what when 'schema' then o.name
			when 'default privileges' then '' else pg_catalog.format('%I.%I', n.nspname, o.name) end
		from fresh o left join pg_catalog.pg_namespace n on n.oid = o.namespace
		where coalesce(n.nspname, '') <> $1 and coalesce(n.nspname, '') !~ '^pg_(toast|temp)'
		  and pg_catalog.pg_xact_status((pg_catalog.pg_current_xact_id()::text::bigint - pg_catalog.age(o.xmin))::text::xid8)
		  	= 'in progress'
		  -- A foreign key only marks the table it refers to. Without the offset the columns of all
		  -- tables are looked at, where the server's statistics suggest it.
		  and (o.relation = 0 or exists (select from pg_catalog.pg_attribute a
			where a.attrelid = o.relation and pg_catalog.age(a.xmin) <= 0
			  and pg_catalog.pg_xact_status((pg_catalog.pg_current_xact_id()::text::bigint -
			  	pg_catalog.age(a.xmin))::text::xid8) = 'in progress'
			offset 0))
		order by 1 limit 1
	), '') as object, pg_catalog.current_setting('track_counts') as counts`

// Done is what a transaction has done outside a schema.
type Done struct {
	Made    string // an object that it has made or altered, "" for none
	Changed string // a table whose rows it has changed
	Read    string // a table whose rows it has read
	// Unknown tells that nobody counts rows here.
	Unknown bool
}

// Inspection looks at what a transaction has done outside a schema since a first count.
type Inspection struct {
	Schema db.Schema
	Before Counts

	after Counts
	done  Done
}

// Queue adds the look to a pipeline on PostgreSQL's own path.
func (i *Inspection) Queue(p *db.Pipeline) {
	p.Query(func(rows pgx.Rows) error {
		type answer struct{ Object, Counts string }
		found, err := pgx.CollectExactlyOneRow(rows, pgx.RowToStructByName[answer])
		i.done.Made, i.done.Unknown = strings.TrimSpace(found.Object), found.Counts != "on"
		return err
	}, made, i.Schema.String())
	QueueCount(p, i.Schema, &i.after)
}

// Done returns what was found by a pipeline that has run. The transaction must still be
// under way.
func (i *Inspection) Done(ctx context.Context, q db.Querier) (Done, error) {
	done := i.done
	if done.Made != "" || done.Unknown {
		return done, nil
	}
	var read []string
	for name, t := range i.after {
		switch b := i.Before[name]; {
		case t.Changed > b.Changed && (done.Changed == "" || name < done.Changed):
			done.Changed = name
		case t.Read > b.Read:
			read = append(read, name)
		}
	}
	if len(read) == 0 {
		return done, nil
	}
	// To make a foreign key, the table it refers to is read.
	referred, err := ask(ctx, q, pgx.RowTo[string], `select distinct pg_catalog.format('%I.%I', n.nspname, c.relname)
		from pg_catalog.pg_constraint k join pg_catalog.pg_namespace own on own.oid = k.connamespace
		join pg_catalog.pg_class c on c.oid = k.confrelid join pg_catalog.pg_namespace n on n.oid = c.relnamespace
		where own.nspname operator(pg_catalog.=) $1 and k.contype operator(pg_catalog.=) 'f'`, i.Schema.String())
	for _, name := range read {
		if !slices.Contains(referred, name) && (done.Read == "" || name < done.Read) {
			done.Read = name
		}
	}
	return done, err
}

// Inspect is an Inspection in a round trip of its own. The path stays PostgreSQL's own.
func Inspect(ctx context.Context, q db.Querier, schema db.Schema, before Counts) (Done, error) {
	i := Inspection{Schema: schema, Before: before}
	var p db.Pipeline
	p.OwnPath()
	i.Queue(&p)
	if err := p.Run(ctx, q); err != nil {
		return Done{}, err
	}
	return i.Done(ctx, q)
}
