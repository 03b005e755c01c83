package catalog

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/registry"
)

//go:embed shape.sql
var shapeSQL string

const (
	// chunkSize is how many schemas one statement reads.
	chunkSize = 100
	// defaultLockTimeout bounds the wait for a table that somebody works on: the
	// server opens a table for a moment to print an expression of it.
	defaultLockTimeout = 500 * time.Millisecond
)

// Options say how schemas are read. The zero value means the defaults.
type Options struct {
	Registry registry.Registry
	// LockTimeout bounds the wait for each lock; 0 means half a second.
	LockTimeout time.Duration
	// OwnRole makes the rights of a tenant's own role part of its shape.
	// Migrations do not grant them, so a comparison with migrations leaves them
	// out.
	OwnRole bool
	// Ignore are kinds that are no part of a shape.
	Ignore []Kind
	// Direct opens a connection past a pooler, for migrations that commit for
	// themselves; nil opens one like the others.
	Direct func(ctx context.Context) (*pgx.Conn, error)
}

// LockWait returns LockTimeout, or its default. It is never 0, which would be for ever.
func (o Options) LockWait() time.Duration {
	return max(time.Millisecond, cmp.Or(o.LockTimeout, defaultLockTimeout))
}

const (
	// text is a constant of a varchar as the server prints it, in a regular expression
	// within quotes.
	text = `E?''(?:[^'']|'''')*''::character varying`
	// said is the text of a definition: the list of a varchar's IN in the words that
	// make the same tree when they are read, and {own schema} where its schema is named
	// outside of quotes, unless the name stands there as something else too.
	said = `(select case when strpos(v.text, r.own || '.') > 0 then (
            select case when bool_or(m.part[1] = r.own) then v.text else string_agg(coalesce(m.part[1], '` + ownSchema +
		`.'), '' order by m.at) end
            from pg_catalog.regexp_matches(v.text, '(E?''(?:[^'']|'''')*''|"(?:[^"]|"")*"|[[:alnum:]_$]+|[^''"[:alnum:]_$])|(?<![.])'
                || regexp_replace(r.own, '([^[:alnum:]_])', '\\\1', 'g') || '[.]', 'g') with ordinality as m (part, at)) else v.text end
        from (select case when strpos(%[1]s, 'ARRAY[') > 0 and strpos(%[1]s, '::character varying') > 0 then
            regexp_replace(%[1]s, '((?:ANY|ALL) \()(?:\((ARRAY\[` + text + `(?:, ` + text + `)*\])\)|(ARRAY\[` + text +
		`(?:, ` + text + `)*\]))::text\[\]', '\1\2\3', 'g')
            else %[1]s end as text offset 0) v)`
	// same is a definition with such a list in one form, whichever of two trees it has.
	same = `case when strpos(%[1]s, 'ARRAY[') > 0 and strpos(%[1]s, '::character varying') > 0 then
            regexp_replace(%[1]s, '(?:\((` + text + `)\)|(` + text + `))::text(?=(?:, (?:\(` + text + `\)|` + text +
		`)::text)*\]\))', '\1\2', 'g')
            else %[1]s end`
)

// macros are what shape.sql has in braces.
var macros = map[string]string{
	"here": `(pg_catalog.current_setting('search_path') = r.path or pg_catalog.set_config('search_path', r.path, true) = r.path)`,
	// PostgreSQL reads a rule and a view by statements of its own, whose operators it
	// looks for on the path: its own come first.
	"here for rules": `(pg_catalog.current_setting('search_path') = r.rulepath or pg_catalog.set_config('search_path', r.rulepath, true) = r.rulepath)`,
	"sequence text": `concat_ws(' ', case when s.seqtypid <> 'bigint'::regtype then 'as ' ||
		pg_catalog.format_type(s.seqtypid, null) end,
            case when s.seqincrement <> 1 then 'increment ' || s.seqincrement
            	end, case when s.seqmin <> 1 then 'minvalue ' || s.seqmin end,
            case when s.seqmax <> case s.seqtypid when 'smallint'::regtype then 32767 when 'integer'::regtype then
            	2147483647
                else 9223372036854775807 end then 'maxvalue ' || s.seqmax end,
            case when s.seqstart <> s.seqmin then 'start ' || s.seqstart
            	end, case when s.seqcache <> 1 then 'cache ' || s.seqcache end,
            case when s.seqcycle then 'cycle' end)`,
	"sequence parameters": `jsonb_build_object('as', pg_catalog.format_type(s.seqtypid, null), 'increment', s.seqincrement::text,
            'minvalue', s.seqmin::text, 'maxvalue', s.seqmax::text, 'start', s.seqstart::text, 'cache', s.seqcache::text, 'cycle', s.seqcycle)`,
	"relation kind": `case r.relkind when 'S' then 'sequence' when 'v' then 'view' when 'm' then 'materialized view'
            when 'f' then 'foreign table' else 'table' end`,
	"privileges": `string_agg(g.privilege_type || case when g.is_grantable then ' with grant option' else '' end, ', ' order by g.privilege_type)`,
	"grantee": `case %s when 0 then 'public' when r.nspowner then '{owner}' when r.role then '{role}' else
		pg_catalog.quote_ident(pg_catalog.pg_get_userbyid(%[1]s)) end`,
	"enabled": `case %s when 'D' then 'disabled' when 'R' then 'enabled replica' when 'A' then 'enabled always' end`,
	"said":    said,
	"same":    same,
	"pattern": `regexp_replace(%s, '([^[:alnum:]_])', '\\\1', 'g')`,
}

