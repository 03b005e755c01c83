package migrate

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/sqltext"
)

// SharedSchemaError says why a schema cannot be one that all tenants share.
type SharedSchemaError struct {
	Schema string
	Reason string
}

// Error names the schema.
func (e *SharedSchemaError) Error() string {
	return fmt.Sprintf("shared schema %q: %s", e.Schema, e.Reason)
}

// ReachError says that a file makes or changes, without naming a schema, what the tenant
// does not have at that point, and what would be found in a schema that all share.
type ReachError struct {
	At     db.Statement
	Kind   string // "relation", "function", "type"
	Name   string
	Schema string // where it would be found
}

// Error names the object and the file.
func (e *ReachError) Error() string {
	return fmt.Sprintf("%s:%d: it changes %s, which no migration before it makes: it would be that of the shared schema "+
		"%q, of all tenants",
		e.At.File, e.At.Line, e.Kind+" "+e.Name, e.Schema)
}

// Path returns what follows the tenant's schema on the search_path of the migrations. It
// is the zero Path before UseExtensions.
func (p *Plan) Path() db.Path { return p.path }

// pathOver returns the path over the schemas of extensions and the shared ones. public
// comes last where nobody has said otherwise.
func (p *Plan) pathOver(ctx context.Context, conn *pgx.Conn, reg registry.Registry, uses []ExtensionUse,
	shared []string) (db.Path, error) {
	schemas := extensionSchemas(uses, shared)
	if err := p.checkShared(ctx, conn, schemas, uses); err != nil {
		return db.Path{}, err
	}
	if err := p.checkSharedSchemas(ctx, conn, reg, shared); err != nil {
		return db.Path{}, err
	}
	return joinPath(schemas, shared), nil
}

// PathFor returns the path for statements of a user's: that of the migrations, as far as
// it is there already. Left out are schemas of extensions in which the statements would
// find, without naming it, what belongs to no extension; where nobody knows them (script
// is nil), those in which others may make something. conn must not be in a transaction.
//
// The error is a *SharedSchemaError where that is the reason.
func (p *Plan) PathFor(ctx context.Context, conn *pgx.Conn, reg registry.Registry, shared []string,
	script []db.Statement) (path db.Path, leftOut []string, _ error) {
	wanted := p.Extensions()
	if len(wanted) == 0 && len(shared) == 0 {
		return path, nil, nil
	}
	if err := CheckShared(ctx, conn, reg, shared); err != nil {
		return path, nil, err
	}
	there, err := readExtensions(ctx, conn, reg)
	if err != nil {
		return path, nil, err
	}
	var uses []ExtensionUse
	for _, e := range wanted {
		if home, is := there[e.Name]; is && !home.OfTenant {
			uses = append(uses, ExtensionUse{Name: e.Name, Schema: home.Schema})
		}
	}
	schemas := extensionSchemas(uses, shared)
	unsafe, err := unsafeSchemas(ctx, conn, schemas, script)
	if err != nil {
		return path, nil, err
	}
	var safe []string
	for _, s := range schemas {
		if slices.Contains(unsafe, s) {
			leftOut = append(leftOut, s)
		} else {
			safe = append(safe, s)
		}
	}
	return joinPath(safe, shared), leftOut, nil
}

// unsafeSchemas returns those of the schemas of extensions that a script had better not
// look for names in.
func unsafeSchemas(ctx context.Context, conn *pgx.Conn, schemas []string, script []db.Statement) ([]string, error) {
	if len(schemas) == 0 {
		return nil, nil
	}
	if script == nil {
		open, err := db.Select(ctx, conn, pgx.RowTo[string], `select n.nspname::pg_catalog.text from pg_catalog.pg_namespace n
			where n.nspname = any ($1::pg_catalog.text[]) and `+openSchema, schemas)
		if err != nil {
			return nil, fmt.Errorf("look who may make objects beside extensions: %w", err)
		}
		return open, nil
	}
	var names, out []string
	for _, s := range script {
		names = append(names, sqltext.Names(s.SQL)...)
	}
	found, err := besideExtensions(ctx, conn, schemas, names)
	for _, o := range found {
		out = append(out, o.Schema)
	}
	return out, err
}

// extensionSchemas returns the schemas in which extensions stand, but for those that are
// on the path in any case.
func extensionSchemas(uses []ExtensionUse, shared []string) []string {
	var out []string
	for _, u := range uses {
		if u.Schema != "pg_catalog" && !slices.Contains(out, u.Schema) && !slices.Contains(shared, u.Schema) {
			out = append(out, u.Schema)
		}
	}
	return out
}

