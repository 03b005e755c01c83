package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/staging"
)

// orphanPrefix begins the names of schemas that crmctl makes, quarantinePrefix those
// that it has set aside.
const (
	orphanPrefix     = "tenant_"
	quarantinePrefix = "quarantine_"
)

// orphan is a schema that the registry does not know.
type orphan struct {
	Schema string
	Goose  bool
	Tables int
	Known  int // of them named as tenants' tables
}

// isTenants reports whether a schema looks like one of a tenant: by its name, unless
// nothing in it does, or by all that is in it.
func (o orphan) isTenants() bool {
	if strings.HasPrefix(o.Schema, orphanPrefix) {
		return o.Goose || o.Known > 0 || o.Tables == 0
	}
	return o.Goose && o.Known > 0
}

func checkOrphans(ctx context.Context, x *examination) ([]Finding, error) {
	usual, err := x.usualTables(ctx)
	if err != nil {
		return nil, err
	}
	building, known, err := x.underConstruction(ctx)
	if err != nil {
		return nil, err
	}
	neighbours, err := x.fleet.Registry.Neighbours(ctx, x.conn)
	if err != nil {
		return nil, err
	}
	known += " or " + neighbours.Has("$1")
	rows, err := db.Select(ctx, x.conn, pgx.RowToStructByName[orphan], `
		select n.nspname::text as schema,
			exists (select from pg_class c where c.relnamespace = n.oid and c.relname = 'goose_db_version'
				and c.relkind in ('r', 'p')) as goose,
			(select count(*) from pg_class c where c.relnamespace = n.oid and c.relkind in ('r', 'p')) as tables,
			(select count(*) from pg_class c where c.relnamespace = n.oid and c.relkind in ('r', 'p')
				and c.relname = any ($1::name[])) as known
		from pg_namespace n
		where not exists (select from `+x.fleet.Registry.Tenants()+` t where t.schema_name::name = n.nspname)
		  and n.nspname not in ('public', 'information_schema') and n.nspname !~ '^(pg_|`+quarantinePrefix+`|`+
		db.PoolPrefix+`)'
		  and not exists (`+building+`) and not `+neighbours.Has("n.nspname::text")+`
		order by n.nspname`, usual)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, o := range rows {
		if !o.isTenants() {
			continue
		}
		f := Finding{Severity: Warning, Subject: o.Schema, What: "no tenant of the registry has this schema with " +
			plural(o.Tables, "table"), Command: "crmctl doctor --fix " + string(OrphanSchema)}
		if o.Goose {
			f.Command = "crmctl migrate adopt --schema " + o.Schema + ", or crmctl doctor --fix " + string(OrphanSchema)
		}
		if s, err := db.RegisteredSchema(o.Schema); err == nil {
			f.fix = quarantine(s, x.fleet.registeredSchema()+known)
		} else {
			f.Command = renameByHand(o.Schema, x.o.now())
		}
		out = append(out, f)
	}
	return out, nil
}

// underConstruction returns a query for the row of a schema n that is under construction,
// and what to add to the conditions above for it. An older registry has none.
func (x *examination) underConstruction(ctx context.Context) (query, known string, _ error) {
	there, err := db.Select(ctx, x.conn, pgx.RowTo[bool], `select to_regclass($1) is not null`, x.fleet.Registry.Builds())
	if err != nil || !there[0] {
		return `select where false`, "", err
	}
	return `select from ` + x.fleet.Registry.Builds() + ` b where b.schema_name::name = n.nspname`,
		` or exists (select from ` + x.fleet.Registry.Builds() + ` where schema_name = $1)`, nil
}

// checkBuilds looks for builders of schemas that are dead.
func checkBuilds(ctx context.Context, x *examination) ([]Finding, error) {
	builds, err := staging.List(ctx, x.conn, x.fleet.Registry)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, b := range builds {
		f := Finding{Severity: Warning, Subject: b.Schema, Command: "crmctl doctor --fix " + string(HalfBuilt)}
		since := b.Started.UTC().Format("2006-01-02 15:04")
		switch {
		case b.Dead:
			f.What = "was begun at " + since + " and is half built: whatever built it is gone"
			if s, err := db.RegisteredSchema(b.Schema); err == nil {
				f.fix = clearBuild(s)
			}
		case b.Unknown:
			f.Severity = Info
			f.What = "was begun at " + since + "; this role cannot tell whether it is still being built"
		default:
			continue
		}
		out = append(out, f)
	}
	return out, nil
}

