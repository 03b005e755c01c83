package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

const (
	connectionsWarn, connectionsError = 80, 95 // percent
	locksWarn                         = 50     // percent
	// A transaction manager that is alive ends what it has prepared sooner.
	preparedPatience = 10 * time.Minute
	// Transaction ids run out at 2^31; autovacuum begins to freeze at 200 million.
	ageWarn, ageError = 850_000_000, 1_500_000_000
)

const server = "server"

func checkConnections(ctx context.Context, x *examination) ([]Finding, error) {
	type row struct{ Used, Most int }
	rows, err := db.Select(ctx, x.conn, pgx.RowToStructByName[row], `
		select (select coalesce(sum(numbackends), 0)::int from pg_stat_database) as used,
			current_setting('max_connections')::int - current_setting('superuser_reserved_connections')::int -
				coalesce(current_setting('reserved_connections', true)::int, 0) as most`)
	if err != nil {
		return nil, err
	}
	return connectionsFinding(rows[0].Used, rows[0].Most), nil
}

func connectionsFinding(used, most int) []Finding {
	percent := used * 100 / max(1, most)
	if percent < connectionsWarn {
		return nil
	}
	f := Finding{Severity: Warning, Subject: server, What: fmt.Sprintf("%d of %d connections are in use", used, most),
		Command: "put a pooler before it, or raise max_connections"}
	if percent >= connectionsError {
		f.Severity = Error
	}
	return []Finding{f}
}

func checkLocks(ctx context.Context, x *examination) ([]Finding, error) {
	type row struct{ Used, Most int }
	rows, err := db.Select(ctx, x.conn, pgx.RowToStructByName[row], `
		select (select count(*)::int from pg_locks where not fastpath) as used,
			current_setting('max_locks_per_transaction')::int * (current_setting('max_connections')::int +
				current_setting('max_prepared_transactions')::int) as most`)
	if err != nil {
		return nil, err
	}
	return locksFinding(rows[0].Used, rows[0].Most), nil
}

func locksFinding(used, most int) []Finding {
	if used*100/max(1, most) < locksWarn {
		return nil
	}
	return []Finding{{Severity: Warning, Subject: server,
		What:    fmt.Sprintf("the lock table holds %d of about %d locks", used, most),
		Command: "find who holds them in pg_locks, or raise max_locks_per_transaction"}}
}

func checkPrepared(ctx context.Context, x *examination) ([]Finding, error) {
	type row struct {
		GID, Owner string
		Prepared   time.Time
	}
	rows, err := db.Select(ctx, x.conn, pgx.RowToStructByName[row], `
		select gid, owner::text as owner, prepared from pg_prepared_xacts where database = current_database()
			order by prepared`)
	var out []Finding
	for _, r := range rows {
		if age := x.o.now().Sub(r.Prepared); age > preparedPatience {
			out = append(out, Finding{Severity: Warning, Subject: r.GID,
				What: fmt.Sprintf("prepared by %s %s ago, and neither committed nor rolled back", r.Owner,
					age.Truncate(time.Minute)),
				Command: "ask its owner, then: rollback prepared " + db.Literal(r.GID)})
		}
	}
	if err != nil {
		return nil, err
	}
	elsewhere, err := x.preparedOnWorkers(ctx)
	return append(out, elsewhere...), err
}

func checkWraparound(ctx context.Context, x *examination) ([]Finding, error) {
	ages, err := db.Select(ctx, x.conn, pgx.RowTo[int64], `
		select greatest(age(datfrozenxid), mxid_age(datminmxid))::bigint from pg_database where datname = current_database()`)
	if err != nil {
		return nil, err
	}
	return ageFinding(ages[0]), nil
}

func ageFinding(age int64) []Finding {
	if age < ageWarn {
		return nil
	}
	f := Finding{Severity: Warning, Subject: server,
		What:    fmt.Sprintf("the oldest transaction id is %d million transactions old", age/1_000_000),
		Command: "vacuumdb --freeze, and look for what keeps autovacuum from it"}
	if age >= ageError {
		f.Severity = Error
	}
	return []Finding{f}
}

func checkAutovacuum(ctx context.Context, x *examination) ([]Finding, error) {
	on, err := db.Select(ctx, x.conn, pgx.RowTo[bool],
		`select current_setting('autovacuum')::bool and current_setting('track_counts')::bool`)
	if err != nil {
		return nil, err
	}
	var out []Finding
	if !on[0] {
		out = append(out, Finding{Severity: Warning, Subject: server, What: "autovacuum is off",
			Command: "alter system set autovacuum = on; select pg_reload_conf()"})
	}
	type row struct {
		Slug, Schema string
		Tables       []string
	}
	rows, err := db.Select(ctx, x.conn, pgx.RowToStructByName[row], `
		select s.slug, s.nspname::text as schema, array_agg(c.relname::text order by c.relname) as tables
		from pg_class c join `+x.fleet.tenantSchemas()+` s on s.oid = c.relnamespace
		where c.relkind in ('r', 'm') and c.reloptions is not null
		  and exists (select from pg_options_to_table(c.reloptions) o where o.option_name = 'autovacuum_enabled'
		  	and not o.option_value::bool)
		group by s.slug, s.nspname order by s.slug`)
	for _, r := range rows {
		out = append(out, Finding{Severity: Warning, Subject: r.Slug, Tenant: r.Slug, What: "autovacuum is off for " +
			some(r.Tables),
			Command: "alter table " + db.Quoted(r.Schema, r.Tables[0]) + " reset (autovacuum_enabled)"})
	}
	return out, err
}
