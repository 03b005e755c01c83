package adopt

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/planted"
)

// historyChunk is how many schemas one statement reads: each table costs it a
// lock or two, and the server has room for some thousand.
const historyChunk = 100

// registered is a tenant that the registry knows.
type registered struct {
	ID      string
	Slug    string
	Schema  string
	Version int64
}

// claimed is what the registry says about the claims.
type claimed struct {
	bySchema map[string]registered
	bySlug   map[string]registered
}

func newClaimed() claimed {
	return claimed{bySchema: make(map[string]registered), bySlug: make(map[string]registered)}
}

// queue adds the reading of the rows that the claims may meet.
func (r claimed) queue(p *db.Pipeline, claims []Adoption, o Options) {
	var schemas, slugs []string
	for _, c := range claims {
		if c.Err != nil { // a name that may not even be a text for the server
			continue
		}
		schemas = append(schemas, c.Schema)
		slug := c.Slug
		if slug == "" {
			slug, _ = o.Slug(c.Schema) // a name that makes no slug is refused later
		}
		slugs = append(slugs, slug)
	}
	p.Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToStructByName[registered])
		for _, t := range found {
			r.bySchema[t.Schema], r.bySlug[t.Slug] = t, t
		}
		return err
	}, `select id::pg_catalog.text, coalesce(slug, '') as slug, coalesce(schema_name, '') as schema,
		coalesce(schema_version, -1) as version from `+o.Registry.Tenants()+`
		where schema_name operator(pg_catalog.=) any ($1::pg_catalog.text[])
			or slug operator(pg_catalog.=) any ($2::pg_catalog.text[])`, schemas, slugs)
}

func readRegistry(ctx context.Context, q db.Querier, claims []Adoption, o Options) (claimed, error) {
	r := newClaimed()
	var p db.Pipeline
	r.queue(&p, claims, o)
	if err := p.Run(ctx, q); err != nil {
		return r, fmt.Errorf("read the registry: %w", err)
	}
	return r, nil
}

// history is what a schema says was applied to it.
type history struct {
	exists bool // the schema
	goose  gooseHistory
	told   told
	found  *tool // a known program that has a table there
	err    error // it cannot be read
}

// unmanaged returns what says that a table is missing, and what is there instead.
func (h history) unmanaged(schema, table string) error {
	e := &UnmanagedError{Schema: schema, Table: table}
	if h.found != nil {
		e.Tool, e.Found = h.found.name, h.found.table
	}
	return e
}

// gooseHistory is what goose_db_version says.
type gooseHistory struct {
	exists bool
	rows   []gooseRow
}

type gooseRow struct {
	id, version int64
	up          bool // is_applied
}

// applied returns the applied versions in the order in which they were, 0 left
// out. The versions of a goose that marked what it took back with a row of its
// own, instead of deleting the row, cannot be told from applied ones by anything
// that reads rows one by one.
func (g gooseHistory) applied() ([]int64, error) {
	slices.SortStableFunc(g.rows, func(a, b gooseRow) int { return cmp.Compare(a.id, b.id) })
	last, ever := make(map[int64]bool), make(map[int64]bool)
	var order []int64
	for _, r := range g.rows {
		if r.up && !ever[r.version] && r.version != 0 {
			ever[r.version] = true
			order = append(order, r.version)
		}
		last[r.version] = r.up
	}
	for _, v := range order {
		if !last[v] {
			return nil, fmt.Errorf("%w: version %d was taken back by an old goose; delete its rows from %s", ErrHistory, v,
				migrate.VersionTable)
		}
	}
	return order, nil
}

// readHistories returns the history of each claimed schema. It asks the catalog
// once which of them have what, then reads their tables in chunks.
func readHistories(ctx context.Context, q db.Querier, claims []Adoption, o Options) ([]history, error) {
	states := make([]history, len(claims))
	byName := make(map[string][]int, len(claims))
	for i, c := range claims {
		if c.Err == nil {
			byName[c.Schema] = append(byName[c.Schema], i)
		}
	}
	if err := readCatalog(ctx, q, byName, states, o); err != nil {
		return nil, err
	}
	var readable []int
	for i := range states {
		if states[i].err == nil && (states[i].goose.exists || states[i].told.exists) {
			readable = append(readable, i)
		}
	}
	size := historyChunk
	if o.Source != nil {
		size /= 2 // up to three tables each
	}
	chunks := slices.Collect(slices.Chunk(readable, size))
	if err := o.each(ctx, q, len(chunks), func(ctx context.Context, q db.Querier, n int) error {
		for _, i := range chunks[n] {
			states[i].err = nil // of an attempt that was cut short
		}
		return readChunk(ctx, q, claims, chunks[n], states, o)
	}); err != nil {
		return nil, err
	}
	return states, nil
}

