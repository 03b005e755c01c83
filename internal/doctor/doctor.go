package doctor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// Tenant is a row of the registry.
type Tenant struct {
	registry.Tenant

	// Retention is the tenant's own, nil where that of FixOptions counts.
	Retention *time.Duration
}

func (t Tenant) deleted() bool { return t.Status == registry.Deleted }

// left reports whether nothing is to be done for the tenant: it is deleted, or the
// application does not name it any more, or a transfer has it.
func (t Tenant) left() bool { return t.deleted() || t.Status == registry.Gone || t.Status.Travels() }

// ActualVersion is what a tenant's own schema says of its version.
type ActualVersion struct {
	Version int64
	Late    []string // files older than Version that were never applied
	// Unmanaged tells that the schema has no version table, Gone that there is no
	// schema. Err is why it could not be read otherwise.
	Unmanaged, Gone bool
	Err             error
}

// Dirty is a tenant in the middle of a file that cannot run in a transaction.
type Dirty struct {
	Slug    string
	What    string // how far it has come
	Running bool   // it may well be at work
	Since   time.Time
}

// Fleet is what is known of the fleet elsewhere. A function that is nil leaves its
// check out.
type Fleet struct {
	Registry registry.Registry
	Tenants  []Tenant
	// Invalid are rows of the registry that nobody acts on.
	Invalid []registry.InvalidRow
	// Head is the newest version of the tenants' files, RegistryHead that of the
	// registry's, RegistryVersion where the registry is.
	Head, RegistryHead, RegistryVersion int64
	// RegistryErr is why RegistryVersion could not be read, nil where it could.
	RegistryErr error
	// RegistryOwners are things with names of the registry's, where it stands, that belong
	// to another role than the session's or are not the registry's.
	RegistryOwners []RegistryOwner
	// RegistryClosed reports that for the sake of one of these nothing of the registry may be
	// read, so that nothing else is known. RegistryWay is the command that leads on, "" for
	// none.
	RegistryClosed bool
	RegistryWay    string
	// Tables are names of tables that make a schema one of a tenant, beside those
	// that most tenants have.
	Tables []string
	// Versions reads the versions of the given tenants from their schemas.
	Versions func(ctx context.Context, tenants []Tenant) ([]ActualVersion, error)
	Dirty    func(ctx context.Context) ([]Dirty, error)
	DeadRuns func(ctx context.Context) ([]int64, error)
}

// Options say what to look at.
type Options struct {
	// Only are the classes to look for, none for all; Skip those to leave out.
	Only, Skip []Class
	// LockTimeout is how long a table of a tenant that is locked is waited for.
	LockTimeout time.Duration
	// Trusted are roles whose code may run in tenants' schemas.
	Trusted []string
	// Shared are schemas that stand on the path of every tenant, behind its own.
	Shared []string
	Now    func() time.Time // nil = time.Now
}

func (o Options) now() time.Time {
	if o.Now != nil {
		return o.Now()
	}
	return time.Now()
}

func (o Options) wants(c Class) bool {
	return (len(o.Only) == 0 || slices.Contains(o.Only, c)) && !slices.Contains(o.Skip, c)
}

// Finding is something that is wrong.
type Finding struct {
	Class    Class
	Severity Severity
	// Subject is what it is about: a tenant's slug, a schema, an object, "server".
	Subject string
	Tenant  string // slug, "" when it concerns none
	What    string
	Why     string
	Command string // what mends it: a command of crmctl, or SQL

	fix fixFunc
}

// Fixable reports whether Fix can mend it.
func (f Finding) Fixable() bool { return f.fix != nil }

// NotChecked is a check, or a part of one, that could not be made.
type NotChecked struct {
	Class Class
	Why   string
}

// Report is what Examine has found: errors first, then in the order of the checks and
// by subject.
type Report struct {
	Findings   []Finding
	NotChecked []NotChecked
	Tenants    int
	Checked    []Class
}

// Count returns how many findings have a severity.
func (r *Report) Count(s Severity) int {
	n := 0
	for _, f := range r.Findings {
		if f.Severity == s {
			n++
		}
	}
	return n
}

// checkFunc looks for one class. What it cannot read it tells x.
type checkFunc func(ctx context.Context, x *examination) ([]Finding, error)

