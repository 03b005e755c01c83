package stats

import (
	"context"
	"fmt"
	"math"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

const (
	// chunkSize is how many tenants one statement measures. The functions let go
	// of each relation as soon as they have its size.
	chunkSize = 100
	// recycleAfter is how many tenants are measured on one connection.
	recycleAfter = 300
	// waitAgain bounds the wait for a relation of one tenant after its chunk has waited: many
	// may be locked, as by a migration in one transaction.
	waitAgain = 20 * time.Millisecond
)

// relations is a query for what has to be measured: id, slug, status, whether
// the schema is there, its tables, and what is known about the table contacts.
// The relations are grouped before they meet the tenants, so that no plan looks
// through pg_class once a tenant, which has no index for that.
func relations(reg registry.Registry) string {
	return `
	select t.id::text, t.slug, t.status, t.schema_name, n.oid is not null,
		coalesce(s.tables, '{}'), s.contacts, coalesce(s.plain, false), s.tuples, s.pages
	from ` + reg.Tenants() + ` t
	left join pg_catalog.pg_namespace n on n.nspname = t.schema_name
	left join (
		select c.relnamespace,
			array_agg(c.oid::bigint) filter (where c.relkind <> 'p') as tables,
			(max(c.oid) filter (where c.relname = 'contacts'))::bigint as contacts,
			bool_or(c.relkind = 'r') filter (where c.relname = 'contacts') as plain,
			max(c.reltuples) filter (where c.relname = 'contacts') as tuples,
			max(c.relpages) filter (where c.relname = 'contacts') as pages
		from pg_catalog.pg_class c
		where c.relkind in ('r', 'm', 'S') or c.relkind = 'p' and c.relname = 'contacts'
		group by c.relnamespace
	) s on s.relnamespace = n.oid
	where ` + selected
}

// measured is a query for the sizes of tables: $1 says which of the tenants each
// of them belongs to, $2 which table it is, $3 whether its own pages count. A
// table that is gone has no size.
const measured = `
	select u.tenant, sum(pg_catalog.pg_table_size(u.relation::oid))::bigint,
		sum(pg_catalog.pg_indexes_size(u.relation::oid))::bigint,
		(sum(pg_catalog.pg_relation_size(u.relation::oid)) filter (where u.contacts)
			/ pg_catalog.current_setting('block_size')::bigint)::float8
	from unnest($1::bigint[], $2::bigint[], $3::bool[]) as u (tenant, relation, contacts)
	group by u.tenant`

// subject is a tenant to be measured.
type subject struct {
	TenantSize

	tables   []int64  // oids of what takes room: tables, materialized views, sequences
	contacts *int64   // oid of the table contacts
	plain    bool     // contacts is a plain table, not a partitioned one
	tuples   *float32 // as of the last analysis; -1 for never
	pages    *int32   // as of then
}

func scanSubject(row pgx.CollectableRow) (*subject, error) {
	s := &subject{}
	err := row.Scan(&s.ID, &s.Slug, &s.Status, &s.schema, &s.Known, &s.tables, &s.contacts, &s.plain, &s.tuples, &s.pages)
	s.Exact = true
	return s, err
}

// rows estimates the rows of contacts as the planner does, from how dense they
// were, given the pages there are now (nil when they were not measured).
func (s *subject) rows(now *float64) *int64 {
	count := func(n float64) *int64 {
		rounded := int64(math.Round(n))
		return &rounded
	}
	switch {
	case s.tuples == nil:
		return nil
	case s.plain && now != nil && *now == 0:
		return count(0)
	case *s.tuples < 0:
		return nil
	case !s.plain || now == nil:
		return count(float64(*s.tuples))
	case *s.pages <= 0:
		return nil
	}
	return count(float64(*s.tuples) / float64(*s.pages) * *now)
}

// measure returns the tenants with their exact sizes, in no order. Those whose
// tables are locked are estimated.
func measure(ctx context.Context, q db.Querier, o SizeOptions) (at time.Time, tenants []TenantSize, err error) {
	var subjects []*subject
	err = glance(ctx, q, func(p *db.Pipeline) {
		bound(p, o.Timeout)
		p.QueryRow([]any{&at}, "select pg_catalog.now()")
		p.Query(func(rows pgx.Rows) (err error) {
			subjects, err = pgx.CollectRows(rows, scanSubject)
			return err
		}, relations(o.Registry), o.args()...)
	})
	if err != nil {
		return at, nil, fmt.Errorf("find what to measure: %w", err)
	}
	m := meter{q: q, o: o, total: len(subjects)}
	defer m.close()
	if err := m.measureAll(ctx, subjects); err != nil {
		return at, nil, err
	}
	for _, s := range subjects {
		tenants = append(tenants, s.TenantSize)
	}
	return at, tenants, nil
}

// meter measures tenants, on one connection after another.
type meter struct {
	q       db.Querier
	o       SizeOptions
	own     *pgx.Conn // nil as long as q is the caller's
	on      int       // tenants measured on q
	done    int
	total   int
	refused []*subject // a table of theirs was locked
}

func (m *meter) measureAll(ctx context.Context, subjects []*subject) error {
	for len(subjects) > 0 {
		n := min(chunkSize, len(subjects))
		if err := m.recycle(ctx); err != nil {
			return err
		}
		if err := m.measure(ctx, subjects[:n], waitForLock); err != nil {
			return fmt.Errorf("measure sizes: %w", err)
		}
		m.measured(n)
		subjects = subjects[n:]
	}
	return m.estimateRefused(ctx)
}

// measured notes how many more tenants are measured.
func (m *meter) measured(n int) {
	m.on += n
	m.done += n
	if m.o.Measured != nil {
		m.o.Measured(m.done, m.total)
	}
}

// recycle takes another connection when the present one has seen enough.
func (m *meter) recycle(ctx context.Context) error {
	if m.o.Dial == nil || m.on < recycleAfter {
		return nil
	}
	conn, err := m.o.Dial(ctx)
	if err != nil {
		return err
	}
	m.close()
	m.q, m.own, m.on = conn, conn, 0
	return nil
}

func (m *meter) close() {
	if m.own != nil {
		_ = m.own.Close(context.Background())
		m.own = nil
	}
}

// measure measures a chunk. When a lock stands in the way it goes on tenant by
// tenant, so that only those who are locked are estimated.
func (m *meter) measure(ctx context.Context, chunk []*subject, wait time.Duration) error {
	err := measureChunk(ctx, m.q, chunk, wait)
	if db.SQLState(err) != db.CodeLockNotAvailable {
		return err
	}
	if len(chunk) == 1 {
		m.refused = append(m.refused, chunk[0])
		return nil
	}
	for i := range chunk {
		if err := m.measure(ctx, chunk[i:i+1], waitAgain); err != nil {
			return err
		}
	}
	return nil
}

func measureChunk(ctx context.Context, q db.Querier, chunk []*subject, wait time.Duration) error {
	var owners, tables []int64
	var contacts []bool
	for i, s := range chunk {
		for _, oid := range s.tables {
			owners, tables = append(owners, int64(i)), append(tables, oid)
			contacts = append(contacts, s.contacts != nil && *s.contacts == oid)
		}
	}
	if len(tables) == 0 {
		return nil
	}
	return glanceFor(ctx, q, wait, func(p *db.Pipeline) {
		p.Query(func(rows pgx.Rows) error {
			var i int64
			var table, index *int64
			var pages *float64
			_, err := pgx.ForEachRow(rows, []any{&i, &table, &index, &pages}, func() error {
				chunk[i].set(table, index, pages)
				return nil
			})
			return err
		}, measured, owners, tables, contacts)
	})
}

// set takes over what was measured: nil when every table has gone meanwhile.
func (s *subject) set(table, index *int64, pages *float64) {
	if table == nil || index == nil {
		s.Known = false
		return
	}
	s.TableBytes, s.IndexBytes = *table, *index
	s.TenantSize.Contacts = s.rows(pages)
}

// estimateRefused gives those who could not be measured their estimates.
func (m *meter) estimateRefused(ctx context.Context) error {
	if len(m.refused) == 0 {
		return nil
	}
	byID := make(map[string]*subject, len(m.refused))
	o := SizeOptions{Registry: m.o.Registry, Slugs: []string{}}
	for _, s := range m.refused {
		byID[s.ID] = s
		o.Slugs = append(o.Slugs, s.Slug)
		s.Known, s.Exact = false, false
	}
	_, estimates, err := estimate(ctx, m.q, o)
	for _, e := range estimates {
		if s := byID[e.ID]; s != nil {
			s.TenantSize = e
		}
	}
	return err
}
