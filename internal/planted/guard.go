package planted

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Guard keeps the transactions of a fleet run from writing where code is planted,
// without a round trip of its own. It is safe for concurrent use once it is
// prepared; nil trusts nobody but the roles that could act as the session's.
//
// Prepare looks at all tenants at once, and finds out where a role that is not
// trusted could plant something later: where it owns anything, or may create in the
// schema or make triggers. Nowhere, in most fleets, and then nothing is asked again.
// Elsewhere each transaction begins with a statement that fails on the server, so
// that nothing behind it in the pipeline runs. What is planted between that
// statement and those behind it, within the same message to the server, is not seen.
type Guard struct {
	Trusted []string // roles whose code may run

	roles []uint32            // all that are trusted, once prepared
	found map[string][]Object // by schema

	mu    sync.Mutex
	level map[string]level // by schema
}

// level is what a transaction asks about a schema.
type level int

const (
	deep  level = iota // the whole look
	quick              // whether anything there is of a role that is not trusted
	none               // nobody can plant there
)

// Prepare looks at the schemas of a run. A guard that is not prepared takes the
// whole look everywhere.
func (g *Guard) Prepare(ctx context.Context, q db.Querier, schemas []db.Schema) error {
	roles, err := db.Select(ctx, q, pgx.RowTo[uint32], `with `+me+` select r.oid from pg_roles r where not (`+
		expand("{untrusted r.oid}", strings.ReplaceAll(untrusted, "$2", "$1"))+`)`, g.trusted())
	if err != nil {
		return fmt.Errorf("read who is trusted: %w", err)
	}
	g.roles = roles
	type exposed struct {
		Schema  *string // nil for the database
		Foreign bool
	}
	rows, err := db.Select(ctx, q, pgx.RowToStructByName[exposed],
		expand(others.ReplaceAllString(exposedSQL, other), `%[1]s <> all ($2::oid[])`), names(schemas), g.roles)
	if err != nil {
		return fmt.Errorf("read who may create: %w", err)
	}
	var found map[string][]Object
	if slices.ContainsFunc(rows, func(r exposed) bool { return r.Foreign }) {
		if found, err = Find(ctx, q, schemas, g.Trusted); err != nil {
			return err
		}
	}
	g.found, g.level = found, make(map[string]level, len(schemas))
	for _, s := range schemas {
		g.level[s.String()] = none
	}
	for _, r := range rows {
		switch {
		case r.Schema == nil:
		case r.Foreign:
			g.level[*r.Schema] = deep
		default:
			g.level[*r.Schema] = quick
		}
	}
	return nil
}

// Refuse returns an *Error where Prepare has found planted code.
func (g *Guard) Refuse(s db.Schema) error {
	if g == nil {
		return nil
	}
	return Refuse(s, g.found[s.String()])
}

// other is true of each role but the session's and those that may do anything. The database's
// owner, who is the only member of pg_database_owner, is asked about by his name.
const other = `$1 <> all (array(select r.oid from pg_roles r where r.rolsuper
	or r.rolname in (current_user, 'pg_database_owner')))`

var others = regexp.MustCompile(`\{other ([a-z.]+)\}`)

