package backup

import (
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
)

// versionTable is where a schema keeps which migrations were applied to it.
const versionTable = "goose_db_version"

// relation is a table, sequence or materialized view of a schema.
type relation struct {
	OID       int64
	Name      string
	Kind      string // of pg_class: r, p, S or m
	File      *int64 // of its data, as the snapshot sees it
	Populated bool
	Columns   []string // that COPY carries
	Types     []string
	Classes   []string // of the types: pg_type.typcategory
	Large     []string // which may refer to large objects: O, A for an array, or ""
	Bound     *string  // of a partition
	Member    string   // of the extension of this name, "" for none
	Role      string   // as which it is read, "" for the session's own
}

// foreignKey is a foreign key between two tables.
type foreignKey struct {
	Name       string
	From, To   int64 // relations
	Deferrable bool
	Inherited  bool // it belongs to a key of the partitioned table above
}

// trigger is a trigger that is not switched off.
type trigger struct {
	Table, Name string
	State       string // of pg_trigger.tgenabled
}

// structure is what has to be known of a schema to read or to fill it.
type structure struct {
	relations []relation
	keys      []foreignKey
	parts     [][2]int64 // parent and child
	triggers  []trigger
}

// The relations of a schema are found through pg_depend, whose index leads to
// them: pg_class has none that begins with the schema, so looking there costs as
// much as the whole fleet is large. Of public only some tables are meant, by name,
// and the sequences that belong to them.
const (
	ofSchema = `with relation as materialized (
		select c.* from pg_catalog.pg_depend d join pg_catalog.pg_class c on c.oid = d.objid
		where d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass
			and d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass
		  and d.refobjid = (select oid from pg_catalog.pg_namespace where nspname = $1)
		  and c.relkind in ('r', 'p', 'S', 'm') and c.relname <> '` + db.UndoTable + `' and $2::pg_catalog.text[] is null) `
	ofNames = `with relation as materialized (
		select c.* from pg_catalog.pg_class c
		where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1)
			and c.relname = any ($2::pg_catalog.text[])
		  and c.relkind = 'r'
		union all
		select s.* from pg_catalog.pg_class c
		join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.refobjid = c.oid
			and d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass and d.deptype in ('a', 'i')
		join pg_catalog.pg_class s on s.oid = d.objid and s.relkind = 'S'
		where c.relnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1)
			and c.relname = any ($2::pg_catalog.text[])
		  and c.relkind = 'r') `
)

// typeName is the name of the type of the attribute a, which is t. The schema's own types
// stand without it, as they would with the schema on the path: data goes from one
// schema to another.
const typeName = `case when t.typnamespace = (select oid from pg_catalog.pg_namespace where nspname = $1)
					and not exists (select from pg_catalog.pg_type o where o.typname = t.typname
						and o.typnamespace = 'pg_catalog'::pg_catalog.regnamespace)
					then pg_catalog.substr(pg_catalog.format_type(a.atttypid, a.atttypmod),
						pg_catalog.length(pg_catalog.quote_ident($1)) + 2)
					else pg_catalog.format_type(a.atttypid, a.atttypmod) end`

// queue adds the queries that read the structure of a schema; names, if any, are
// the only relations meant.
func (s *structure) queue(p *db.Pipeline, schema db.Schema, names []string) {
	from := ofSchema
	if names != nil {
		from = ofNames
	}
	p.Query(collect(&s.relations), from+`select c.oid::int8, c.relname::text, c.relkind::text, nullif(c.relfilenode::int8,
		0), c.relispopulated,
			coalesce(a.names, '{}'), coalesce(a.types, '{}'), coalesce(a.classes, '{}'), coalesce(a.large, '{}'),
			case when c.relispartition then pg_catalog.pg_get_expr(c.relpartbound, c.oid) end,
			coalesce((select e.extname::pg_catalog.text from pg_catalog.pg_depend x
				join pg_catalog.pg_extension e on e.oid operator(pg_catalog.=) x.refobjid
				where x.classid operator(pg_catalog.=) 'pg_catalog.pg_class'::pg_catalog.regclass
					and x.objid operator(pg_catalog.=) c.oid
				  and x.refclassid operator(pg_catalog.=) 'pg_catalog.pg_extension'::pg_catalog.regclass
				  	and x.deptype operator(pg_catalog.=) 'e'), ''),
			`+owner.Reader("c.oid", "c.relowner", "c.relnamespace")+`
		from relation c left join lateral (
			select array_agg(a.attname::text order by a.attnum) as names,
				array_agg(`+typeName+` order by a.attnum) as types,
				array_agg(t.typcategory::text order by a.attnum) as classes,
				array_agg(case 'pg_catalog.oid'::pg_catalog.regtype when t.oid then 'O' when t.typbasetype then 'O'
					when t.typelem then 'A' else '' end
					order by a.attnum) as large
			from pg_catalog.pg_attribute a join pg_catalog.pg_type t on t.oid = a.atttypid
			where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
				and c.relkind in ('r', 'p')) a on true
		order by c.relname collate "C"`, schema.String(), names)
	p.Query(collect(&s.keys), from+`select k.conname::text, k.conrelid::int8, k.confrelid::int8, k.condeferrable,
		k.conparentid <> 0
		from relation c join pg_catalog.pg_constraint k on k.conrelid = c.oid where k.contype = 'f'
			order by k.conname collate "C"`, schema.String(), names)
	p.Query(func(rows pgx.Rows) (err error) {
		s.parts, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (pair [2]int64, err error) {
			return pair, row.Scan(&pair[0], &pair[1])
		})
		return err
	}, from+`select i.inhparent::int8, i.inhrelid::int8 from relation c
		join pg_catalog.pg_inherits i on i.inhrelid = c.oid`, schema.String(), names)
	p.Query(collect(&s.triggers), from+`select c.relname::text, t.tgname::text, t.tgenabled::text
		from relation c join pg_catalog.pg_trigger t on t.tgrelid = c.oid
		where not t.tgisinternal and t.tgenabled <> 'D' order by t.oid`, schema.String(), names)
}

