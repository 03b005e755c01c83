package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Entry is a row of the audit as it is read, or a tenant's part in a fleet run,
// which stands in the ledger alone.
type Entry struct {
	Seq      int64 // order of the audit; 0 for a fleet run
	At       time.Time
	TenantID string
	Tenant   string // the slug at that time
	Action   string // one of Action…, or the kind of the run
	Actor    string // "alice@host", as the program says
	OSUser   string
	Host     string
	DBRole   string // who logged in, as the server says
	Client   string // address, "" for a socket
	Program  string
	RunID    int64           // 0 for none
	Before   json.RawMessage // nil for none
	After    json.RawMessage
	Detail   json.RawMessage
}

// AuditFilter says which entries Audit returns. The zero AuditFilter means all.
type AuditFilter struct {
	Since   time.Time // zero = from the beginning
	Until   time.Time // zero = to the end
	Actions []string  // none = every one
	Slugs   []string  // as they were then; none = every one
	Limit   int       // the newest so many; 0 = all
}

const entryColumns = `seq, occurred_at, tenant_id::text, slug, action, actor, coalesce(os_user, ''),
	coalesce(host, ''), db_role,
	coalesce(host(client_addr), ''), coalesce(program, ''), coalesce(run_id, 0), before::text, after::text, detail::text`

// Audit returns the entries of the audit, the newest last, as they come from the
// server. The connection serves nothing else until the sequence has ended.
func (r Registry) Audit(ctx context.Context, conn *pgx.Conn, f AuditFilter) iter.Seq2[Entry, error] {
	return r.entries(ctx, conn, `
		select * from (
			select `+entryColumns+` from `+r.Events()+`
			where ($1::timestamptz is null or occurred_at >= $1) and ($2::timestamptz is null or occurred_at < $2)
			  and (cardinality($3::text[]) = 0 or action = any ($3::text[]))
			  and (cardinality($4::text[]) = 0 or slug = any ($4::text[]))
			order by seq desc limit $5
		) newest order by seq`,
		timeOrNil(f.Since), timeOrNil(f.Until), nonNil(f.Actions), nonNil(f.Slugs), orNull(f.Limit))
}

// History returns what happened to the tenants that are or were called slug, the
// newest last: the audit, under whatever name, and their part in fleet runs. It
// knows purged tenants too.
func (r Registry) History(ctx context.Context, conn *pgx.Conn, slug string, limit int) iter.Seq2[Entry, error] {
	return r.entries(ctx, conn, `
		with ids as (
			select tenant_id from `+r.Events()+` where slug = $1
			union select id from `+r.Tenants()+` where slug = $1
			union select tenant_id from `+r.RunTenants()+` where slug = $1
		)
		select * from (
			select `+entryColumns+` from `+r.Events()+` where tenant_id in (select tenant_id from ids)
			union all
			select 0, r.started_at, t.tenant_id::text, t.slug, r.kind, r.actor, '', '', '', '', '', r.id, null as before,
				null as after,
				jsonb_strip_nulls(jsonb_build_object('state', t.state, 'from_version', t.from_version, 'to_version', t.to_version,
					'sqlstate', t.sqlstate, 'place', t.place, 'message', t.message))::text
			from `+r.RunTenants()+` t join `+r.Runs()+` r on r.id = t.run_id
			where t.tenant_id in (select tenant_id from ids) 
				-- one whose turn never came has no part in a run
				and (t.state <> '`+StateNotStarted+`' or t.from_version <> t.to_version)
			order by 2 desc, 1 desc limit $2
		) newest order by 2, 1`,
		slug, orNull(limit))
}

func timeOrNil(t time.Time) any {
	if t.IsZero() {
		return nil
	}
	return t
}

// entries streams the rows of a query.
func (r Registry) entries(ctx context.Context, conn *pgx.Conn, sql string, args ...any) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		stopped := false
		err := db.InTx(ctx, conn, db.Locals{}, func(ctx context.Context, q db.Querier) error {
			rows, err := q.Query(ctx, sql, args...)
			if err != nil {
				return err
			}
			defer rows.Close()
			for rows.Next() {
				e, err := scanEntry(rows)
				if err != nil {
					return err
				}
				if !yield(e, nil) {
					stopped = true
					return nil
				}
			}
			return rows.Err()
		})
		if err != nil && !stopped {
			yield(Entry{}, fmt.Errorf("read the audit: %w", r.explain(err)))
		}
	}
}

func scanEntry(row pgx.CollectableRow) (Entry, error) {
	var e Entry
	var before, after *string
	var detail string
	err := row.Scan(&e.Seq, &e.At, &e.TenantID, &e.Tenant, &e.Action, &e.Actor, &e.OSUser, &e.Host, &e.DBRole,
		&e.Client, &e.Program, &e.RunID, &before, &after, &detail)
	if before != nil {
		e.Before = json.RawMessage(*before)
	}
	if after != nil {
		e.After = json.RawMessage(*after)
	}
	e.Detail = json.RawMessage(detail)
	return e, err
}

// Ran reports whether the audit has an entry of a tenant whose detail names a run.
func (r Registry) Ran(ctx context.Context, q db.Querier, tenantID, action, run string) (bool, error) {
	var there bool
	err := q.QueryRow(ctx, `select exists (select from `+r.Events()+` where tenant_id operator(pg_catalog.=) $1
		and action operator(pg_catalog.=) $2 and (detail operator(pg_catalog.->>) 'run') operator(pg_catalog.=) $3)`,
		tenantID, action, run).Scan(&there)
	return there, err
}

// Followed returns which of the tenants with the given ids the audit says an application
// has named, once at least.
func (r Registry) Followed(ctx context.Context, q db.Querier, ids []string) (map[string]bool, error) {
	found, err := db.Select(ctx, q, pgx.RowTo[string], `select distinct tenant_id::text from `+r.Events()+`
		where tenant_id = any ($1::uuid[]) and action in ('`+ActionAdopt+`', '`+ActionSync+`')`, ids)
	if err != nil {
		return nil, fmt.Errorf("read the audit: %w", err)
	}
	out := make(map[string]bool, len(found))
	for _, id := range found {
		out[id] = true
	}
	return out, nil
}
