package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/staging"
)

const (
	// A purge that takes longer was cut off, or waits for a lock for ever.
	purgePatience = time.Hour
	// A cron job that purges every night is not late before this.
	purgeGrace = 2 * 24 * time.Hour
	// A statement that cannot run in a transaction may build an index this long.
	dirtyPatience = time.Hour
)

func checkRegistry(_ context.Context, x *examination) ([]Finding, error) {
	out := x.fleet.registryOwners()
	if x.fleet.RegistryClosed {
		return out, nil
	}
	is, should := x.fleet.RegistryVersion, x.fleet.RegistryHead
	switch {
	case x.fleet.RegistryErr != nil:
		return out, x.fleet.RegistryErr
	case is < should:
		return append(out, Finding{Severity: Error, Subject: "registry",
			What: fmt.Sprintf("at version %d, older than this crmctl (%d)", is, should), Command: "crmctl migrate public"}), nil
	case is > should:
		return append(out, Finding{Severity: Warning, Subject: "registry",
			What:    fmt.Sprintf("at version %d, newer than this crmctl (%d)", is, should),
			Command: "install the crmctl that the others use"}), nil
	}
	return out, nil
}

func checkInvalidRows(_ context.Context, x *examination) ([]Finding, error) {
	var out []Finding
	for _, r := range x.fleet.Invalid {
		out = append(out, Finding{Severity: Error, Subject: r.Slug, Tenant: r.Slug,
			What: "its row in the registry is not valid: " + r.Why,
			Command: "look at it, and correct it by hand: select * from " + x.fleet.Registry.Tenants() + " where id = " +
				db.Literal(r.ID)})
	}
	return out, nil
}

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

func checkGhosts(ctx context.Context, x *examination) ([]Finding, error) {
	slugs, err := db.Select(ctx, x.conn, pgx.RowTo[string], `
		select coalesce(t.slug, '') from `+x.fleet.Registry.Tenants()+
		` t where not exists (select from pg_namespace n where n.nspname = t.schema_name::name)`)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, t := range x.fleet.Tenants {
		if !slices.Contains(slugs, t.Slug) {
			continue
		}
		f := Finding{Severity: Error, Subject: t.Slug, Tenant: t.Slug, What: "its schema " + t.Schema.String() + " is gone",
			Command: "where there is a backup: crmctl backup restore FILE; otherwise: crmctl doctor --fix " + string(GhostRow),
			fix:     markDeleted(t)}
		if t.deleted() {
			f.Severity, f.Command, f.fix = Info, "crmctl tenant purge "+t.Slug, nil
		}
		if t.Status == registry.Gone {
			f.Severity, f.fix = Info, nil
			f.Command = "the application does not name it any more; to forget it: crmctl tenant delete " + t.Slug
		}
		out = append(out, f)
	}
	return out, nil
}

// registeredSchema is the condition under which a schema, $1, is one of a tenant.
func (f Fleet) registeredSchema() string {
	return `exists (select from ` + f.Registry.Tenants() + ` where schema_name = $1)`
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

// renameByHand sets a schema aside whose name crmctl gives to no statement.
func renameByHand(name string, now time.Time) string {
	return "alter schema " + escapedName(name) + " rename to " + db.Quoted(quarantineName("unnamed", now.UTC(), 1))
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

func checkPurgeStuck(_ context.Context, x *examination) ([]Finding, error) {
	var out []Finding
	for _, t := range x.fleet.Tenants {
		if t.PurgeStartedAt != nil && x.o.now().Sub(*t.PurgeStartedAt) > purgePatience {
			out = append(out, Finding{Severity: Warning, Subject: t.Slug, Tenant: t.Slug,
				What:    "its purge began " + days(x.o.now().Sub(*t.PurgeStartedAt)) + " ago",
				Command: "crmctl tenant purge " + t.Slug})
		}
	}
	return out, nil
}

// checkTransfers finds transfers that nobody is at, as far as can be seen from here: for as
// long as a purge may take.
func checkTransfers(ctx context.Context, x *examination) ([]Finding, error) {
	all, err := x.fleet.Registry.ListTransfers(ctx, x.conn, nil)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, t := range x.fleet.Tenants {
		move, known := all[t.ID]
		if !known || t.Status != registry.Leaving && t.Status != registry.Incoming ||
			x.o.now().Sub(move.StartedAt) < purgePatience {
			continue
		}
		f := Finding{Severity: Warning, Subject: t.Slug, Tenant: t.Slug,
			What: fmt.Sprintf("its transfer to database %s on %s:%d began %s ago", move.Database, move.Host, move.Port,
				days(x.o.now().Sub(move.StartedAt))),
			Command: "crmctl tenant transfer " + t.Slug + " --to-profile NAME, or with --abort"}
		if t.Status == registry.Incoming {
			f.What = strings.Replace(f.What, "transfer to", "transfer from", 1)
			f.Command = "there: " + f.Command
		}
		out = append(out, f)
	}
	return out, nil
}

func checkPurgeOverdue(_ context.Context, x *examination) ([]Finding, error) {
	var out []Finding
	for _, t := range x.fleet.Tenants {
		if !t.deleted() || t.PurgeAfter == nil || t.PurgeStartedAt != nil || x.o.now().Sub(*t.PurgeAfter) < purgeGrace {
			continue
		}
		out = append(out, Finding{Severity: Warning, Subject: t.Slug, Tenant: t.Slug,
			What: "due for purge since " + days(x.o.now().Sub(*t.PurgeAfter)), Command: "crmctl tenant purge " + t.Slug})
	}
	return out, nil
}

// days returns "3 hours" or "12 days".
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return plural(int(d/time.Hour), "hour")
	}
	return plural(int(d/(24*time.Hour)), "day")
}

