package dropping

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

const (
	// shareOfFree is which part of the free lock table one transaction takes: the
	// rest is for everybody else.
	shareOfFree = 2
	// fewestLocks keeps the work going on a server whose lock table is all but full.
	fewestLocks = 64
)

// Object is something in a schema that can be dropped by itself.
type Object struct {
	Kind  string // "table", as drop wants it
	Name  string // qualified and quoted
	Locks int    // about how many locks its drop takes
}

// Survey is what has to be known of a schema, or of several.
type Survey struct {
	Objects []Object // what can be dropped by itself, the heaviest last
	Most    int      // locks that one transaction may take, 0 = half of those that are free

	free int
}

// Queue adds the questions that answer it.
func (s *Survey) Queue(p *db.Pipeline, schemas ...db.Schema) {
	names := make([]string, len(schemas))
	for i, schema := range schemas {
		names[i] = schema.String()
	}
	p.Query(func(rows pgx.Rows) (err error) {
		s.Objects, err = pgx.CollectRows(rows, scanObject)
		return err
	}, objectsQuery, names)
	p.QueryRow([]any{&s.free}, `
		select current_setting('max_locks_per_transaction')::int
			* (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int)
			- (select count(*)::int from pg_locks where not fastpath)`)
}

// Locks returns about how many locks the drop of everything takes, and how many are free.
func (s *Survey) Locks() (all, free int) {
	for _, o := range s.Objects {
		all += o.Locks
	}
	return all, s.free
}

// First returns what the first transaction drops.
func (s *Survey) First() []Object {
	batch, _ := next(s.Objects, s.lockBudget())
	return batch
}

func (s *Survey) lockBudget() int {
	if s.Most > 0 {
		return s.Most
	}
	return max(fewestLocks, s.free/shareOfFree)
}

// InBatches has drop called with what fits into one transaction, which it commits, until
// one transaction can drop the rest, and the schema. given is what is known of the schema,
// nil for nothing yet.
func InBatches(ctx context.Context, conn *pgx.Conn, schema db.Schema, given *Survey,
	drop func(batch []Object) error) error {
	most, lockBudget := 0, 0
	for s := given; ; s = nil {
		if s == nil {
			var p db.Pipeline
			s = &Survey{Most: most}
			p.OwnTransaction()
			s.Queue(&p, schema)
			if err := p.Run(ctx, conn); err != nil {
				return fmt.Errorf("look at schema %s: %w", schema, db.Plain(err))
			}
		}
		most = s.Most
		if lockBudget == 0 {
			lockBudget = s.lockBudget()
		}
		batch, whole := next(s.Objects, lockBudget)
		if whole {
			return nil
		}
		if err := drop(batch); err != nil {
			if db.SQLState(err) != db.CodeOutOfMemory || len(batch) == 1 {
				return err
			}
			// Others need more of the lock table than they did.
			lockBudget = max(1, lockBudget/2)
		}
	}
}

// next returns the objects whose locks fit into the budget, at least one. whole reports whether
// all do.
func next(objects []Object, lockBudget int) (batch []Object, whole bool) {
	used := 0
	for i, o := range objects {
		used += o.Locks
		if used > lockBudget {
			return objects[:max(i, 1)], len(objects) <= 1
		}
	}
	return objects, true
}

// Queue adds the drops of objects, with what depends on them.
func Queue(p *db.Pipeline, batch []Object) {
	for _, object := range batch {
		p.Exec("drop " + object.Kind + " if exists " + object.Name + " cascade")
	}
}

func scanObject(row pgx.CollectableRow) (Object, error) {
	var schema, name, arguments string
	var o Object
	err := row.Scan(&o.Kind, &schema, &name, &arguments, &o.Locks)
	o.Name = db.Quoted(schema, name) + arguments
	return o, err
}

// objectsQuery lists what can be dropped by itself, the heaviest last. A drop locks
// the relation and everything that goes with it: its two types, its toast table and
// that one's index, indexes, constraints, defaults, triggers, rules, policies, and
// sequences of its columns. What belongs to an extension or to a type (the constructors of
// a range) goes with that, and is refused by itself.
//
// What is in a schema is found by what depends on it: the catalogs of relations and
// functions have no index by schema, and a fleet's are large. offset 0 keeps the
// planner, which may know little of them yet, from reading them whole.
const objectsQuery = `
	with inside as (
		select d.classid, d.objid, n.nspname::text as home from pg_namespace n
		cross join lateral (select * from pg_depend d where d.refclassid = 'pg_namespace'::regclass
			and d.refobjid = n.oid offset 0) d
		where n.nspname = any ($1::text[]::name[])
		  and not exists (select from pg_depend o where o.classid = d.classid and o.objid = d.objid
		  	and o.deptype in ('e', 'i'))
	)
	select case c.relkind when 'v' then 'view' when 'm' then 'materialized view' when 'f' then 'foreign table'
			when 'S' then 'sequence' else 'table' end,
		inside.home, c.relname, '',
		(4 + case when c.reltoastrelid <> 0 then 3 else 0 end
			+ (select count(*) from pg_depend d where d.refclassid = 'pg_class'::regclass and d.refobjid = c.oid
				and d.deptype in ('a', 'i', 'n'))
			+ (select count(*) from pg_constraint k where k.conrelid = c.oid))::int as locks
	from inside
	cross join lateral (select * from pg_class c where c.oid = inside.objid offset 0) c
	where inside.classid = 'pg_class'::regclass and c.relkind in ('r', 'p', 'v', 'm', 'f', 'S') and not c.relispartition
	  and (c.relkind <> 'S' or not exists (select from pg_depend d
		where d.classid = 'pg_class'::regclass and d.objid = c.oid and d.deptype = 'a'))
	union all
	select case p.prokind when 'a' then 'aggregate' when 'p' then 'procedure' else 'function' end,
		inside.home, p.proname, case when p.prokind = 'a'
			and p.pronargs = 0 then '(*)' else '(' || pg_get_function_identity_arguments(p.oid) || ')' end, 2
	from inside
	cross join lateral (select * from pg_proc p where p.oid = inside.objid offset 0) p
	where inside.classid = 'pg_proc'::regclass
	order by 5, 3`
