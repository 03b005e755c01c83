package stats

import (
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// Reasons why pg_stat_statements cannot be read.
var (
	// ErrNotLoaded says that the server was started without the library.
	ErrNotLoaded = errors.New("pg_stat_statements is not loaded: it is not in shared_preload_libraries")
	// ErrNotCreated says that the database has no such extension.
	ErrNotCreated = errors.New("the extension pg_stat_statements is not in this database")
	// ErrOutdated says that the extension is older than what can be read.
	ErrOutdated = errors.New("the extension pg_stat_statements is older than 1.9, as an upgrade of the server leaves it")
)

const (
	// longestStatement is how many characters of a statement are looked at: one of a
	// megabyte is known by its beginning.
	longestStatement = 32_000
	// shownStatement is how many characters of it are kept.
	shownStatement = 4000
	// namesAreIDs is the first version in which a statement is known by the names of its
	// tables, so that it has one entry for all tenants, with the text of the first.
	namesAreIDs = 180000
)

// Work is what the server has counted for statements.
type Work struct {
	Calls     int64
	Total     time.Duration
	Max       time.Duration
	Rows      int64
	Hit, Read int64 // blocks found in shared buffers, and not
}

// Mean is the average time of a call.
func (w Work) Mean() time.Duration {
	if w.Calls == 0 {
		return 0
	}
	return w.Total / time.Duration(w.Calls)
}

// HitRatio is the part of the blocks that was found in shared buffers, 1 where none was
// asked for.
func (w Work) HitRatio() float64 {
	if w.Hit+w.Read == 0 {
		return 1
	}
	return float64(w.Hit) / float64(w.Hit+w.Read)
}

func (w *Work) add(o Work) {
	w.Calls += o.Calls
	w.Total += o.Total
	w.Max = max(w.Max, o.Max)
	w.Rows += o.Rows
	w.Hit += o.Hit
	w.Read += o.Read
}

// Query is a statement over the fleet.
type Query struct {
	Text string // on one line, without tenants and strings
	Work
	Entries int      // of pg_stat_statements
	Tenants int      // that are known to have run it
	Roles   []string // that have run it, tenants' own left out
	IDs     []int64  // of its entries, at most maxIDs
	tenants map[string]bool
}

const maxIDs = 20

// TenantQueries is what a tenant's statements take, as far as they are known to be its own.
type TenantQueries struct {
	Slug    string
	Whose   Whose // ByRole, or ByText
	Queries int   // different ones
	Work
}

// ByText is the way to know a statement's tenant by the schema that stands in it.
const ByText Whose = "text"

// Queries are the statements of a fleet, as pg_stat_statements has counted them.
type Queries struct {
	At      time.Time
	Since   time.Time // when they were last reset
	Dealloc int64     // how often the least used entries were thrown away for want of room
	Most    int       // entries that there is room for
	Entries int       // of this database
	// Off says that the server does not count ("compute_query_id is off"); "" where it does.
	Off     string
	Queries []Query         // the one that took longest first
	Tenants []TenantQueries // likewise
	All     Work            // of all statements of the database
	Unknown Work            // of no tenant that is known; not in Tenants
	Hidden  Work            // of other roles, whose text this role may not see; not in Queries
	// ByName tells that a statement is known by the names of its tables, which is so since
	// PostgreSQL 18: the text is the first tenant's.
	ByName bool
}

// place is where pg_stat_statements is.
type place struct {
	schema, version, most, compute, track string
	server                                int
	created                               bool
}

const placeQuery = `
	select coalesce(n.nspname::text, ''), coalesce(e.extversion, ''), e.oid is not null,
		coalesce(pg_catalog.current_setting('pg_stat_statements.max', true), ''),
		pg_catalog.current_setting('compute_query_id'),
		coalesce(pg_catalog.current_setting('pg_stat_statements.track', true), ''),
		pg_catalog.current_setting('server_version_num')::int
	from (select) one
	left join pg_catalog.pg_extension e on e.extname = 'pg_stat_statements'
	left join pg_catalog.pg_namespace n on n.oid = e.extnamespace`

func findStatements(ctx context.Context, q db.Querier) (place, error) {
	found, err := db.Select(ctx, q, func(row pgx.CollectableRow) (p place, err error) {
		err = row.Scan(&p.schema, &p.version, &p.created, &p.most, &p.compute, &p.track, &p.server)
		return p, err
	}, placeQuery)
	switch {
	case err != nil:
		return place{}, err
	case found[0].most == "":
		return found[0], ErrNotLoaded
	case !found[0].created:
		return found[0], ErrNotCreated
	}
	var major, minor int
	_, err = fmt.Sscanf(found[0].version, "%d.%d", &major, &minor)
	if err != nil || major < 1 || major == 1 && minor < 9 {
		return found[0], ErrOutdated
	}
	return found[0], nil
}

// off says why the server counts no statements.
func (p place) off() string {
	switch {
	case p.compute == "off":
		return "compute_query_id is off"
	case p.track == "none":
		return "pg_stat_statements.track is none"
	}
	return ""
}

// QueryOptions say which statements are wanted.
type QueryOptions struct {
	Registry registry.Registry
	// Tenant picks tenants; nil for all statements, whoever's they are.
	Tenant func(slug string) bool
}

// ReadQueries reads what pg_stat_statements has counted in this database, and puts
// together what is one statement over the tenants. Statements inside of functions are left
// out: their time is part of the call's. The errors ErrNotLoaded, ErrNotCreated and
// ErrOutdated say why it cannot. conn must not be in a transaction. It locks nothing of a
// tenant's; the texts are read one by one, and memory holds the different ones.
func ReadQueries(ctx context.Context, conn *pgx.Conn, o QueryOptions) (Queries, error) {
	r := newReader(o)
	err := db.InTx(ctx, conn, looking(waitForLock), func(ctx context.Context, q db.Querier) error {
		if err := r.know(ctx, q); err != nil {
			return err
		}
		at, err := findStatements(ctx, q)
		if err != nil {
			return err
		}
		r.out.Off, r.out.ByName = at.off(), at.server >= namesAreIDs
		if _, err := fmt.Sscan(at.most, &r.out.Most); err != nil {
			return fmt.Errorf("pg_stat_statements.max: %w", err)
		}
		return r.read(ctx, q, at.schema)
	})
	if err != nil {
		return r.out, fmt.Errorf("read the statements of the server: %w", err)
	}
	return r.result(), nil
}

// statementsQuery is a query for the entries of this database. The functions of the
// extension are called where it stands, with their exact arguments: nobody else's can
// come before them.
func statementsQuery(schema string) string {
	return `
	select coalesce(r.rolname::text, ''), coalesce(s.queryid, 0), s.queryid is null,
		pg_catalog.left(coalesce(s.query, ''), ` + fmt.Sprint(longestStatement) + `), s.calls,
		s.total_exec_time, s.max_exec_time, s.rows, s.shared_blks_hit, s.shared_blks_read
	from ` + db.Quoted(schema) + `.pg_stat_statements(true::bool) s
	join pg_catalog.pg_database d on d.oid = s.dbid and d.datname = pg_catalog.current_database()
	left join pg_catalog.pg_roles r on r.oid = s.userid
	where s.toplevel and s.calls > 0`
}

// entry is one of pg_stat_statements.
type entry struct {
	role   string
	id     int64
	hidden bool
	text   string
	Work
}

type reader struct {
	o       QueryOptions
	out     Queries
	known   schemas
	at      map[[sha256.Size]byte]int // in out.Queries
	tenants map[string]*tenantSum
}

type tenantSum struct {
	TenantQueries
	queries map[int]bool
}

func newReader(o QueryOptions) *reader {
	return &reader{o: o, at: map[[sha256.Size]byte]int{}, tenants: map[string]*tenantSum{},
		known: schemas{tenants: map[string]string{}, roles: map[string]string{}, others: map[string]bool{}}}
}

// know reads which schemas and roles are whose.
func (r *reader) know(ctx context.Context, q db.Querier) error {
	tenants, err := r.o.Registry.List(ctx, q, registry.Filter{})
	if err != nil {
		return err
	}
	for _, t := range tenants {
		r.known.tenants[t.Schema.String()] = t.Slug
		if t.Role != "" {
			r.known.roles[t.Role] = t.Slug
		}
	}
	names, err := db.Select(ctx, q, pgx.RowTo[string], "select n.nspname::text from pg_catalog.pg_namespace n")
	if err != nil {
		return err
	}
	for _, name := range names {
		r.known.others[name] = r.known.tenants[name] == ""
	}
	return nil
}

func (r *reader) read(ctx context.Context, q db.Querier, schema string) error {
	var p db.Pipeline
	p.QueryRow([]any{&r.out.At, &r.out.Since, &r.out.Dealloc}, `select pg_catalog.now(), i.stats_reset, i.dealloc
		from `+db.Quoted(schema)+`.pg_stat_statements_info() i`)
	p.Query(func(rows pgx.Rows) error {
		var e entry
		var total, most float64
		_, err := pgx.ForEachRow(rows, []any{&e.role, &e.id, &e.hidden, &e.text, &e.Calls, &total, &most, &e.Rows, &e.Hit,
			&e.Read}, func() error {
			e.Total, e.Max = milliseconds(total), milliseconds(most)
			r.take(e)
			return nil
		})
		return err
	}, statementsQuery(schema))
	return db.Plain(p.Run(ctx, q))
}

func milliseconds(n float64) time.Duration { return time.Duration(n * float64(time.Millisecond)) }

// take adds an entry.
func (r *reader) take(e entry) {
	r.out.Entries++
	r.out.All.add(e.Work)
	slug, whose := r.known.roles[e.role], ByRole
	if e.hidden {
		r.out.Hidden.add(e.Work)
		if slug == "" {
			r.out.Unknown.add(e.Work)
		} else {
			r.sum(slug, whose, -1, e.Work)
		}
		return
	}
	n := r.known.normalize(e.text)
	if slug == "" && !r.out.ByName { // since 18 the text is that of the first tenant
		slug, whose = n.slug, ByText
	}
	if slug == "" {
		r.out.Unknown.add(e.Work)
	}
	if r.o.Tenant != nil && (slug == "" || !r.o.Tenant(slug)) {
		return
	}
	at := r.query(n)
	query := &r.out.Queries[at]
	query.add(e.Work)
	query.Entries++
	if len(query.IDs) < maxIDs && !slices.Contains(query.IDs, e.id) {
		query.IDs = append(query.IDs, e.id)
	}
	if r.known.roles[e.role] == "" && e.role != "" && !slices.Contains(query.Roles, e.role) {
		query.Roles = append(query.Roles, e.role)
	}
	if slug != "" {
		query.tenants[slug] = true
		r.sum(slug, whose, at, e.Work)
	}
}

// query returns where a statement is in the result.
func (r *reader) query(n normalized) int {
	key := sha256.Sum256([]byte(n.key))
	at, found := r.at[key]
	if !found {
		at = len(r.out.Queries)
		r.at[key] = at
		text := n.text
		if runes := []rune(text); len(runes) > shownStatement {
			text = string(runes[:shownStatement]) + "..."
		}
		r.out.Queries = append(r.out.Queries, Query{Text: text, Roles: []string{}, tenants: map[string]bool{}})
	}
	return at
}

// sum adds to what a tenant's statements take; query is -1 where it is hidden.
func (r *reader) sum(slug string, whose Whose, query int, w Work) {
	if r.o.Tenant != nil && !r.o.Tenant(slug) {
		return
	}
	t := r.tenants[slug]
	if t == nil {
		t = &tenantSum{TenantQueries: TenantQueries{Slug: slug, Whose: whose}, queries: map[int]bool{}}
		r.tenants[slug] = t
	}
	t.add(w)
	if query >= 0 {
		t.queries[query] = true
	}
	if whose == ByRole {
		t.Whose = ByRole
	}
}

func (r *reader) result() Queries {
	for i := range r.out.Queries {
		q := &r.out.Queries[i]
		q.Tenants = len(q.tenants)
		slices.Sort(q.Roles)
	}
	for _, t := range r.tenants {
		t.Queries = len(t.queries)
		r.out.Tenants = append(r.out.Tenants, t.TenantQueries)
	}
	slices.SortFunc(r.out.Queries, func(a, b Query) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Text, b.Text))
	})
	slices.SortFunc(r.out.Tenants, func(a, b TenantQueries) int {
		return cmp.Or(cmp.Compare(b.Total, a.Total), cmp.Compare(a.Slug, b.Slug))
	})
	return r.out
}