// examination is what the checks share.
type examination struct {
	conn   *pgx.Conn
	fleet  Fleet
	o      Options
	report *Report
	class  Class

	actual []ActualVersion // of the tenants that are not deleted, once read
	usual  []string        // tables of most tenants, once read
}

// Examine looks for what is wrong. It changes nothing. An error is one of the
// connection; what the server refuses is in Report.NotChecked.
func Examine(ctx context.Context, conn *pgx.Conn, fleet Fleet, o Options) (*Report, error) {
	x := &examination{conn: conn, fleet: fleet, o: o, report: &Report{Tenants: len(fleet.Tenants)}}
	order := map[Class]int{}
	for i, c := range Checks() {
		order[c.Class] = i
		if !o.wants(c.Class) {
			continue
		}
		x.class = c.Class
		if c.Class.OfCluster() && !db.EngineOf(conn).Distributed() {
			if slices.Contains(o.Only, c.Class) {
				x.notChecked("this server is no Citus cluster")
			}
			continue
		}
		found, err := c.run(ctx, x)
		switch pgErr, answered := errors.AsType[*pgconn.PgError](err); {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case answered:
			x.notChecked("%s", pgErr.Message)
		case err != nil:
			return nil, fmt.Errorf("look for %s: %w", c.Class, err)
		default:
			x.report.Checked = append(x.report.Checked, c.Class)
		}
		for _, f := range found {
			if c.Class != InvalidRowClass && x.isInvalid(f.Tenant) {
				continue
			}
			f.Class, f.Why = c.Class, c.Why
			if c.Fix == "" {
				f.fix = nil
			}
			x.report.Findings = append(x.report.Findings, f)
		}
	}
	slices.SortStableFunc(x.report.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(rank(a.Severity), rank(b.Severity)), cmp.Compare(order[a.Class], order[b.Class]),
			cmp.Compare(a.Subject, b.Subject))
	})
	return x.report, nil
}

func rank(s Severity) int { return slices.Index([]Severity{Error, Warning, Info}, s) }

// notChecked records a part of the check that runs which could not be made.
func (x *examination) notChecked(format string, args ...any) {
	x.report.NotChecked = append(x.report.NotChecked, NotChecked{x.class, fmt.Sprintf(format, args...)})
}

// isInvalid reports whether the registry's row of a slug is not valid: what else is
// found about it says nothing, and is not to be mended.
func (x *examination) isInvalid(slug string) bool {
	return slug != "" && slices.ContainsFunc(x.fleet.Invalid, func(r registry.InvalidRow) bool { return r.Slug == slug })
}

// open returns the tenants that are neither deleted nor gone.
func (x *examination) open() []Tenant {
	return slices.DeleteFunc(slices.Clone(x.fleet.Tenants), Tenant.left)
}

// tenantSchemas are the schemas of the registry's tenants that are there. A row may
// name any schema: those that can be no tenant's are left out.
func (f Fleet) tenantSchemas() string {
	return `(
	select n.oid, n.nspname, n.nspowner, coalesce(t.slug, '') as slug, coalesce(t.status, '') as status, t.role_name,
		t.schema_version
	from ` + f.Registry.Tenants() + ` t join pg_namespace n on n.nspname = t.schema_name::name
	where n.nspname !~ '^(pg_|` + db.PoolPrefix + `)' and n.nspname not in ('public', 'information_schema', ` +
		db.Literal(f.Registry.Schema().String()) + `))`
}

// usualTables returns the names of the tables that make a schema one of a tenant: those
// that more than half of the tenants have, and those the fleet is known for.
func (x *examination) usualTables(ctx context.Context) ([]string, error) {
	if x.usual != nil {
		return x.usual, nil
	}
	names, err := db.Select(ctx, x.conn, pgx.RowTo[string], `
		select c.relname::text from pg_class c join `+x.fleet.tenantSchemas()+` s on s.oid = c.relnamespace
		where c.relkind in ('r', 'p') and c.relname not in ('goose_db_version', '`+db.UndoTable+`')
		group by c.relname having count(*) * 2 > (select count(*) from `+x.fleet.Registry.Tenants()+`)`)
	if err != nil {
		return nil, err
	}
	for _, name := range x.fleet.Tables {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	x.usual = slices.DeleteFunc(names, func(name string) bool { return slices.Contains(registry.Tables(), name) })
	return x.usual, nil
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
