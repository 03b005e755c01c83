package stats

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// XIDSpace is how many transaction ids, or multixact ids, there are before the oldest that
// is not frozen: the server stops a little before they run out.
const XIDSpace = 1 << 31

// SystemTable is a table of the system catalogs.
type SystemTable struct {
	Name       string
	Bytes      int64   // with TOAST and indexes, measured
	IndexBytes int64   // of them indexes
	Rows       float64 // estimated
	Dead       float64 // rows that a vacuum would remove, as the server counts them
	LastVacuum *time.Time
}

// LockTable is the room for locks that the sessions of a server share. A lock that no
// other session can be in the way of takes none of it.
type LockTable struct {
	Slots int // about: the server has a little more
	Used  int
	// PerTenant is about how many of them the drop of a tenant takes, on average over a few
	// tenants; 0 where there is none to look at.
	PerTenant float64
}

// Drops returns how many tenants one transaction can drop with what is free.
func (l LockTable) Drops() int {
	if l.PerTenant <= 0 {
		return 0
	}
	return int(float64(max(l.Slots-l.Used, 0)) / l.PerTenant)
}

// Aging is how far a database, or a tenant, is from having to be frozen.
type Aging struct {
	Name    string // of the database, or the tenant's slug
	XIDs    int64
	Multixs int64
}

// Server is what a fleet fills up that belongs to the whole database or server.
type Server struct {
	Database      Aging
	OldestCluster Aging // the database of the server with the oldest
	Tables        []SystemTable
	Locks         LockTable
	AutovacuumOff bool // on the whole server
}

// Bytes is the sum over the system's tables.
func (s Server) Bytes() (sum int64) {
	for _, t := range s.Tables {
		sum += t.Bytes
	}
	return sum
}

// Dead returns the rows of the system's tables, and of them those that are dead.
func (s Server) Dead() (rows, dead float64) {
	for _, t := range s.Tables {
		rows, dead = rows+max(t.Rows, 0), dead+t.Dead
	}
	return rows + dead, dead
}

// systemTables measures the tables of the catalogs; nothing but their names decides
// how many there are, so one statement opens them all, one after another.
const systemTables = `
	select c.relname::text, pg_total_relation_size(c.oid), pg_indexes_size(c.oid),
		greatest(c.reltuples, pg_stat_get_live_tuples(c.oid))::float8, pg_stat_get_dead_tuples(c.oid)::float8,
		greatest(pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid))
	from pg_class c
	where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'r'
	order by 2 desc, 1`

const databaseAges = `
	select d.datname::text, age(d.datfrozenxid), mxid_age(d.datminmxid), o.datname::text, o.xids, o.multixs
	from pg_database d
	cross join (
		select o.datname, age(o.datfrozenxid) as xids, mxid_age(o.datminmxid) as multixs from pg_database o
		order by 2 desc limit 1
	) o
	where d.datname = current_database()`

const lockRoom = `
	select current_setting('max_locks_per_transaction')::int
		* (current_setting('max_connections')::int + current_setting('max_prepared_transactions')::int),
		(select count(*)::int from pg_locks where not fastpath),
		not (current_setting('autovacuum')::bool and current_setting('track_counts')::bool)`

// queueServer adds the queries for it.
func (s *Server) queueServer(p *db.Pipeline) {
	p.QueryRow([]any{&s.Database.Name, &s.Database.XIDs, &s.Database.Multixs, &s.OldestCluster.Name,
		&s.OldestCluster.XIDs, &s.OldestCluster.Multixs}, databaseAges)
	p.QueryRow([]any{&s.Locks.Slots, &s.Locks.Used, &s.AutovacuumOff}, lockRoom)
	p.Query(func(rows pgx.Rows) (err error) {
		s.Tables, err = pgx.CollectRows(rows, pgx.RowToStructByPos[SystemTable])
		return err
	}, systemTables)
}

// ReadServer reads it. q must not be in a transaction.
func ReadServer(ctx context.Context, q db.Querier) (s Server, err error) {
	if err = glance(ctx, q, s.queueServer); err != nil {
		return s, fmt.Errorf("read the state of the server: %w", err)
	}
	return s, nil
}
