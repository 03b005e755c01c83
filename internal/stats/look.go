package stats

import (
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

const (
	// lookTimeout bounds a query of the catalogs: what it asks is not worth more.
	lookTimeout = time.Minute
	// waitForLock bounds the wait for a relation that somebody works on.
	waitForLock = 500 * time.Millisecond
)

// Selected says whose statistics are wanted. The zero value means every tenant of the
// registry in public.
type Selected struct {
	Registry registry.Registry
	Slugs    []string // nil = every tenant; empty but not nil = none
}

func (s Selected) args() []any { return SizeOptions{Slugs: s.Slugs}.args() }

// look begins a transaction that only reads the catalogs, as of one moment, and for a
// bounded time. It ends with the statement commit.
func look(p *db.Pipeline) {
	p.Begin(db.Locals{Snapshot: true, LockTimeout: waitForLock, StatementTimeout: lookTimeout})
	p.Exec("select pg_catalog.set_config('max_parallel_workers_per_gather', '0', true)")
}

// counterTime adds a query for the time, and for when the counters of the database were
// last reset.
func counterTime(p *db.Pipeline, at *time.Time, since **time.Time) {
	p.QueryRow([]any{at, since}, `select pg_catalog.now(), pg_catalog.pg_stat_get_db_stat_reset_time(d.oid)
		from pg_catalog.pg_database d where d.datname = pg_catalog.current_database()`)
}

// eachCounterOnce keeps the session from copying the counters that it reads, which would be
// of no use. The setting is there since PostgreSQL 15.
const eachCounterOnce = `select case when pg_catalog.current_setting('stats_fetch_consistency', true) is not null
	then pg_catalog.set_config('stats_fetch_consistency', 'none', true) end`