// expand returns shape.sql with its macros spelled out, and with the details that
// a reader wants or without.
func expand(detailed bool) string {
	text := shapeSQL
	if detailed {
		text = strings.NewReplacer("/*+", "", "+*/", "").Replace(text)
	}
	return regexp.MustCompile(`\{(here for rules|here|sequence text|sequence parameters|relation kind|privileges|(grantee|enabled|pattern|said|same) ([^{}]+))\}`).
		ReplaceAllStringFunc(text, func(found string) string {
			found = strings.Trim(found, "{}")
			if macro, ok := macros[found]; ok {
				return macro
			}
			name, argument, _ := strings.Cut(found, " ")
			return fmt.Sprintf(macros[name], argument)
		})
}

// settings fix what the text of a definition depends on. Neither compilation nor
// a pass over a whole catalog pays for a hundred schemas, but the planner, which
// knows little about the catalogs, may think so.
const settings = `select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true),
	pg_catalog.set_config('statement_timeout', '0', true),
	pg_catalog.set_config('lock_timeout', $1, true),
	pg_catalog.set_config('quote_all_identifiers', 'off', true), pg_catalog.set_config('datestyle', 'ISO, YMD', true),
	pg_catalog.set_config('intervalstyle', 'postgres', true), pg_catalog.set_config('timezone', 'UTC', true),
	pg_catalog.set_config('extra_float_digits', '1', true), pg_catalog.set_config('bytea_output', 'hex', true),
	pg_catalog.set_config('jit', 'off', true), pg_catalog.set_config('max_parallel_workers_per_gather', '0', true)`

// query adds a query on shape.sql's object to a pipeline.
func query(p *db.Pipeline, detailed bool, targets []Target, o Options, read func(pgx.Rows) error, sql string) {
	names, roles, homes := make([]string, len(targets)), make([]string, len(targets)), make([]string, len(targets))
	ignore := []string{}
	for i, t := range targets {
		names[i], roles[i], homes[i] = t.Schema.String(), t.Role, t.Tablespace
	}
	for _, k := range o.Ignore {
		ignore = append(ignore, string(k))
	}
	owner.QueueSight(p, names)
	p.Exec(settings, strconv.FormatInt(o.LockWait().Milliseconds(), 10))
	p.Query(read, expand(detailed)+sql, names, roles, o.OwnRole, ignore, homes)
	owner.QueueBack(p)
	p.OwnPath() // where the query has put a schema onto it, in front of pg_catalog
}

// Read returns the shape of one schema. Within a transaction its settings stay
// until the end of that, search_path among them. The error wraps ErrNoSchema or
// ErrLocked where that is the reason.
func Read(ctx context.Context, q db.Querier, t Target, o Options) (*Shape, error) {
	var objects []Object
	there := false
	var p db.Pipeline
	query(&p, true, []Target{t}, o, func(rows pgx.Rows) error {
		var kind, parent, name, definition, detail *string
		_, err := pgx.ForEachRow(rows, []any{&kind, &parent, &name, &definition, &detail}, func() error {
			there = true
			if kind == nil {
				return nil
			}
			object := Object{Kind: Kind(*kind), Parent: *parent, Name: *name, Definition: *definition}
			if detail != nil {
				object.detail = json.RawMessage(*detail)
			}
			objects = append(objects, object)
			return nil
		})
		return err
	}, `select o.kind, o.parent, o.name, coalesce(o.definition, ''), o.detail::text
		from wanted w
		left join object o on o.nsp = w.nsp and o.kind <> all ($4::text[])`)
	if err := p.Run(ctx, q); err != nil {
		return nil, fmt.Errorf("read the shape of %s: %w", t.Schema, because(err))
	}
	if !there {
		return nil, fmt.Errorf("read the shape of %s: %w", t.Schema, ErrNoSchema)
	}
	return sorted(objects), nil
}