func clearBuild(s db.Schema) fixFunc {
	return func(ctx context.Context, conn *pgx.Conn, o FixOptions) (done, undo string, err error) {
		cleared, err := staging.Clear(ctx, conn, o.Registry, s, o.LockTimeout)
		if err == nil && !cleared {
			err = ErrMended
		}
		return "dropped " + s.String() + ", which was half built", "", err
	}
}

// checkPool compares the schemas of the pool with the list of them, in one statement:
// a schema and its row come and go together. A registry that has no such list yet has
// no pool.
func checkPool(ctx context.Context, x *examination) ([]Finding, error) {
	listed, err := db.Select(ctx, x.conn, pgx.RowTo[bool], `select to_regclass($1) is not null`, x.fleet.Registry.Pool())
	if err != nil {
		return nil, err
	}
	pool, known := `select ''::text as schema_name where false`, x.fleet.registeredSchema()
	if listed[0] {
		pool = `select schema_name from ` + x.fleet.Registry.Pool()
		known += ` or exists (select from ` + x.fleet.Registry.Pool() + ` where schema_name = $1)`
	}
	building, built, err := x.underConstruction(ctx)
	if err != nil {
		return nil, err
	}
	neighbours, err := x.fleet.Registry.Neighbours(ctx, x.conn)
	if err != nil {
		return nil, err
	}
	known += " or " + neighbours.Has("$1")
	type row struct {
		Schema        string
		There, Listed bool
	}
	rows, err := db.Select(ctx, x.conn, pgx.RowToStructByName[row], `
		select coalesce(n.nspname::text, p.schema_name) as schema, n.oid is not null as there,
			p.schema_name is not null as listed
		from (select oid, nspname from pg_namespace where nspname ~ '^`+db.PoolPrefix+`' and not exists (select from `+
		x.fleet.Registry.Tenants()+` t where t.schema_name::name = nspname)
			and not `+neighbours.Has("nspname::text")+`) n
		full join (`+pool+`) p on p.schema_name::name = n.nspname
		where n.oid is null or p.schema_name is null and not exists (`+building+`) order by 1`)
	var out []Finding
	for _, r := range rows {
		f := Finding{Severity: Error, Subject: r.Schema, What: "the pool lists it, but the schema is gone",
			Command: "crmctl tenant pool drain, then crmctl tenant pool fill"}
		if r.There {
			f.Severity, f.What, f.Command = Warning, "a schema of the pool that the pool does not list",
				"crmctl doctor --fix "+string(Pool)
			if s, err := db.RegisteredSchema(r.Schema); err == nil {
				f.fix = quarantine(s, known+built)
			} else {
				f.Command = renameByHand(r.Schema, x.o.now())
			}
		}
		out = append(out, f)
	}
	return out, err
}

func checkQuarantine(ctx context.Context, x *examination) ([]Finding, error) {
	type row struct{ Schema, Comment string }
	rows, err := db.Select(ctx, x.conn, pgx.RowToStructByName[row], `
		select n.nspname::text as schema, coalesce(obj_description(n.oid, 'pg_namespace'), '') as comment from pg_namespace n
			where n.nspname ~ '^`+quarantinePrefix+`' order by 1`)
	var out []Finding
	for _, r := range rows {
		what := "set aside"
		if r.Comment != "" {
			what = r.Comment
		}
		out = append(out, Finding{Severity: Info, Subject: r.Schema, What: what, Command: "look at it, then: drop schema " +
			db.Quoted(r.Schema) + " cascade"})
	}
	return out, err
}

// escapedName returns a name as SQL that a terminal shows as it is: characters that it
// would not show stand there by their number.
func escapedName(name string) string {
	var b strings.Builder
	for _, r := range name {
		switch {
		case r == '"' || r == '\\':
			b.WriteRune(r)
			b.WriteRune(r)
		case unicode.IsPrint(r):
			b.WriteRune(r)
		default:
			fmt.Fprintf(&b, `\+%06x`, r)
		}
	}
	return `U&"` + b.String() + `"`
}

// renameByHand sets a schema aside whose name crmctl gives to no statement.
func renameByHand(name string, now time.Time) string {
	return "alter schema " + escapedName(name) + " rename to " + db.Quoted(quarantineName("unnamed", now.UTC(), 1))
}