const (
	// chunksToShare is how many are worth other connections.
	chunksToShare = 8
	// chunksAConnection keeps a server process from growing with what it has read.
	chunksAConnection = 20
)

// each does work for the chunks 0 to n-1, over several connections where there are many: it
// is the server that is busy, with the plans of statements that nobody sends again.
func (o Options) each(ctx context.Context, q db.Querier, n int,
	work func(ctx context.Context, q db.Querier, chunk int) error) error {
	if o.Connect == nil || n < chunksToShare {
		for chunk := range n {
			if err := work(ctx, q, chunk); err != nil {
				return err
			}
		}
		return nil
	}
	results, stopped := fleet.Run(ctx, o.Connect, n, fleet.Options{RecycleAfter: chunksAConnection},
		func(ctx context.Context, conn *pgx.Conn, chunk int) error { return work(ctx, conn, chunk) })
	for _, r := range results {
		if r.Err != nil {
			return r.Err
		}
	}
	return stopped
}

// table is what the catalog says of one.
type table struct {
	Schema  string
	Name    string
	Open    bool // may be read
	Columns []string
}

// readCatalog finds out which schemas exist and which tables of versions they
// have.
func readCatalog(ctx context.Context, q db.Querier, byName map[string][]int, states []history, o Options) error {
	wanted := make(map[string][]string) // table -> its columns
	wanted[migrate.VersionTable] = []string{"id", "version_id", "is_applied"}
	names := []string{migrate.VersionTable}
	for _, t := range tools() {
		names = append(names, t.table) // also to say whose table is there instead
	}
	if o.Source != nil {
		maps.Copy(wanted, o.Source.tables())
		names = slices.AppendSeq(names, maps.Keys(wanted))
	}
	var schemas []string
	for schema := range byName {
		schemas = append(schemas, schema)
	}
	there, err := db.Select(ctx, q, pgx.RowTo[string],
		`select nspname::text from pg_namespace where nspname::text = any ($1::text[])`, schemas)
	if err != nil {
		return fmt.Errorf("look for the schemas: %w", err)
	}
	for _, name := range there {
		for _, i := range byName[name] {
			states[i].exists = true
		}
	}
	tables, err := db.Select(ctx, q, pgx.RowToStructByName[table], `
		select n.nspname::text as schema, c.relname::text as name,
		       has_schema_privilege(n.oid, 'usage') and has_table_privilege(c.oid, 'select') as open,
		       array(select a.attname::text from pg_attribute a where a.attrelid = c.oid and a.attnum > 0
		       	and not a.attisdropped) as columns
		from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.relname = any ($1::name[]) and n.nspname::text = any ($2::text[]) and c.relkind in ('r', 'p')`,
		names, schemas)
	if err != nil {
		return fmt.Errorf("look for the tables of versions: %w", err)
	}
	for _, t := range tables {
		for _, i := range byName[t.Schema] {
			states[i].take(t, wanted, o)
		}
	}
	return nil
}

// take notes a table that a schema has.
func (h *history) take(t table, wanted map[string][]string, o Options) {
	if found := keeper(t.Name, t.Columns); found != nil {
		h.found = found
	}
	columns, asked := wanted[t.Name]
	if !asked {
		return
	}
	if o.Source != nil && t.Name == o.Source.table() {
		if odd := o.Source.tool.fits(t.Columns); odd != "" {
			h.err = fmt.Errorf("%w: %s of %s has %s, so it is not %s's", migrate.ErrNotManaged, t.Name, t.Schema, odd,
				o.Source.tool.title)
			return
		}
	}
	for _, c := range columns {
		if !slices.Contains(t.Columns, c) {
			h.err = fmt.Errorf("%w: %s of %s has no column %s", migrate.ErrNotManaged, t.Name, t.Schema, c)
			return
		}
	}
	if !t.Open {
		h.err = fmt.Errorf("%s of %s may not be read by this role (grant select on it)", t.Name, t.Schema)
		return
	}
	switch {
	case t.Name == migrate.VersionTable:
		h.goose.exists = true
	case t.Name == o.Source.table():
		h.told.exists = true
	default:
		h.told.hasLock = true
	}
}