// Reading is what became of a schema that was to be fingerprinted. Err is nil,
// or wraps ErrNoSchema or ErrLocked.
type Reading struct {
	Fingerprint Fingerprint
	Err         error
}

// Fingerprints reads schemas, a hundred in a statement, and returns a reading for
// each, at the same index. Where a lock stands in the way of some, the others are
// read all the same. It must not be called within a transaction: after a lock
// timeout it goes on.
func Fingerprints(ctx context.Context, conn *pgx.Conn, targets []Target, o Options) ([]Reading, error) {
	readings := make([]Reading, 0, len(targets))
	for len(targets) > 0 {
		n := min(chunkSize, len(targets))
		chunk, err := fingerprintChunk(ctx, conn, targets[:n], o)
		if err != nil {
			return nil, fmt.Errorf("read the catalog: %w", err)
		}
		readings = append(readings, chunk...)
		targets = targets[n:]
	}
	return readings, nil
}

// fingerprintChunk reads a chunk. When something stands in the way it goes on
// schema by schema, so that only those who are concerned are left out.
func fingerprintChunk(ctx context.Context, conn *pgx.Conn, chunk []Target, o Options) ([]Reading, error) {
	readings, err := hash(ctx, conn, chunk, o)
	several := len(chunk) > 1 && db.SQLState(err) == db.CodeDivisionByZero // roles
	if err == nil || !passing(err) && !several {
		return readings, err
	}
	if len(chunk) == 1 {
		if db.SQLState(err) != db.CodeLockNotAvailable {
			if readings, again := hash(ctx, conn, chunk, o); again == nil {
				return readings, nil
			}
		}
		return []Reading{{Err: because(err)}}, nil
	}
	for i := range chunk {
		one, err := fingerprintChunk(ctx, conn, chunk[i:i+1], o)
		if err != nil {
			return nil, err
		}
		readings = append(readings, one...)
	}
	return readings, nil
}

const hashSQL = `select w.at, encode(sha256(pg_catalog.convert_to(coalesce(string_agg(l.line, chr(30)
	order by l.line collate "C"), ''),
		case pg_catalog.getdatabaseencoding() when 'SQL_ASCII' then 'SQL_ASCII' else 'UTF8' end)), 'hex')
	from wanted w
	left join (
		select o.nsp, o.kind || chr(31) || o.parent || chr(31) || o.name || chr(31) || coalesce(o.definition, '') as line
		from object o
		where o.kind <> all ($4::text[])
	) l on l.nsp = w.nsp
	group by w.at`

// hash is Shape.Fingerprint on the server. Databases in another encoding hash what
// the client would get.
func hash(ctx context.Context, conn *pgx.Conn, chunk []Target, o Options) ([]Reading, error) {
	readings := make([]Reading, len(chunk))
	for i := range readings {
		readings[i].Err = ErrNoSchema
	}
	var p db.Pipeline
	query(&p, false, chunk, o, func(rows pgx.Rows) error {
		var at int
		var digits string
		_, err := pgx.ForEachRow(rows, []any{&at, &digits}, func() error {
			r := &readings[at-1]
			r.Err = nil
			_, err := hex.Decode(r.Fingerprint[:], []byte(digits))
			return err
		})
		return err
	}, hashSQL)
	if err := p.Run(ctx, conn); err != nil {
		return nil, err
	}
	return readings, nil
}

// passing reports whether err is that of a schema which is locked or being changed:
// the server prints definitions as they are at that moment, and says so in one of
// these ways when the object has gone since the statement began.
func passing(err error) bool {
	const internalError, undefinedObject, undefinedFunction = "XX000", "42704", "42883"
	switch db.SQLState(err) {
	case db.CodeLockNotAvailable, db.CodeUndefinedTable, db.CodeInvalidSchemaName, internalError, undefinedObject,
		undefinedFunction:
		return true
	}
	return false
}

// because says in our words why a schema could not be read.
func because(err error) error {
	switch {
	case db.SQLState(err) == db.CodeLockNotAvailable:
		return fmt.Errorf("%w: %w", ErrLocked, err)
	case passing(err):
		return fmt.Errorf("%w: %w", ErrChanging, err)
	}
	return err
}
