package stats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/dropping"
	"github.com/crmctl/crmctl/internal/registry"
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

// Catalog is what the number of schemas and relations does to a database.
type Catalog struct {
	At            time.Time
	Schemas       int   // all but the system's and those of sessions
	Tenants       int   // schemas of tenants among them
	Relations     int64 // of tenants: tables, indexes, sequences and TOAST
	Database      Aging
	OldestTenant  Aging // with the oldest transaction id; no name where there is no tenant
	OldestCluster Aging // the database of the server with the oldest
	Tables        []SystemTable
	Locks         LockTable
	Memory        Memory
	Due           []Upkeep // tables past autovacuum's thresholds
	AutovacuumOff bool     // on the whole server
}

// Bytes is the sum over the system's tables.
func (c Catalog) Bytes() (sum int64) {
	for _, t := range c.Tables {
		sum += t.Bytes
	}
	return sum
}

// Dead returns the rows of the system's tables, and of them those that are dead.
func (c Catalog) Dead() (rows, dead float64) {
	for _, t := range c.Tables {
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

// extent is a query for the number of schemas, tenants and their relations, and the tenant
// with the oldest transaction id. Relations are grouped before they meet the tenants.
func extent(reg registry.Registry) string {
	return `
	with per as materialized (
		select c.relnamespace as namespace, count(*) + count(x.oid) * 2 as relations,
			max(greatest(case when c.relfrozenxid <> '0'::xid then age(c.relfrozenxid) end, age(x.relfrozenxid))) as xids,
			max(greatest(case when c.relminmxid <> '0'::xid then mxid_age(c.relminmxid) end, mxid_age(x.relminmxid))) as multixs
		from pg_class c left join pg_class x on x.oid = c.reltoastrelid
		group by c.relnamespace
	), tenant as materialized (
		select t.slug, p.* from ` + reg.Tenants() + ` t
		join pg_namespace n on n.nspname = t.schema_name
		left join per p on p.namespace = n.oid
		where ` + selected + `
	), oldest as (
		select t.slug, t.xids, t.multixs from tenant t where t.xids is not null
		order by t.xids desc, t.slug collate "C" limit 1
	)
	select (select count(*) from pg_namespace n where n.nspname !~ '^pg_' and n.nspname <> 'information_schema'),
		(select count(*) from tenant), (select coalesce(sum(relations), 0)::bigint from tenant),
		coalesce((select slug from oldest), ''), coalesce((select xids from oldest), 0),
		coalesce((select multixs from oldest), 0)`
}

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

// ReadCatalog looks at the catalogs, the lock table and the age of transaction ids, and
// measures on a few tenants what each costs a session. conn must not be in a
// transaction.
func ReadCatalog(ctx context.Context, conn *pgx.Conn, o Selected) (Catalog, error) {
	var c Catalog
	var p db.Pipeline
	look(&p)
	p.QueryRow([]any{&c.At}, "select pg_catalog.now()")
	p.QueryRow([]any{&c.Schemas, &c.Tenants, &c.Relations, &c.OldestTenant.Name, &c.OldestTenant.XIDs,
		&c.OldestTenant.Multixs}, extent(o.Registry), o.args()...)
	p.QueryRow([]any{&c.Database.Name, &c.Database.XIDs, &c.Database.Multixs, &c.OldestCluster.Name,
		&c.OldestCluster.XIDs, &c.OldestCluster.Multixs}, databaseAges)
	p.QueryRow([]any{&c.Locks.Slots, &c.Locks.Used, &c.AutovacuumOff}, lockRoom)
	queueUpkeep(&p, UpkeepOptions{Selected: o, Due: true}, &c.Due)
	p.Query(func(rows pgx.Rows) (err error) {
		c.Tables, err = pgx.CollectRows(rows, pgx.RowToStructByPos[SystemTable])
		return err
	}, systemTables)
	p.Exec("commit")
	if err := p.Run(ctx, conn); err != nil {
		return c, fmt.Errorf("read the catalogs: %w", errors.Join(db.Plain(err), db.Rollback(ctx, conn)))
	}
	err := c.sample(ctx, conn, o)
	return c, err
}

// sampled is how many tenants are looked at to say what a tenant costs.
const sampled = 20

// sample finds out on a few tenants what locks and memory a tenant takes.
func (c *Catalog) sample(ctx context.Context, conn *pgx.Conn, o Selected) error {
	var schemas []db.Schema
	var p db.Pipeline
	look(&p)
	p.Query(func(rows pgx.Rows) (err error) {
		schemas, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (s db.Schema, err error) {
			var name string
			if err = row.Scan(&name); err == nil {
				s, err = db.RegisteredSchema(name)
			}
			return s, err
		})
		return err
	}, `select t.schema_name from `+o.Registry.Tenants()+` t join pg_namespace n on n.nspname = t.schema_name
		where `+selected+` order by random() limit $4`, append(o.args(), sampled)...)
	p.Exec("commit")
	if err := p.Run(ctx, conn); err != nil {
		return fmt.Errorf("choose tenants to look at: %w", errors.Join(db.Plain(err), db.Rollback(ctx, conn)))
	}
	if len(schemas) == 0 {
		return nil
	}
	var err error
	if c.Memory, err = readMemory(ctx, conn, schemas, float64(c.Relations)/float64(max(c.Tenants, 1))); err != nil {
		return err
	}
	var survey dropping.Survey
	p = db.Pipeline{}
	look(&p)
	survey.Queue(&p, schemas...)
	p.Exec("commit")
	if err := p.Run(ctx, conn); err != nil {
		return fmt.Errorf("count the locks that a tenant takes: %w", errors.Join(db.Plain(err), db.Rollback(ctx, conn)))
	}
	all, _ := survey.Locks()
	c.Locks.PerTenant = float64(all+len(schemas)) / float64(len(schemas)) // and one for each schema itself
	return nil
}