// exposedSQL returns the schemas of $1 in which roles other than $2 own something, or
// may create, or make triggers and foreign keys, and whether they own a relation. A row
// without a schema tells whether such roles have anything at all in the database that could
// be planted: functions, types that have any, tables below those of others, foreign keys.
// Each catalog is read once, the large one of columns only where somebody could use a grant
// on one: a foreign key wants a table of one's own.
const exposedSQL = `
	with odd as materialized (
		select c.oid, c.relnamespace, c.relkind, c.relowner, c.relacl from pg_class c
		where {untrusted c.relowner} or {other c.relowner} or c.relacl is not null
	), makers as materialized (
		select exists (select from odd c where {other c.relowner})
			or exists (select from pg_namespace n where {other n.nspowner}
				or exists (select from aclexplode(n.nspacl) a where a.privilege_type = 'CREATE' and {other a.grantee}))
			or exists (select from pg_database d where d.datname = current_database() and ({other d.datdba}
				or exists (select from aclexplode(d.datacl) a where a.privilege_type = 'CREATE' and {other a.grantee})))
			as there
	), wanted as materialized (
		select n.* from pg_namespace n where n.nspname = any ($1::text[]::name[])
	), relation as materialized (
		select c.oid, c.relnamespace as nsp, c.relkind from odd c where {untrusted c.relowner}
	), code as materialized (
		select f.pronamespace as nsp from pg_proc f where {untrusted f.proowner}
	), type as materialized (
		select t.typnamespace as nsp, t.typtype in ('b', 'd', 'r') and t.typelem = 0 as base from pg_type t
		where {untrusted t.typowner}
	), key as materialized (
		select k.conrelid, k.confrelid from pg_constraint k join relation r on r.oid = k.conrelid where k.contype = 'f'
		union
		select k.conrelid, k.confrelid from pg_constraint k join relation r on r.oid = k.confrelid where k.contype = 'f'
	), child as materialized (
		select p.relnamespace as nsp, r.relkind from pg_inherits i join relation r on r.oid = i.inhrelid
		join pg_class p on p.oid = i.inhparent
	), foreign_relation as materialized (
		select r.nsp from relation r where r.nsp in (select oid from wanted)
		union
		select c.relnamespace from key k cross join lateral (values (k.conrelid), (k.confrelid)) x (oid)
			join pg_class c on c.oid = x.oid
		union
		select c.nsp from child c where c.relkind in ('r', 'p', 'f')
	)
	select null as schema, exists (select from code) or exists (select from type t where t.base)
		or exists (select from key) or exists (select from child c where c.relkind <> 'i') as foreign
	union all
	select w.nspname::text, exists (select from foreign_relation f where f.nsp = w.oid) from wanted w
	where {untrusted w.nspowner} or w.oid in (
		select f.nsp from foreign_relation f
		union all select f.nsp from code f
		union all select o.oprnamespace from pg_operator o where {untrusted o.oprowner}
		union all select t.nsp from type t
		union all select c.relnamespace from odd c cross join aclexplode(c.relacl) a
			where c.relacl is not null and a.privilege_type in ('TRIGGER', 'REFERENCES') and {untrusted a.grantee}
		union all select c.relnamespace from pg_attribute t join pg_class c on c.oid = t.attrelid
			cross join aclexplode(t.attacl) a
			where (select m.there from makers m) and t.attnum > 0 and t.attacl is not null
				and a.privilege_type = 'REFERENCES' and {untrusted a.grantee})
	  or exists (select from pg_default_acl d cross join aclexplode(d.defaclacl) a where d.defaclobjtype = 'r'
	    and d.defaclnamespace in (0, w.oid)
			and a.privilege_type in ('TRIGGER', 'REFERENCES') and a.grantee <> d.defaclrole and {untrusted a.grantee})
	  or exists (select from aclexplode(w.nspacl) a where a.privilege_type = 'CREATE' and {untrusted a.grantee})`

// quickSQL fails where something in the schema $1 is of a role that is not one of $2,
// or a trigger has a condition, which anybody may have written who may make triggers.
// It is planned again for each tenant, so it joins as little as it can.
var quickSQL = sync.OnceValue(func() string { //nolint:gochecknoglobals // never changed
	return qualified(`select 1 operator(pg_catalog./) (not exists (
	select from pg_catalog.pg_namespace n
	join pg_catalog.pg_depend d on d.refclassid = 'pg_catalog.pg_namespace'::pg_catalog.regclass and d.refobjid = n.oid
	where n.nspname = $1::pg_catalog.text::pg_catalog.name and (
		n.nspowner <> all ($2::pg_catalog.oid[])
		or case
			when d.classid = 'pg_catalog.pg_class'::pg_catalog.regclass then
				(select c.relowner from pg_catalog.pg_class c where c.oid = d.objid) <> all ($2::pg_catalog.oid[])
				or exists (select from pg_catalog.pg_trigger g where g.tgrelid = d.objid and (g.tgqual is not null
					or (select f.proowner from pg_catalog.pg_proc f where f.oid = g.tgfoid) <> all ($2::pg_catalog.oid[])))
			when d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass then
				(select f.proowner from pg_catalog.pg_proc f where f.oid = d.objid) <> all ($2::pg_catalog.oid[])
			when d.classid = 'pg_catalog.pg_operator'::pg_catalog.regclass then
				(select o.oprowner from pg_catalog.pg_operator o where o.oid = d.objid) <> all ($2::pg_catalog.oid[])
			when d.classid = 'pg_catalog.pg_type'::pg_catalog.regclass then
				(select t.typowner from pg_catalog.pg_type t where t.oid = d.objid) <> all ($2::pg_catalog.oid[])
			else false
		end)))::pg_catalog.int4`)
})