func checkDirty(ctx context.Context, x *examination) ([]Finding, error) {
	if x.fleet.Dirty == nil {
		return nil, nil
	}
	dirty, err := x.fleet.Dirty(ctx)
	var out []Finding
	for _, d := range dirty {
		if d.Running && x.o.now().Sub(d.Since) < dirtyPatience {
			continue
		}
		out = append(out, Finding{Severity: Error, Subject: d.Slug, Tenant: d.Slug, What: d.What,
			Command: "crmctl migrate repair " + d.Slug})
	}
	return out, err
}

func checkRuns(ctx context.Context, x *examination) ([]Finding, error) {
	if x.fleet.DeadRuns == nil {
		return nil, nil
	}
	ids, err := x.fleet.DeadRuns(ctx)
	var out []Finding
	for _, id := range ids {
		out = append(out, Finding{Severity: Warning, Subject: fmt.Sprintf("run %d", id),
			What:    "killed, and open in the ledger",
			Command: fmt.Sprintf("crmctl migrate runs show %d, then crmctl migrate retry %d", id, id), fix: closeRun(id)})
	}
	return out, err
}

// versions reads the versions of the tenants that are not deleted, once.
func (x *examination) versions(ctx context.Context) ([]Tenant, []ActualVersion, error) {
	tenants := x.open()
	if x.actual != nil || x.fleet.Versions == nil || len(tenants) == 0 {
		return tenants[:len(x.actual)], x.actual, nil
	}
	actual, err := x.fleet.Versions(ctx, tenants)
	x.actual = actual
	return tenants[:len(actual)], actual, err
}

func checkVersions(ctx context.Context, x *examination) ([]Finding, error) {
	tenants, actual, err := x.versions(ctx)
	if err != nil {
		return nil, err
	}
	var out []Finding
	unread, refused := 0, 0
	for i, t := range tenants {
		v := actual[i]
		f := Finding{Severity: Error, Subject: t.Slug, Tenant: t.Slug}
		switch {
		case v.Gone: // ghost-row tells it
			continue
		case v.Unmanaged:
			f.What, f.Command = "its schema "+t.Schema.String()+" has no goose_db_version",
				"crmctl backup restore FILE, or look at it: crmctl psql "+t.Slug
		case db.SQLState(v.Err) == db.CodeInsufficientPrivilege:
			refused++
			continue
		case v.Err != nil:
			if unread++; unread == 1 {
				x.notChecked("tenant %s: %v", t.Slug, v.Err)
			}
			continue
		case v.Version != t.Version:
			f.What = fmt.Sprintf("its schema is at version %d, the registry says %d", v.Version, t.Version)
			f.Command, f.fix = "crmctl doctor --fix "+string(Version), correctVersion(t, v.Version)
		case v.Version > x.fleet.Head:
			f.Severity, f.What = Warning, fmt.Sprintf("at version %d, newer than the files (%d)", v.Version, x.fleet.Head)
			f.Command = "use the newer files, or crmctl migrate rollback with them"
		case len(v.Late) > 0:
			f.Severity, f.What, f.Command = Warning, "never applied: "+strings.Join(v.Late, ", "),
				"crmctl migrate all-tenants --verify"
		default:
			continue
		}
		out = append(out, f)
	}
	if unread > 1 {
		x.notChecked("and %s more", plural(unread-1, "tenant"))
	}
	if refused > 0 {
		x.notChecked("%s in whose schemas this role may not read goose_db_version", plural(refused, "tenant"))
	}
	return out, nil
}

// checkBehind goes by the schemas: what the registry says may be wrong, which is a
// finding of its own.
func checkBehind(ctx context.Context, x *examination) ([]Finding, error) {
	tenants, actual, err := x.versions(ctx)
	if err != nil {
		return nil, err
	}
	n, first := 0, ""
	for i, t := range tenants {
		if actual[i].Err == nil && actual[i].Version < x.fleet.Head {
			if n++; first == "" {
				first = t.Slug
			}
		}
	}
	switch n {
	case 0:
		return nil, nil
	case 1:
		return []Finding{{Severity: Info, Subject: first, Tenant: first, What: "has pending migrations",
			Command: "crmctl migrate tenant " + first}}, nil
	}
	return []Finding{{Severity: Info, Subject: "fleet", What: plural(n, "tenant") + " with pending migrations",
		Command: "crmctl migrate all-tenants"}}, nil
}