func joinPath(extensions, shared []string) db.Path {
	isPublic := func(s string) bool { return s == "public" }
	all := slices.Concat(slices.DeleteFunc(slices.Clone(extensions), isPublic), shared)
	if slices.ContainsFunc(extensions, isPublic) {
		all = append(all, "public")
	}
	return db.NewPath(all)
}

// sharedNames returns which of some names stand in which of some schemas, and of which
// kind.
const sharedNames = `select o.kind, o.name, n.nspname::pg_catalog.text as schema
	from (
		select 'relation', c.relnamespace, c.relname::pg_catalog.text from pg_catalog.pg_class c
			where c.relkind not in ('i', 'I', 't')
		union all select 'function', p.pronamespace, p.proname::pg_catalog.text from pg_catalog.pg_proc p
		union all select 'type', y.typnamespace, y.typname::pg_catalog.text from pg_catalog.pg_type y where y.typelem = 0
			and y.typrelid = 0
	) o (kind, nsp, name) join pg_catalog.pg_namespace n on n.oid = o.nsp
	where n.nspname = any ($1::pg_catalog.text[]) and o.name = any ($2::pg_catalog.text[])
	order by pg_catalog.array_position($1::pg_catalog.text[], n.nspname::pg_catalog.text), 1, 2`

// checkSharedSchemas makes sure that the shared schemas are there, that none is a tenant's
// own, and that no migration changes what stands in them.
func (p *Plan) checkSharedSchemas(ctx context.Context, conn *pgx.Conn, reg registry.Registry, shared []string) error {
	if err := CheckShared(ctx, conn, reg, shared); err != nil {
		return err
	}
	reaches := p.reaches()
	if len(shared) == 0 || len(reaches) == 0 {
		return nil
	}
	names := make([]string, len(reaches))
	for i, r := range reaches {
		names[i] = r.name
	}
	type object struct{ Kind, Name, Schema string }
	found, err := db.Select(ctx, conn, pgx.RowToStructByName[object], sharedNames, shared, names)
	if err != nil {
		return fmt.Errorf("look for what the shared schemas have: %w", err)
	}
	for _, r := range reaches {
		for _, o := range found {
			if o.Name == r.name {
				return &ReachError{At: r.at, Kind: o.Kind, Name: o.Name, Schema: o.Schema}
			}
		}
	}
	return nil
}

// CheckShared makes sure that the shared schemas are there, and that none belongs to a
// tenant. The error is a *SharedSchemaError.
func CheckShared(ctx context.Context, conn *pgx.Conn, reg registry.Registry, shared []string) error {
	if len(shared) == 0 {
		return nil
	}
	type state struct {
		Name        string
		There, Ours bool
	}
	states, err := db.Select(ctx, conn, pgx.RowToStructByName[state], `select s.name, n.oid is not null as there,
			exists (select from `+reg.Tenants()+` t where t.schema_name = s.name) as ours
		from pg_catalog.unnest($1::pg_catalog.text[]) s (name) left
			join pg_catalog.pg_namespace n on n.nspname = s.name`, shared)
	if err != nil {
		return fmt.Errorf("look for the shared schemas: %w", err)
	}
	for _, s := range states {
		switch {
		case !s.There:
			return &SharedSchemaError{s.Name, "there is none of that name"}
		case s.Ours:
			return &SharedSchemaError{s.Name, "it is a tenant's, and the others would find its tables"}
		}
	}
	return nil
}

// reach is a name without a schema that a migration changes, and that no migration has
// made before.
type reach struct {
	at   db.Statement
	name string
}

// reaches goes through the history. What a block makes is not to be seen: every name in
// it counts as made. The server names indexes, and sequences of serial columns, with the
// name of their table in front.
func (p *Plan) reaches() []reach {
	made, ever := map[string]bool{string(tenantVersions): true}, map[string]bool{string(tenantVersions): true}
	var out []reach
	see := func(s db.Statement, made map[string]bool) sqltext.Touched {
		touched := sqltext.Touches(s.SQL)
		for _, name := range touched.Changes {
			if !made[name] && !sqltext.IsNamedAfter(name, made) {
				out = append(out, reach{s, name})
			}
		}
		for _, name := range touched.Makes {
			ever[name] = true
		}
		return touched
	}
	for _, m := range p.Migrations {
		for _, s := range m.Up {
			touched := see(s, made)
			for _, name := range touched.Drops {
				delete(made, name)
			}
			for _, name := range touched.Makes {
				made[name] = true
			}
		}
	}
	// Which files are taken back, and how far, is another question each time.
	for _, m := range p.Migrations {
		for _, s := range m.Down {
			for _, name := range sqltext.Touches(s.SQL).Makes {
				ever[name] = true
			}
		}
	}
	for _, m := range p.Migrations {
		for _, s := range m.Down {
			see(s, ever)
		}
	}
	return out
}

