package migrate

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/sqltext"
)

// ElsewhereError says that a statement failed because it names, without a schema, what
// stands in another one: an extension's object, or one of somebody's. The extension may be
// missing, too.
type ElsewhereError struct {
	Extension string // "" for what belongs to none
	Schema    string // where it stands, "" for an extension that is not in the database
	Object    string // its name there
	Kind      string // "type", "function", "operator class", "collation", "relation"
	Err       error  // what the server said
}

// Error adds to the server's words where the object stands.
func (e *ElsewhereError) Error() string {
	if e.Extension == "" {
		return fmt.Sprintf("%v; a %s of that name stands in schema %s, which is not on the search_path: write %s.%s", e.Err,
			e.Kind, e.Schema, e.Schema, e.Object)
	}
	if e.Schema == "" {
		return fmt.Sprintf("%v; extension %s has a %s of that name and is not in this database: begin the file with CREATE "+
			"EXTENSION IF NOT EXISTS %s, or make it once",
			e.Err, e.Extension, e.Kind, pgx.Identifier{e.Extension}.Sanitize())
	}
	return fmt.Sprintf("%v; the %s %s belongs to extension %s in schema %s: write %s.%s, or begin the file with CREATE "+
		"EXTENSION IF NOT EXISTS %s",
		e.Err, e.Kind, e.Object, e.Extension, e.Schema, e.Schema, e.Object, e.Extension)
}

// Unwrap returns what the server said.
func (e *ElsewhereError) Unwrap() error { return e.Err }

const extensionObjects = `select e.extname::pg_catalog.text as extension, n.nspname::pg_catalog.text as schema,
		o.name::pg_catalog.text as name, o.kind
	from (
		select 'pg_catalog.pg_type'::pg_catalog.regclass, y.oid, y.typname, 'type' from pg_catalog.pg_type y
		union all select 'pg_catalog.pg_opclass'::pg_catalog.regclass, c.oid, c.opcname, 'operator class'
			from pg_catalog.pg_opclass c
		union all select 'pg_catalog.pg_collation'::pg_catalog.regclass, c.oid, c.collname, 'collation'
			from pg_catalog.pg_collation c
		union all select 'pg_catalog.pg_proc'::pg_catalog.regclass, p.oid, p.proname, 'function' from pg_catalog.pg_proc p
	) o (classid, oid, name, kind)
	join pg_catalog.pg_depend d on d.classid = o.classid and d.objid = o.oid and d.deptype = 'e'
	join pg_catalog.pg_extension e on e.oid = d.refobjid
	join pg_catalog.pg_namespace n on n.oid = e.extnamespace
	where o.name = any ($1::pg_catalog.name[]) and n.nspname <> 'pg_catalog'
	order by pg_catalog.array_position(array['type', 'operator class', 'collation', 'function'], o.kind), 3 limit 1`

// objectsElsewhere lists what stands under some names in schemas that are no tenant's, of
// the kinds that an error can be about.
func objectsElsewhere(reg registry.Registry) string {
	return `select '' as extension, n.nspname::pg_catalog.text as schema, o.name::pg_catalog.text as name, o.kind
	from (
		select y.typnamespace, y.typname, 'type' from pg_catalog.pg_type y where y.typelem = 0 and y.typrelid = 0
		union all select c.opcnamespace, c.opcname, 'operator class' from pg_catalog.pg_opclass c
		union all select c.collnamespace, c.collname, 'collation' from pg_catalog.pg_collation c
		union all select p.pronamespace, p.proname, 'function' from pg_catalog.pg_proc p
		union all select c.relnamespace, c.relname, 'relation' from pg_catalog.pg_class c
			where c.relkind not in ('i', 'I', 't', 'c')
	) o (nsp, name, kind) join pg_catalog.pg_namespace n on n.oid = o.nsp
	where o.name = any ($1::pg_catalog.name[]) and o.kind = any ($2::pg_catalog.text[])
	  and n.nspname !~ '^(pg_|crmctl_)' and n.nspname <> 'information_schema'
	  and not exists (select from ` + reg.Tenants() + ` t where t.schema_name = n.nspname)
	  -- The message has the name, in every language.
	  and pg_catalog.strpos($3, o.name::pg_catalog.text) > 0
	order by pg_catalog.length(o.name::pg_catalog.text) desc, n.nspname <> 'public', 2 limit 1`
}

// undefined are the errors about a name, and the kinds of objects that they are about.
var undefined = map[string][]string{
	db.CodeUndefinedObject: {"type", "operator class", "collation"},
	codeUndefinedFunction:  {"function"},
	db.CodeUndefinedTable:  {"relation"},
}

