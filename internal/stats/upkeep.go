package stats

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// Upkeep is what vacuum and analyze have done for a table, and what is left to do, by the
// rules that autovacuum goes by.
type Upkeep struct {
	TenantID string // uuid
	Slug     string
	Table    string
	Dead     float64 // rows that a vacuum would remove, as the server counts them
	Inserted float64 // rows inserted since the last vacuum
	Changed  float64 // rows changed since the last analyze
	Age      int64   // transactions since its oldest row that is not frozen, with TOAST; 0 for a partitioned table
	// Vacuum and Analyze tell that it is past the threshold for it, Freeze that a vacuum is
	// due because of its age.
	Vacuum, Analyze, Freeze bool
	// Off tells that autovacuum is switched off for the table.
	Off bool
	// May reports whether this role may vacuum, analyze and reindex it: the server passes by
	// what a role may not, with a warning.
	May         bool
	LastVacuum  *time.Time // by hand or by itself; nil for never
	LastAnalyze *time.Time
}

// Due reports whether the table is past any threshold.
func (u Upkeep) Due() bool { return u.Vacuum || u.Analyze || u.Freeze }

// upkeeps is a query for the tables of the selected tenants, or ($4) only for those that
// are past a threshold. Partitions are left out where $5 is set: what is done to the table that
// they belong to is done to each.
//
// The thresholds are autovacuum's: a number of rows and a share of the table, which the
// table's own settings change. PostgreSQL 18 has a greatest threshold too. Counters are
// asked for only of tables that could be past one. Where nodes have told of tables, $6 is what
// they say.
func upkeeps(reg registry.Registry, onNodes bool) string {
	option := func(name string) string {
		setting := `current_setting('` + name + `', true)`
		return `case when c.reloptions is null then ` + setting + ` else coalesce((select o.option_value
			from pg_options_to_table(c.reloptions) o where o.option_name = '` + name + `'), ` + setting + `) end`
	}
	rows := func(kind string) string {
		return `(` + option("autovacuum_"+kind+"_threshold") + `)::float8
			+ (` + option("autovacuum_"+kind+"_scale_factor") + `)::float8 * greatest(c.reltuples, 0)`
	}
	newest := func(what string) string {
		return `greatest(pg_stat_get_last_` + what + `_time(c.oid), pg_stat_get_last_auto` + what + `_time(c.oid))`
	}
	tuples, age := `c.reltuples`, `age(c.relfrozenxid), age(x.relfrozenxid)`
	dead, inserted, changed := `pg_stat_get_dead_tuples(c.oid)`, `pg_stat_get_ins_since_vacuum(c.oid)`,
		`pg_stat_get_mod_since_analyze(c.oid)`
	told, times, vacuumed, analyzed := ``, ``, newest("vacuum"), newest("analyze")
	if onNodes {
		there := func(column string, here *string) { *here = `coalesce(o.` + column + `, ` + *here + `)` }
		there("tuples", &tuples)
		there("dead", &dead)
		there("inserted", &inserted)
		there("changed", &changed)
		age += `, o.age`
		times, vacuumed, analyzed = `, o.vacuumed, o.analyzed`, `greatest(c.vacuumed, `+vacuumed+`)`,
			`greatest(c.analyzed, `+analyzed+`)`
		told = `
		left join json_to_recordset($6::json) o (schema text, name text, tuples float4, dead int8, inserted int8,
			changed int8, age int4, vacuumed timestamptz, analyzed timestamptz) on o.schema = t.schema and o.name = c.relname`
	}
	return `
	with t as materialized (
		select t.id, t.slug, n.oid, n.nspname as schema
		from ` + reg.Tenants() + ` t join pg_namespace n on n.nspname = t.schema_name where ` + selected + `
	), counted as materialized (
		select t.id, t.slug, c.oid, c.relname, c.relowner, c.relkind, ` + tuples + ` as reltuples, c.reloptions,
			` + dead + `::float8 as dead, ` + inserted + `::float8 as inserted, ` + changed + `::float8 as changed,
			case when c.relkind <> 'p' then greatest(` + age + `) else 0 end as age` + times + `
		from pg_class c
		join t on t.oid = c.relnamespace
		left join pg_class x on x.oid = c.reltoastrelid` + told + `
		where c.relkind in ('r', 'm', 'p') and c.relpersistence <> 't' and not ($5::bool and c.relispartition)
			and (not $4::bool or ` + dead + ` > 0 or ` + inserted + ` > 0 or ` + changed + ` > 0
				or greatest(` + age + `) > current_setting('autovacuum_freeze_max_age')::int8 / 2)
	), judged as (
		select c.*, least(v.rows, nullif((` + option("autovacuum_vacuum_max_threshold") + `)::float8, -1)) as dead_limit,
			v.inserts, v.analyze, v.off, v.freeze
		from counted c
		cross join lateral (
			select ` + rows("vacuum") + ` as rows, case when (` + option("autovacuum_vacuum_insert_threshold") + `)::float8 >= 0
					then ` + rows("vacuum_insert") + ` else 'infinity' end as inserts, ` + rows("analyze") + ` as analyze,
				not (` + option("autovacuum_enabled") + `)::bool as off,
				least((` + option("autovacuum_freeze_max_age") + `)::float8,
					current_setting('autovacuum_freeze_max_age')::float8) as freeze
			offset 0
		) v
	)
	select c.id::text, c.slug, c.relname::text, c.dead, c.inserted, c.changed, c.age,
		c.relkind <> 'p' and (c.dead > c.dead_limit or c.inserted > c.inserts),
		c.relkind <> 'p' and c.changed > c.analyze, c.age > c.freeze, coalesce(c.off, false),
		pg_has_role(c.relowner, 'usage') or d.owned or case when d.maintain
			then has_table_privilege(c.oid, case when d.maintain then 'maintain' else 'select' end) else false end,
		` + vacuumed + `, ` + analyzed + `
	from judged c
	cross join (
		select pg_has_role(d.datdba, 'usage') as owned, current_setting('server_version_num')::int >= 170000 as maintain
		from pg_database d where d.datname = current_database()
	) d
	where not $4::bool or c.relkind <> 'p' and (c.dead > c.dead_limit or c.inserted > c.inserts or c.changed > c.analyze
		or c.age > c.freeze)
	order by c.slug collate "C", c.relname collate "C"`
}