// readChunk reads the tables of some schemas in one statement. One of them that
// cannot be read (it is locked, or was dropped a moment ago) fails the statement
// for all, so the chunk is halved until it stands alone.
func readChunk(ctx context.Context, q db.Querier, claims []Adoption, chunk []int, states []history, o Options) error {
	var p db.Pipeline
	p.Exec("begin isolation level read committed")
	p.OwnTransaction()
	p.Exec(`select pg_catalog.set_config('lock_timeout', $1, true)`, strconv.FormatInt(o.LockTimeout.Milliseconds(), 10))
	queuePlain(&p, claims, chunk, states, o)
	queueGoose(&p, claims, chunk, states)
	if o.Source != nil {
		o.Source.queue(&p, claims, chunk, states)
	}
	p.Exec("commit")
	err := p.Run(ctx, q)
	if err != nil {
		_, _ = q.Exec(context.WithoutCancel(ctx), "rollback") // the connection is gone, or it cannot fail
	}
	switch {
	case err == nil:
		return nil
	case db.SQLState(err) == "" || ctx.Err() != nil: // no matter of a table
		return fmt.Errorf("read the versions: %w", err)
	case len(chunk) == 1:
		states[chunk[0]].err = fmt.Errorf("read the versions: %w", err)
		return nil
	}
	for _, half := range [][]int{chunk[:len(chunk)/2], chunk[len(chunk)/2:]} {
		if err := readChunk(ctx, q, claims, half, states, o); err != nil {
			return err
		}
	}
	return nil
}

// queueHistory adds the reading of one claim's history into states[0], to be done
// in its transaction. The survey has found out which tables there are.
func queueHistory(p *db.Pipeline, planned Adoption, o Options, states []history) {
	claims, only := []Adoption{planned}, []int{0}
	states[0].exists = true
	states[0].goose.exists, states[0].told.exists, states[0].told.hasLock = planned.has.goose, planned.has.told,
		planned.has.lock
	queuePlain(p, claims, only, states, o)
	if planned.has.lock {
		o.Source.hold(p, planned)
	}
	queueGoose(p, claims, only, states)
	if o.Source != nil {
		o.Source.queue(p, claims, only, states)
	}
}

// queuePlain makes sure that the tables of versions are such: until they are adopted
// they are somebody else's.
func queuePlain(p *db.Pipeline, claims []Adoption, chunk []int, states []history, o Options) {
	var tables []planted.Table
	for _, i := range chunk {
		add := func(there bool, name string, columns []string) {
			if there {
				tables = append(tables, planted.Table{Schema: claims[i].schema.String(), Name: name, Columns: columns})
			}
		}
		add(states[i].goose.exists, migrate.VersionTable, []string{"id", "version_id", "is_applied"})
		if o.Source != nil {
			add(states[i].told.exists, o.Source.table(), o.Source.tool.columns)
			add(states[i].told.hasLock, o.Source.lockTable(), []string{"is_locked"})
		}
	}
	planted.QueueRead(p, tables)
}

// queueGoose adds the reading of the goose_db_version of those that have one. The
// rows come as they are and are sorted here: with an aggregate for each schema the
// server would plan ten times as long.
func queueGoose(p *db.Pipeline, claims []Adoption, chunk []int, states []history) {
	var parts []string
	for _, i := range chunk {
		states[i].goose.rows = nil
		if states[i].goose.exists {
			parts = append(parts, fmt.Sprintf(`select %d, id::pg_catalog.int8, version_id::pg_catalog.int8, is_applied
				from %s.%s`,
				i, claims[i].schema.Quoted(), migrate.VersionTable))
		}
	}
	queueUnion(p, parts, func(rows pgx.Rows) error {
		var (
			i int
			r gooseRow
		)
		if err := rows.Scan(&i, &r.id, &r.version, &r.up); err != nil {
			return err
		}
		states[i].goose.rows = append(states[i].goose.rows, r)
		return nil
	})
}

// queueUnion adds the union of queries, if there are any, and hands each row to
// read.
func queueUnion(p *db.Pipeline, parts []string, read func(pgx.Rows) error) {
	if len(parts) == 0 {
		return
	}
	p.Query(func(rows pgx.Rows) error {
		for rows.Next() {
			if err := read(rows); err != nil {
				return err
			}
		}
		return rows.Err()
	}, strings.Join(parts, "\nunion all\n"))
}