// ExplainNames returns an *ElsewhereError where a statement of a file names what its path
// does not lead to and another schema has, and err otherwise.
func ExplainNames(ctx context.Context, q db.Querier, reg registry.Registry, err error) error {
	var statement *db.StatementError
	said, ok := errors.AsType[*pgconn.PgError](err)
	if !ok || undefined[said.Code] == nil || !errors.As(err, &statement) || statement.Statement.File == "" {
		return err
	}
	kinds := undefined[said.Code]
	out, names := &ElsewhereError{Err: err}, unqualified(statement.Statement.SQL)
	type object struct{ Extension, Schema, Name, Kind string }
	found, readErr := db.Select(ctx, q, pgx.RowToStructByName[object], extensionObjects, names)
	if readErr == nil && len(found) == 0 {
		found, readErr = db.Select(ctx, q, pgx.RowToStructByName[object], objectsElsewhere(reg), names, kinds, said.Message)
	}
	if readErr == nil && len(found) == 0 {
		known, extensions := missing(names, kinds, said.Message)
		found, readErr = db.Select(ctx, q, pgx.RowToStructByName[object], missingExtension, known, extensions, kinds[0])
	}
	if readErr != nil || len(found) == 0 {
		return err // the statement's own says more
	}
	out.Extension, out.Schema, out.Object, out.Kind = found[0].Extension, found[0].Schema, found[0].Name, found[0].Kind
	return out
}

// missingExtension tells which of some extensions is to be had on the server and not in the
// database.
const missingExtension = `select a.name::pg_catalog.text as extension, '' as schema, o.name, $3::pg_catalog.text as kind
	from rows from (pg_catalog.unnest($1::pg_catalog.text[]), pg_catalog.unnest($2::pg_catalog.text[])) o (name, extension)
	join pg_catalog.pg_available_extensions a on a.name = o.extension
	where a.installed_version is null order by pg_catalog.length(o.name) desc limit 1`

// missing returns those of a statement's names that the server's message has, and the
// extensions that have such objects as far as is known: many are called like their type.
func missing(names, kinds []string, message string) (known, extensions []string) {
	for _, name := range names {
		if !strings.Contains(message, name) {
			continue
		}
		for _, extension := range []string{name, extensionOf(name)} {
			if extension != "" && kinds[0] != "relation" {
				known, extensions = append(known, name), append(extensions, extension)
			}
		}
	}
	return known, extensions
}

// extensionOf knows what migrations use most of the extensions that are not called like it.
func extensionOf(name string) string {
	switch name {
	case "uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v3", "uuid_generate_v4", "uuid_generate_v5":
		return "uuid-ossp"
	case "crypt", "gen_salt", "digest", "hmac", "gen_random_bytes", "pgp_sym_encrypt", "pgp_sym_decrypt",
		"pgp_pub_encrypt", "pgp_pub_decrypt":
		return "pgcrypto"
	case "gin_trgm_ops", "gist_trgm_ops", "similarity", "word_similarity", "strict_word_similarity", "show_trgm":
		return "pg_trgm"
	case "geometry", "geography", "st_makepoint", "st_setsrid", "st_dwithin", "st_distance", "st_contains",
		"st_intersects", "st_geomfromtext", "st_geogfromtext":
		return "postgis"
	case "halfvec", "sparsevec", "vector_l2_ops", "vector_ip_ops", "vector_cosine_ops", "halfvec_l2_ops",
		"halfvec_cosine_ops":
		return "vector"
	case "ltxtquery", "lquery":
		return "ltree"
	case "gin__int_ops", "gist__int_ops", "query_int":
		return "intarray"
	case "earth", "ll_to_earth", "earth_distance", "earth_box":
		return "earthdistance"
	case "levenshtein", "soundex", "metaphone", "dmetaphone", "difference":
		return "fuzzystrmatch"
	case "crosstab":
		return "tablefunc"
	case "isbn", "isbn13", "issn", "ean13", "upc":
		return "isn"
	case "hstore_to_json", "hstore_to_jsonb", "gin_hstore_ops":
		return "hstore"
	}
	return ""
}

// explained is ExplainNames for a connection that may be gone.
func explained(ctx context.Context, conn *pgx.Conn, reg registry.Registry, err error) error {
	if err == nil || conn.IsClosed() {
		return err
	}
	return ExplainNames(ctx, conn, reg, err)
}

const codeUndefinedFunction = "42883"

// unqualified returns the names of a statement that stand without a schema.
func unqualified(sql string) []string {
	var out []string
	tokens := sqltext.Tokens(sql)
	for i, t := range tokens {
		if name := t.Name(); name != "" && (i == 0 || !tokens[i-1].Is(".")) && !strings.HasPrefix(name, "pg_") {
			out = append(out, name)
		}
	}
	return out
}