// UpkeepOptions say which tables are wanted.
type UpkeepOptions struct {
	Selected

	Due   bool // only those past a threshold
	Roots bool // a partitioned table stands for its partitions
}

// ReadUpkeep returns the tables of the selected tenants, in the order of names, with what
// vacuum and analyze have done there. It reads the catalogs and counters alone and locks
// nothing of a tenant's. q must not be in a transaction. On a cluster the nodes are asked, and
// the error is a *cluster.LostError where one does not answer.
func ReadUpkeep(ctx context.Context, q db.Querier, o UpkeepOptions) (tables []Upkeep, err error) {
	told, err := cluster.Upkeep(ctx, q)
	if err != nil {
		return nil, err
	}
	err = glance(ctx, q, func(p *db.Pipeline) { queueUpkeep(p, o, told, &tables) })
	if err != nil {
		return nil, fmt.Errorf("read what vacuum has done: %w", err)
	}
	return tables, nil
}

// queueUpkeep adds the query. told is what the nodes of a cluster say, "" for nothing.
func queueUpkeep(p *db.Pipeline, o UpkeepOptions, told string, to *[]Upkeep) {
	args := append(o.args(), o.Due, o.Roots)
	if told != "" {
		args = append(args, told)
	}
	p.Exec(eachCounterOnce)
	p.Query(func(rows pgx.Rows) (err error) {
		*to, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (u Upkeep, err error) {
			err = row.Scan(&u.TenantID, &u.Slug, &u.Table, &u.Dead, &u.Inserted, &u.Changed, &u.Age, &u.Vacuum, &u.Analyze,
				&u.Freeze, &u.Off, &u.May, &u.LastVacuum, &u.LastAnalyze)
			return u, err
		})
		return err
	}, upkeeps(o.Registry, told != ""), args...)
}