// qualified spells out {untrusted ROLE}, and writes the operators as pg_catalog's.
func qualified(sql string) string {
	const member = `(select case when pg_catalog.current_setting('server_version_num')::pg_catalog.int4 >= 160000 then
		'set' else 'member' end)`
	const chosen = `(select not exists (select from pg_catalog.pg_db_role_setting s where s.setrole = 0::pg_catalog.oid
		and exists (select from pg_catalog.unnest(s.setconfig) c where pg_catalog.starts_with(c, 'role='))))`
	const condition = `not coalesce(pg_catalog.pg_has_role(%[1]s, session_user, ` + member + `) or ` + chosen +
		` and pg_catalog.pg_has_role(%[1]s, current_user, ` + member + `)
		or pg_catalog.pg_get_userbyid(%[1]s) = any ($2::pg_catalog.text[]::pg_catalog.name[]), true)`
	return strings.NewReplacer(" = ", " operator(pg_catalog.=) ", " <> ", " operator(pg_catalog.<>) ", " >= ",
		" operator(pg_catalog.>=) ", " > ", " operator(pg_catalog.>) ").
		Replace(expand(sql, condition))
}

// Queue adds the statement to a pipeline that has begun a transaction, or set up a
// session, in s; it must come before another role is taken. Its error is ErrSuspect.
// table is the one that the pipeline writes to first, "" where nobody knows.
func (g *Guard) Queue(p *db.Pipeline, s db.Schema, table string) {
	switch g.levelOf(s) {
	case none:
	case quick:
		p.Query(readSuspect, quickSQL(), s.String(), g.roles)
	case deep:
		if table != "" {
			p.Apart("lock table " + pgx.Identifier{s.String(), table}.Sanitize() + " in row exclusive mode")
		}
		useCatalogPath(p)
		p.Query(readSuspect, "select 1 / (not exists ("+find()+"))::int4", []string{s.String()}, g.trusted())
		restoreSettings(p)
	}
}

// Idle reports whether Queue asks nothing about a schema, and Prepare has found nothing
// there.
func (g *Guard) Idle(s db.Schema) bool { return g.levelOf(s) == none && g.Refuse(s) == nil }

