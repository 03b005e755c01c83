package stats

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/dropping"
	"github.com/crmctl/crmctl/internal/registry"
)

// Catalog is what the number of schemas and relations does to a database.
type Catalog struct {
	Server

	At           time.Time
	Schemas      int   // all but the system's and those of sessions
	Tenants      int   // schemas of tenants among them
	Relations    int64 // of tenants: tables, indexes, sequences and TOAST
	OldestTenant Aging // with the oldest transaction id; no name where there is no tenant
	Memory       Memory
	Due          []Upkeep // tables past autovacuum's thresholds
	Lost         []string // nodes of a cluster that did not answer: their tables are not among Due
}

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

// ReadCatalog looks at the catalogs, the lock table and the age of transaction ids, and
// measures on a few tenants what each costs a session. conn must not be in a
// transaction.
func ReadCatalog(ctx context.Context, conn *pgx.Conn, o Selected) (Catalog, error) {
	var c Catalog
	told, err := cluster.Upkeep(ctx, conn)
	if silent, is := errors.AsType[*cluster.LostError](err); is {
		c.Lost = silent.Nodes
	} else if err != nil {
		return c, err
	}
	err = glance(ctx, conn, func(p *db.Pipeline) {
		p.QueryRow([]any{&c.At}, "select pg_catalog.now()")
		p.QueryRow([]any{&c.Schemas, &c.Tenants, &c.Relations, &c.OldestTenant.Name, &c.OldestTenant.XIDs,
			&c.OldestTenant.Multixs}, extent(o.Registry), o.args()...)
		queueUpkeep(p, UpkeepOptions{Selected: o, Due: true}, told, &c.Due)
		c.queueServer(p)
	})
	if err != nil {
		return c, fmt.Errorf("read the catalogs: %w", err)
	}
	err = c.sample(ctx, conn, o)
	return c, err
}

// sampled is how many tenants are looked at to say what a tenant costs.
const sampled = 20

// sample finds out on a few tenants what locks and memory a tenant takes.
func (c *Catalog) sample(ctx context.Context, conn *pgx.Conn, o Selected) error {
	var schemas []db.Schema
	err := glance(ctx, conn, func(p *db.Pipeline) {
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
	})
	if err != nil {
		return fmt.Errorf("choose tenants to look at: %w", err)
	}
	if len(schemas) == 0 {
		return nil
	}
	if c.Memory, err = readMemory(ctx, conn, schemas, float64(c.Relations)/float64(max(c.Tenants, 1))); err != nil {
		return err
	}
	var survey dropping.Survey
	err = glance(ctx, conn, func(p *db.Pipeline) { survey.Queue(p, schemas...) })
	if err != nil {
		return fmt.Errorf("count the locks that a tenant takes: %w", err)
	}
	all, _ := survey.Locks()
	c.Locks.PerTenant = float64(all+len(schemas)) / float64(len(schemas)) // and one for each schema itself
	return nil
}
