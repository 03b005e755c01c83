package tablespace

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Relation is a table, an index or a materialized view that has files, or says where those of
// its partitions are made.
type Relation struct {
	Name       string
	Kind       string // "table", "index", "materialized view"
	Tablespace string // where it stands
	Usual      bool   // that is where the database makes what does not say otherwise
	Bytes      int64  // of a table with its TOAST
	Divided    bool   // it has no files, but partitions
	// Role is as which it is moved, "" for the session's own. Owner is whose it is, where
	// neither may move it.
	Role, Owner string
}

// Elsewhere returns the relations of a schema that do not stand in a tablespace, the smallest
// first, and how many sequences, which the server cannot move. It waits for no lock longer
// than ctx says (db.Reading).
func Elsewhere(ctx context.Context, q db.Querier, schema db.Schema, name string) (found []Relation, sequences int,
	err error) {
	all, err := db.Select(ctx, q, pgx.RowToStructByPos[Relation], `
		with home as materialized (
			select s.oid, d.dattablespace, case when s.oid = d.dattablespace then 0 else s.oid end as kept
			from pg_tablespace s, pg_database d where s.spcname = $2::text::name and d.datname = current_database()
		), named as materialized (
			select c.* from pg_depend d join pg_class c on c.oid = d.objid
			where d.refclassid = 'pg_namespace'::regclass and d.classid = 'pg_class'::regclass and d.refobjid = (
				select n.oid from pg_namespace n where n.nspname = $1::text::name)
		), relation as materialized (
			select c.* from named c where c.relkind in ('r', 'p', 'm', 'S')
			union all
			select x.* from named c join pg_index i on i.indrelid = c.oid join pg_class x on x.oid = i.indexrelid
		)
		select r.relname::text, case r.relkind when 'm' then 'materialized view' when 'i' then 'index' when 'I' then 'index'
				when 'S' then 'sequence' else 'table' end,
			(select s.spcname::text from pg_tablespace s where s.oid = case r.reltablespace when 0 then h.dattablespace
				else r.reltablespace end),
			r.reltablespace = 0,
			case when r.relkind in ('r', 'm') then pg_table_size(r.oid) when r.relkind = 'i' then pg_relation_size(r.oid)
				else 0 end,
			r.relkind in ('p', 'I'),
			case when not (pg_has_role(r.relowner, 'usage') and m.creates) and o.takes
				then pg_get_userbyid(r.relowner)::text else '' end,
			case when not (pg_has_role(r.relowner, 'usage') and m.creates) and not o.takes
				then pg_get_userbyid(r.relowner)::text else '' end
		from relation r, home h
		cross join lateral (select h.kept = 0 or has_tablespace_privilege(h.oid, 'create') as creates) m
		cross join lateral (select pg_has_role(session_user, r.relowner,
			case when current_setting('server_version_num')::int4 >= 160000 then 'set' else 'member' end)
			and (h.kept = 0 or has_tablespace_privilege(r.relowner, h.oid, 'create')) as takes) o
		where r.reltablespace <> h.kept and r.relpersistence <> 't'
		order by 5, 1`, schema.String(), name)
	if err != nil {
		return nil, 0, fmt.Errorf("look where the tables of schema %s stand: %w", schema, err)
	}
	for _, r := range all {
		if r.Kind == "sequence" {
			sequences++
		} else {
			found = append(found, r)
		}
	}
	return found, sequences, nil
}

// QueueMove adds to a transaction that a relation goes to a tablespace. A table takes its TOAST
// along, and leaves its indexes.
func QueueMove(p *db.Pipeline, schema db.Schema, r Relation, name string) {
	p.Become(r.Role)
	p.Exec("alter " + r.Kind + " " + db.Quoted(schema.String(), r.Name) + " set tablespace " + db.Quoted(name))
	if r.Role != "" {
		p.Return()
	}
}

// ForeignError says that a relation belongs to a role that the session's may not take.
type ForeignError struct{ Relation, Owner string }

// Error says whose it is.
func (e *ForeignError) Error() string {
	return fmt.Sprintf("%q belongs to role %q, which the session's may not take", e.Relation, e.Owner)
}

// Refuse returns a *ForeignError for the first relation that the session may not move.
func Refuse(all []Relation) error {
	for _, r := range all {
		if r.Owner != "" {
			return &ForeignError{Relation: r.Name, Owner: r.Owner}
		}
	}
	return nil
}
