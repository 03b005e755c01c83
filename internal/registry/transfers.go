package registry

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Side is a registry as the one on the other side of a transfer knows it.
type Side struct {
	Profile  string // "" where it is not known
	Host     string
	Port     int
	Database string
	Registry string // its schema
}

// Same reports whether two sides are the same registry, whatever their profiles are called.
func (s Side) Same(other Side) bool {
	s.Profile, other.Profile = "", ""
	return s == other
}

// Transfer is the last move of a tenant to another registry, or from there. That of a
// tenant which is Leaving or Moved, or was, goes out.
type Transfer struct {
	TenantID  string
	ID        string // the same in both registries
	Attempt   string // of the run that is at it
	Was       Status // the tenant's before, and the one it gets there
	Side             // the other one
	Rows      *int64 // that were compared; nil before
	StartedAt time.Time
	MovedAt   *time.Time
}

// ListTransfers returns the transfers of tenants, of all for nil, by the tenants' ids. A
// registry that has no table for it has none.
func (r Registry) ListTransfers(ctx context.Context, q db.Querier, ids []string) (map[string]Transfer, error) {
	type row struct {
		TenantID, ID, Attempt, Was, Profile, Host, Database, Registry string
		Port                                                          int
		Rows                                                          *int64
		StartedAt                                                     time.Time
		MovedAt                                                       *time.Time
	}
	rows, err := db.Select(ctx, q, pgx.RowToStructByName[row], `select tenant_id::text, id::text, attempt::text, was,
			profile, host, database, registry, port, rows, started_at, moved_at
		from `+r.Transfers()+` where $1::text[] is null or tenant_id = any ($1::text[]::uuid[])`, ids)
	switch {
	case r.missing(err, transfers):
		return nil, nil
	case err != nil:
		return nil, r.explain(err)
	}
	out := make(map[string]Transfer, len(rows))
	for _, x := range rows {
		out[x.TenantID] = Transfer{TenantID: x.TenantID, ID: x.ID, Attempt: x.Attempt, Was: Status(x.Was),
			Side: Side{Profile: x.Profile, Host: x.Host, Port: x.Port, Database: x.Database, Registry: x.Registry},
			Rows: x.Rows, StartedAt: x.StartedAt, MovedAt: x.MovedAt}
	}
	return out, nil
}

// QueueTransfer adds that a tenant is on its way, in the place of its transfer before.
func (r Registry) QueueTransfer(p *db.Pipeline, t Transfer) {
	p.Exec(`insert into `+r.Transfers()+` (tenant_id, id, attempt, was, profile, host, port, database, registry)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
		on conflict (tenant_id) do update set id = excluded.id, attempt = excluded.attempt, was = excluded.was,
			profile = excluded.profile, host = excluded.host, port = excluded.port, database = excluded.database,
			registry = excluded.registry, rows = null, started_at = pg_catalog.now(), moved_at = null`,
		t.TenantID, t.ID, t.Attempt, string(t.Was), t.Profile, t.Host, t.Port, t.Database, t.Registry)
}

// QueueAttempt adds that another run goes on with a transfer.
func (r Registry) QueueAttempt(p *db.Pipeline, tenantID, attempt string) {
	p.Exec(`update `+r.Transfers()+` set attempt = $2 where tenant_id operator(pg_catalog.=) $1`, tenantID, attempt)
}

// QueueMoved adds that a transfer is over: so many rows were compared.
func (r Registry) QueueMoved(p *db.Pipeline, tenantID string, rows int64) {
	p.Exec(`update `+r.Transfers()+` set rows = $2, moved_at = pg_catalog.now()
		where tenant_id operator(pg_catalog.=) $1`, tenantID, rows)
}

// QueueStay adds that a tenant does not go after all.
func (r Registry) QueueStay(p *db.Pipeline, tenantID string) {
	p.Exec(`delete from `+r.Transfers()+` where tenant_id operator(pg_catalog.=) $1`, tenantID)
}

// RefuseWithoutTransfers returns ErrNoRegistry where there is none, and ErrOldRegistry where it
// has no table for transfers.
func (r Registry) RefuseWithoutTransfers(ctx context.Context, q db.Querier) error {
	type row struct{ Tenants, Transfers bool }
	there, err := db.Select(ctx, q, pgx.RowToStructByName[row],
		`select to_regclass($1) is not null as tenants, to_regclass($2) is not null as transfers`, r.Tenants(), r.Transfers())
	switch {
	case err != nil:
		return r.explain(err)
	case !there[0].Tenants:
		return ErrNoRegistry
	case !there[0].Transfers:
		return ErrOldRegistry
	}
	return nil
}
