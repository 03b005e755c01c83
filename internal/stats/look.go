package stats

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

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
	// Timeout bounds each statement of SampleLoad where it is less than a minute; 0 for none.
	Timeout time.Duration
}

func (s Selected) args() []any { return SizeOptions{Slugs: s.Slugs}.args() }

// looking are the settings of a transaction that looks.
func looking(wait time.Duration) db.Locals {
	return db.Locals{Snapshot: true, LockTimeout: wait, StatementTimeout: lookTimeout}
}

// look begins a transaction that only reads the catalogs, as of one moment, and for a
// bounded time. It ends with the statement commit.
func look(p *db.Pipeline, wait time.Duration) {
	p.Begin(looking(wait))
	p.Exec(inOneProcess)
}

// inOneProcess keeps the server from sharing a query out among processes: to the planner one
// that looks up thousands of relations is worth that, but starting them takes longer.
const inOneProcess = "select pg_catalog.set_config('max_parallel_workers_per_gather', '0', true)"

// glance runs the queries that add adds in a transaction of look, in one round trip. A failure
// leaves no transaction open. q must not be in one.
func glance(ctx context.Context, q db.Querier, add func(p *db.Pipeline)) error {
	return glanceFor(ctx, q, waitForLock, add)
}

// glanceFor is glance with a bound of its own for the wait for a lock.
func glanceFor(ctx context.Context, q db.Querier, wait time.Duration, add func(p *db.Pipeline)) error {
	var p db.Pipeline
	look(&p, wait)
	add(&p)
	p.Exec("commit")
	err := p.Run(ctx, q)
	if conn, ok := q.(*pgx.Conn); ok && err != nil {
		if failed := db.Rollback(ctx, conn); failed != nil {
			err = errors.Join(err, failed)
		}
	}
	return db.Plain(err)
}

// Bounded returns a context in which what else a statistic asks, about the registry for
// instance, only reads, and is bounded as its own queries are.
func Bounded(ctx context.Context) context.Context { return db.Reading(ctx, waitForLock, lookTimeout) }

// bound bounds the statements to come of a transaction further; 0 leaves them as they are.
func bound(p *db.Pipeline, timeout time.Duration) {
	if timeout > 0 && timeout < lookTimeout {
		p.Exec("select pg_catalog.set_config('statement_timeout', $1, true)",
			strconv.FormatInt(timeout.Milliseconds(), 10))
	}
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