// Order is what statements and tenants are ranked by.
type Order string

// Orders. Each puts the most first.
const (
	OrderTotal Order = "total" // time of all calls
	OrderMean  Order = "mean"  // time of a call
	OrderMax   Order = "max"   // time of the longest call
	OrderCalls Order = "calls"
	OrderRows  Order = "rows"
	OrderRead  Order = "read" // blocks that were not in shared buffers
)

// Orders returns every order.
func Orders() []Order {
	return []Order{OrderTotal, OrderMean, OrderMax, OrderCalls, OrderRows, OrderRead}
}

func (w Work) by(o Order) int64 {
	switch o {
	case OrderMean:
		return int64(w.Mean())
	case OrderMax:
		return int64(w.Max)
	case OrderCalls:
		return w.Calls
	case OrderRows:
		return w.Rows
	case OrderRead:
		return w.Read
	case OrderTotal:
	}
	return int64(w.Total)
}

// Sort ranks statements and tenants. Of two alike the one that took longer comes first.
func (q Queries) Sort(o Order) {
	slices.SortStableFunc(q.Queries, func(a, b Query) int { return cmp.Compare(b.by(o), a.by(o)) })
	slices.SortStableFunc(q.Tenants, func(a, b TenantQueries) int { return cmp.Compare(b.by(o), a.by(o)) })
}