func (g *Guard) levelOf(s db.Schema) level {
	if g == nil {
		return deep
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.level[s.String()]
}

func (g *Guard) trusted() []string {
	if g == nil || g.Trusted == nil {
		return []string{}
	}
	return g.Trusted
}

// readSuspect turns the failure of a guard into ErrSuspect.
func readSuspect(rows pgx.Rows) error {
	rows.Close()
	if db.SQLState(rows.Err()) == db.CodeDivisionByZero {
		return ErrSuspect
	}
	return rows.Err()
}

// Clear looks closely at a schema after ErrSuspect. It returns an *Error where
// there is planted code, and nil where the work may be tried again. q must not be in
// a transaction.
func (g *Guard) Clear(ctx context.Context, q db.Querier, s db.Schema) error {
	found, err := Find(ctx, q, []db.Schema{s}, g.trusted())
	if err != nil {
		return err
	}
	if g != nil {
		g.mu.Lock()
		defer g.mu.Unlock()
		if g.level != nil {
			g.level[s.String()] = deep
		}
	}
	return Refuse(s, found[s.String()])
}

// Check looks at a schema, within the caller's transaction if there is one, unless
// Prepare has found that nobody can plant anything there. It must come before the
// transaction takes another role.
func (g *Guard) Check(ctx context.Context, q db.Querier, s db.Schema) error {
	if g.levelOf(s) == none {
		return g.Refuse(s)
	}
	var p db.Pipeline
	var objects []Object
	Queue(&p, s, g.trusted(), &objects)
	if err := p.Run(ctx, q); err != nil {
		return fmt.Errorf("look for planted code: %w", err)
	}
	return Refuse(s, objects)
}

// Suspect reports whether err is that of a guard.
func Suspect(err error) bool { return errors.Is(err, ErrSuspect) }

// ErrNotPlain says that reading a table could run the code of a role that is not
// trusted.
var ErrNotPlain = errors.New("is no ordinary table, or has columns or indexes that run code")

// Table is a table to be read.
type Table struct {
	Schema, Name string
	Columns      []string // none = all
	Sequence     bool     // it is a sequence, which cannot be locked
}

// QueueRead adds to a transaction what makes it safe to read tables that others may
// replace: it locks them and fails with ErrNotPlain unless each is an ordinary
// table or, where it belongs to a role that could not act as the session's, one
// whose columns are of PostgreSQL's own types, without children and without indexes
// or statistics on expressions: the planner would evaluate these.
func QueueRead(p *db.Pipeline, tables []Table) { QueueReadAs(p, tables, "") }

// QueueReadAs is QueueRead for tables that the session's role may not read: they are
// locked as another role. What is looked at is looked at as the session's.
func QueueReadAs(p *db.Pipeline, tables []Table, role string) { queueRead(p, tables, role, false) }

// QueueReadLooked is QueueReadAs for tables of the schema that are not plain, such as one
// with an index of an expression: what is planted there is looked for, with the tables locked,
// and put into objects, which Refuse judges. Nothing may be read in the same pipeline. Tables
// they still must be.
func QueueReadLooked(p *db.Pipeline, s db.Schema, tables []Table, role string, trusted []string, objects *[]Object) {
	queueRead(p, tables, role, true)
	Queue(p, s, trusted, objects)
}

// QueueHeld is QueueRead for tables that the transaction has locked already.
func QueueHeld(p *db.Pipeline, tables []Table) { queuePlain(p, tables, false) }

func queueRead(p *db.Pipeline, tables []Table, role string, looked bool) {
	var locks []string
	for _, t := range tables {
		if !t.Sequence {
			locks = append(locks, pgx.Identifier{t.Schema, t.Name}.Sanitize())
		}
	}
	if len(locks) > 0 {
		p.Become(role)
		p.LockToRead(locks...)
		if role != "" {
			p.Return()
		}
	}
	queuePlain(p, tables, looked)
}

// queuePlain adds what fails with ErrNotPlain.
func queuePlain(p *db.Pipeline, tables []Table, looked bool) {
	var schemas, names, columns, kinds []string
	for _, t := range tables {
		kind := "S"
		if !t.Sequence {
			kind = "r"
		}
		if len(t.Columns) == 0 {
			t.Columns = []string{""}
		}
		for _, c := range t.Columns {
			schemas, names, columns, kinds = append(schemas, t.Schema), append(names, t.Name), append(columns, c),
				append(kinds, kind)
		}
	}
	if len(names) == 0 {
		return
	}
	p.Query(func(rows pgx.Rows) error {
		rows.Close()
		if err := rows.Err(); db.SQLState(err) == db.CodeDivisionByZero {
			return fmt.Errorf("%s.%s %w: %w", schemas[0], names[0], ErrNotPlain, err)
		}
		return rows.Err()
	}, plain(), schemas, []string{}, names, columns, kinds, looked)
}

// plain fails unless the tables are as QueueRead wants them.
var plain = sync.OnceValue(func() string { //nolint:gochecknoglobals // never changed
	return qualified(`select 1 operator(pg_catalog./) (not exists (
	select from rows from (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($3::pg_catalog.text[]),
		pg_catalog.unnest($4::pg_catalog.text[]),
		pg_catalog.unnest($5::pg_catalog.text[])) w (schema, name, attribute, kind)
	where not exists (
		select from pg_catalog.pg_class c where c.relnamespace = (select n.oid from pg_catalog.pg_namespace n
			where n.nspname = w.schema::pg_catalog.name)
		and c.relname = w.name::pg_catalog.name and case when w.kind = 'S'::pg_catalog.text then c.relkind =
			'S'::pg_catalog."char"
		else (c.relkind = 'r'::pg_catalog."char" or c.relkind = 'p'::pg_catalog."char")
		and ($6::pg_catalog.bool or not ({untrusted c.relowner}) or c.relkind = 'r'::pg_catalog."char"
			and not c.relhassubclass
			and not exists (select from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attnum > 0
				and not a.attisdropped
				and (w.attribute = ''::pg_catalog.text or a.attname = w.attribute::pg_catalog.name)
					and a.atttypid >= 16384::pg_catalog.oid)
			and not exists (select from pg_catalog.pg_index i where i.indrelid = c.oid and (i.indexprs is not null
				or i.indpred is not null))
			and not exists (select from pg_catalog.pg_statistic_ext s where s.stxrelid = c.oid and s.stxexprs is not null)) end
	)))::pg_catalog.int4`)
})

// Foreign returns a condition, with every name in it qualified, that is true where
// the role whose OID an expression gives could not act as the session's.
func Foreign(role string) string {
	return strings.ReplaceAll(qualified("{untrusted "+role+"}"), "$2::", "'{}'::")
}