// collect returns a function that reads all rows into a slice of structs, by the
// position of their fields.
func collect[T any](into *[]T) func(pgx.Rows) error {
	return func(rows pgx.Rows) (err error) {
		*into, err = pgx.CollectRows(rows, pgx.RowToStructByPos[T])
		return err
	}
}

// of returns the relations of a kind.
func (s *structure) of(kind string) []relation {
	var out []relation
	for _, r := range s.relations {
		if r.Kind == kind {
			out = append(out, r)
		}
	}
	return out
}

// table returns the table of a name.
func (s *structure) table(name string) (relation, bool) {
	for _, r := range s.relations {
		if r.Kind == "r" && r.Name == name {
			return r, true
		}
	}
	return relation{}, false
}

// leaves returns the tables that hold the data of a relation: itself, or the
// partitions below it.
func (s *structure) leaves(oid int64) []int64 {
	out := []int64{}
	partitioned := slices.ContainsFunc(s.relations, func(r relation) bool { return r.OID == oid && r.Kind == "p" })
	if !partitioned {
		return append(out, oid)
	}
	for _, p := range s.parts {
		if p[0] == oid {
			out = append(out, s.leaves(p[1])...)
		}
	}
	return out
}

// inLoadOrder returns the tables so that each comes after those its foreign keys
// refer to, by name where that leaves a choice. Keys that can be deferred do not
// count. Where keys go in a circle its tables come by name, and the keys have to be
// made deferrable for the load.
func (s *structure) inLoadOrder() []relation {
	tables := s.of("r")
	waits := make(map[int64]map[int64]bool, len(tables)) // table -> those before it
	for _, k := range s.keys {
		if k.Deferrable {
			continue
		}
		for _, from := range s.leaves(k.From) {
			for _, to := range s.leaves(k.To) {
				if from == to {
					continue
				}
				if waits[from] == nil {
					waits[from] = make(map[int64]bool)
				}
				waits[from][to] = true
			}
		}
	}
	placed := make(map[int64]bool, len(tables))
	var out []relation
	for len(tables) > 0 {
		at := slices.IndexFunc(tables, func(r relation) bool {
			for before := range waits[r.OID] {
				if !placed[before] && slices.ContainsFunc(tables, func(t relation) bool { return t.OID == before }) {
					return false
				}
			}
			return true
		})
		at = max(at, 0) // a circle
		placed[tables[at].OID] = true
		out = append(out, tables[at])
		tables = slices.Delete(tables, at, at+1)
	}
	return out
}

// root returns the partitioned table that a relation is a part of, at the top, and the
// bounds on the way there. It is "" for one that is no partition.
func (s *structure) root(oid int64) (name, bound string) {
	for {
		at := slices.IndexFunc(s.relations, func(r relation) bool { return r.OID == oid })
		if at < 0 || s.relations[at].Bound == nil {
			return name, bound
		}
		up := slices.IndexFunc(s.parts, func(p [2]int64) bool { return p[1] == oid })
		if up < 0 {
			return name, bound
		}
		above := *s.relations[at].Bound
		oid = s.parts[up][0]
		name = s.name(oid)
		bound = name + " " + above + "; " + bound
	}
}

// members takes out what belongs to extensions, and returns it in words.
func (s *structure) members() (out []string) {
	s.relations = slices.DeleteFunc(s.relations, func(r relation) bool {
		if r.Member != "" && r.Kind != "S" {
			out = append(out, "rows of "+r.Name+", which belongs to extension "+r.Member)
		}
		return r.Member != ""
	})
	return out
}

// conflicting returns the foreign keys that fail while the tables are filled in the given
// order, although they hold once all tables are filled. Rows of the tables in loose may
// go into any partition.
func (s *structure) conflicting(order []string, loose map[string]bool) []foreignKey {
	position := make(map[int64]int, len(order))
	for _, r := range s.relations {
		if r.Kind == "r" {
			position[r.OID] = slices.Index(order, r.Name)
		}
	}
	var out []foreignKey
	for _, k := range s.keys {
		if k.Deferrable || k.Inherited {
			continue
		}
		if loose[s.name(k.From)] || loose[s.name(k.To)] || slices.ContainsFunc(s.leaves(k.From), func(from int64) bool {
			return slices.ContainsFunc(s.leaves(k.To), func(to int64) bool {
				return from != to && position[from] < position[to]
			})
		}) {
			out = append(out, k)
		}
	}
	return out
}

// name returns the name of a relation.
func (s *structure) name(oid int64) string {
	for _, r := range s.relations {
		if r.OID == oid {
			return r.Name
		}
	}
	return ""
}

// qualified returns an object's name with its schema, as an SQL identifier.
func qualified(schema db.Schema, name string) string {
	return pgx.Identifier{schema.String(), name}.Sanitize()
}
