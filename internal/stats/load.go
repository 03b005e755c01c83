package stats

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// Counters are what the server has counted for a schema since its statistics were
// last reset.
type Counters struct {
	Fetched    float64 // blocks asked for: of tables, indexes and TOAST
	Hit        float64 // of them found in shared buffers
	Rows       float64 // read, by sequential scans and through indexes
	Written    float64 // rows inserted, updated and deleted
	SeqScans   float64
	IndexScans float64
}

// minus returns what was counted since an earlier sample, and whether counters went
// back: somebody reset the statistics, or dropped a table. What was done meanwhile is not
// known then, and taken for nothing rather than for all that was ever counted.
func (c Counters) minus(earlier Counters) (done Counters, back bool) {
	since := func(now, then float64) float64 {
		back = back || now < then
		return max(now-then, 0)
	}
	return Counters{
		Fetched: since(c.Fetched, earlier.Fetched), Hit: since(c.Hit, earlier.Hit),
		Rows: since(c.Rows, earlier.Rows), Written: since(c.Written, earlier.Written),
		SeqScans: since(c.SeqScans, earlier.SeqScans), IndexScans: since(c.IndexScans, earlier.IndexScans),
	}, back
}

func (c Counters) plus(o Counters) Counters {
	return Counters{c.Fetched + o.Fetched, c.Hit + o.Hit, c.Rows + o.Rows, c.Written + o.Written,
		c.SeqScans + o.SeqScans, c.IndexScans + o.IndexScans}
}

func (c Counters) over(seconds float64) Counters {
	return Counters{c.Fetched / seconds, c.Hit / seconds, c.Rows / seconds, c.Written / seconds,
		c.SeqScans / seconds, c.IndexScans / seconds}
}

// Read is the number of blocks that did not stand in shared buffers: they came from
// the disk or from the operating system's memory.
func (c Counters) Read() float64 { return max(c.Fetched-c.Hit, 0) }

// LoadSample is what was counted up to a moment.
type LoadSample struct {
	At        time.Time // by the server's clock
	BlockSize int64     // bytes
	Lost      []string  // nodes of a cluster that did not answer: their tenants are not counted
	tenants   map[string]counted
	outside   Counters
}

type counted struct {
	slug, status string
	Counters
}

// TenantLoad is what a tenant did between two samples, a second.
type TenantLoad struct {
	ID     string // uuid
	Slug   string
	Status string
	Counters
}

// Load is what the fleet did between two samples, a second.
type Load struct {
	At        time.Time // of the later sample
	Seconds   float64   // between the two
	BlockSize int64
	Tenants   []TenantLoad // those that did anything, the one with the most blocks first
	Outside   Counters     // in schemas of no selected tenant, without the system's
	Back      int          // tenants whose counters went back, which are too low
	Lost      []string     // nodes of a cluster that did not answer the later time
}

// Sum adds up what tenants do.
func (l Load) Sum() Counters {
	var sum Counters
	for _, t := range l.Tenants {
		sum = sum.plus(t.Counters)
	}
	return sum
}

