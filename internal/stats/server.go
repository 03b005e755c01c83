package stats

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Server is what a fleet fills up that belongs to the whole database or server.
type Server struct {
	// Catalogs are the bytes of the catalogs that grow with the number of tables, with their
	// indexes, by name; those of all others are under "other".
	Catalogs map[string]int64
	// LockSlots are the places of the lock table, about, LocksUsed those that are taken.
	LockSlots, LocksUsed int
	// TransactionAge and MultixactAge are how many ids ago the oldest of this database was
	// given out.
	TransactionAge, MultixactAge int64
}

// ReadServer reads it, in a transaction of q's caller or one of its own.
func ReadServer(ctx context.Context, q db.Querier) (Server, error) {
	out := Server{Catalogs: map[string]int64{}}
	type row struct {
		Name  string
		Bytes int64
	}
	catalogs, err := db.Select(ctx, q, pgx.RowToStructByName[row], `
		select case when c.relname in ('pg_attrdef', 'pg_attribute', 'pg_class', 'pg_constraint', 'pg_depend',
				'pg_description', 'pg_index', 'pg_namespace', 'pg_proc', 'pg_rewrite', 'pg_sequence', 'pg_shdepend',
				'pg_statistic', 'pg_trigger', 'pg_type') then c.relname::text else 'other' end as name,
			sum(pg_total_relation_size(c.oid))::bigint as bytes
		from pg_class c
		where c.relnamespace = 'pg_catalog'::regnamespace and c.relkind = 'r'
		group by 1`)
	if err != nil {
		return out, fmt.Errorf("read the sizes of the catalogs: %w", err)
	}
	for _, found := range catalogs {
		out.Catalogs[found.Name] = found.Bytes
	}
	type numbers struct {
		Used, Slots            int
		Transaction, Multixact int64
	}
	found, err := db.Select(ctx, q, pgx.RowToStructByName[numbers], `
		select (select count(*)::int from pg_locks where not fastpath) as used,
			current_setting('max_locks_per_transaction')::int * (current_setting('max_connections')::int +
				current_setting('max_prepared_transactions')::int) as slots,
			age(d.datfrozenxid)::bigint as transaction, mxid_age(d.datminmxid)::bigint as multixact
		from pg_database d where d.datname = current_database()`)
	if err != nil {
		return out, fmt.Errorf("read the state of the server: %w", err)
	}
	n := found[0]
	out.LockSlots, out.LocksUsed, out.TransactionAge, out.MultixactAge = n.Slots, n.Used, n.Transaction, n.Multixact
	return out, nil
}