// besideExtension is what stands in a schema beside an extension.
type besideExtension struct{ Schema, Kind, Name string }

func besideExtensions(ctx context.Context, conn *pgx.Conn, schemas, names []string) ([]besideExtension, error) {
	found, err := db.Select(ctx, conn, pgx.RowToStructByName[besideExtension], sharedObjects, schemas, names)
	if err != nil {
		return nil, fmt.Errorf("look for what stands beside extensions: %w", err)
	}
	return found, nil
}

// sharedObjects lists what stands in a schema under one of the names and belongs to no
// extension. An operator has no name that a text would show.
const sharedObjects = `with extension as (
		select d.classid, d.objid from pg_catalog.pg_depend d where d.deptype = 'e'
	), object (classid, oid, nsp, kind, name) as (
		select 'pg_catalog.pg_class'::pg_catalog.regclass, c.oid, c.relnamespace, 'relation', c.relname::pg_catalog.text
			from pg_catalog.pg_class c where c.relkind not in ('i', 'I', 't')
		union all select 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, p.pronamespace, 'function',
			p.proname::pg_catalog.text from pg_catalog.pg_proc p
		union all select 'pg_catalog.pg_type'::pg_catalog.regclass, y.oid, y.typnamespace, 'type', y.typname::pg_catalog.text
			from pg_catalog.pg_type y where y.typelem = 0 and y.typrelid = 0
		union all select 'pg_catalog.pg_opclass'::pg_catalog.regclass, o.oid, o.opcnamespace, 'operator class',
			o.opcname::pg_catalog.text from pg_catalog.pg_opclass o
		union all select 'pg_catalog.pg_collation'::pg_catalog.regclass, o.oid, o.collnamespace, 'collation',
			o.collname::pg_catalog.text from pg_catalog.pg_collation o
		union all select 'pg_catalog.pg_operator'::pg_catalog.regclass, o.oid, o.oprnamespace, 'operator', null
			from pg_catalog.pg_operator o
	)
	select n.nspname::pg_catalog.text as schema, o.kind,
		coalesce(o.name, o.oid::pg_catalog.regoperator::pg_catalog.text) as name
	from object o join pg_catalog.pg_namespace n on n.oid = o.nsp
	where n.nspname = any ($1::pg_catalog.text[]) and (o.name = any ($2::pg_catalog.text[]) or o.name is null)
	  and not exists (select from extension e where e.classid = o.classid and e.objid = o.oid)
	order by 1, 2, 3`

// checkShared refuses files whose names would be found in one of the schemas, where they
// mean something that belongs to no extension. A relation or a type that the history
// makes is found in the tenant's schema first; of functions the best fitting one is
// taken, wherever it stands.
func (p *Plan) checkShared(ctx context.Context, conn *pgx.Conn, schemas []string, uses []ExtensionUse) error {
	if len(schemas) == 0 {
		return nil
	}
	var names, made []string
	for _, m := range p.Migrations {
		for _, s := range slices.Concat(m.Up, m.Down) {
			names = append(names, sqltext.Names(s.SQL)...)
			if name := sqltext.Made(s.SQL); name != "" {
				made = append(made, name)
			}
		}
	}
	found, err := besideExtensions(ctx, conn, schemas, names)
	if err != nil {
		return err
	}
	var wrong *SharedNamesError
	for _, o := range found {
		if (o.Kind == "relation" || o.Kind == "type") && slices.Contains(made, o.Name) {
			continue
		}
		if wrong == nil {
			wrong = &SharedNamesError{Schema: o.Schema}
			for _, u := range uses {
				if u.Schema == o.Schema {
					wrong.Extension = u.Name
				}
			}
		}
		wrong.Names = append(wrong.Names, o.Kind+" "+o.Name)
	}
	if wrong != nil {
		return wrong
	}
	return nil
}