// loads is a query for the counters of every schema: the tenant's id, slug and status,
// empty for all other schemas together. It calls the functions that the views pg_stat_*
// and pg_statio_* are made of, for the relations that anybody has read: the views group
// all of pg_index and take several times as long. None of the functions opens a relation,
// so no lock is taken on any tenant's table. Counts are added up as float8, whose sum is
// cheaper than that of bigint, which is numeric. Where nodes have counted, $4 is what they say.
func loads(reg registry.Registry, onNodes bool) string {
	there := ``
	if onNodes {
		there = `
		union all
		select n.oid, o.fetched, o.hit, o.rows, o.written, o.seq_scans, o.index_scans
		from pg_catalog.json_to_recordset($4::json) o (schema text, fetched float8, hit float8, rows float8,
			written float8, seq_scans float8, index_scans float8)
		join pg_catalog.pg_namespace n on n.nspname = o.schema`
	}
	return `
	select coalesce(t.id::text, ''), coalesce(t.slug, ''), coalesce(t.status, ''),
		sum(s.fetched), sum(s.hit), sum(s.rows), sum(s.written), sum(s.seq_scans), sum(s.index_scans)
	from (
		select r.namespace,
			sum(pg_catalog.pg_stat_get_blocks_fetched(r.oid)::float8) as fetched,
			sum(pg_catalog.pg_stat_get_blocks_hit(r.oid)::float8) as hit,
			sum(case r.kind when 'r' then pg_catalog.pg_stat_get_tuples_returned(r.oid)::float8 else 0 end
				+ case when r.kind in ('r', 'i') then pg_catalog.pg_stat_get_tuples_fetched(r.oid)::float8 else 0 end) as rows,
			sum(case when r.kind = 'r' then pg_catalog.pg_stat_get_tuples_inserted(r.oid)::float8
				+ pg_catalog.pg_stat_get_tuples_updated(r.oid)::float8
				+ pg_catalog.pg_stat_get_tuples_deleted(r.oid)::float8 else 0 end) as written,
			sum(case when r.kind = 'r' then pg_catalog.pg_stat_get_numscans(r.oid)::float8 else 0 end) as seq_scans,
			sum(case when r.kind = 'i' then pg_catalog.pg_stat_get_numscans(r.oid)::float8 else 0 end) as index_scans
		from (
			select c.relnamespace as namespace, c.oid, case c.relkind when 'i' then 'i' else 'r' end as kind
			from pg_catalog.pg_class c
			where c.relkind in ('r', 'm', 'i')
			union all
			select c.relnamespace, c.reltoastrelid, 't'
			from pg_catalog.pg_class c
			where c.reltoastrelid <> 0
			union all
			select c.relnamespace, i.indexrelid, 't'
			from pg_catalog.pg_class c
			join pg_catalog.pg_index i on i.indrelid = c.reltoastrelid
			where c.reltoastrelid <> 0 and pg_catalog.pg_stat_get_blocks_fetched(c.reltoastrelid) > 0
		) r
		where pg_catalog.pg_stat_get_blocks_fetched(r.oid) > 0
		group by r.namespace` + there + `
	) s
	join pg_catalog.pg_namespace n on n.oid = s.namespace
	left join ` + reg.Tenants() + ` t on t.schema_name = n.nspname and ` + selected + `
	where n.nspname not in ('pg_catalog', 'pg_toast', 'information_schema')
	group by t.id, t.slug, t.status`
}

// SampleLoad reads what the server has counted up to now, in one round trip. q must not
// be in a transaction. A session adds what it did to the counters at the end of its
// transaction, and not more than once a second. On a cluster the nodes are asked too.
func SampleLoad(ctx context.Context, q db.Querier, o Selected) (LoadSample, error) {
	s := LoadSample{tenants: map[string]counted{}}
	told, lost, err := cluster.Load(ctx, q)
	if err != nil {
		return s, err
	}
	s.Lost = lost
	args := o.args()
	if told != "" {
		args = append(args, told)
	}
	err = glance(ctx, q, func(p *db.Pipeline) {
		bound(p, o.Timeout)
		p.Exec(eachCounterOnce)
		p.QueryRow([]any{&s.At, &s.BlockSize},
			"select pg_catalog.clock_timestamp(), pg_catalog.current_setting('block_size')::bigint")
		p.Query(func(rows pgx.Rows) error {
			var id string
			var c counted
			_, err := pgx.ForEachRow(rows, []any{&id, &c.slug, &c.status, &c.Fetched, &c.Hit, &c.Rows, &c.Written,
				&c.SeqScans, &c.IndexScans}, func() error {
				if id == "" {
					s.outside = s.outside.plus(c.Counters)
					return nil
				}
				s.tenants[id] = c
				return nil
			})
			return err
		}, loads(o.Registry, told != ""), args...)
	})
	if err != nil {
		return s, fmt.Errorf("read the counters of the tenants: %w", err)
	}
	return s, nil
}

// LoadBetween returns what was done between two samples. A tenant that came between them
// has done all of its work since. What is only in one of them, while a node of a cluster did
// not answer for the other, is left out.
func LoadBetween(earlier, later LoadSample) Load {
	l := Load{At: later.At, Seconds: later.At.Sub(earlier.At).Seconds(), BlockSize: later.BlockSize, Lost: later.Lost}
	if l.Seconds <= 0 {
		return l
	}
	outside, _ := later.outside.minus(earlier.outside)
	l.Outside = outside.over(l.Seconds)
	for id, c := range later.tenants {
		then, counted := earlier.tenants[id]
		if !counted && len(earlier.Lost) > 0 {
			continue
		}
		done, back := c.minus(then.Counters)
		if back {
			l.Back++
		}
		if done != (Counters{}) {
			l.Tenants = append(l.Tenants, TenantLoad{id, c.slug, c.status, done.over(l.Seconds)})
		}
	}
	for id := range earlier.tenants {
		if _, counted := later.tenants[id]; !counted && len(later.Lost) == 0 {
			l.Back++
		}
	}
	slices.SortFunc(l.Tenants, func(a, b TenantLoad) int {
		return cmp.Or(cmp.Compare(b.Fetched, a.Fetched), cmp.Compare(b.Rows, a.Rows), cmp.Compare(a.Slug, b.Slug))
	})
	return l
}
