//go:build unix

package tenant_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// TestPoolerMixesNoTenants: clients behind PgBouncer in transaction
// mode share server connections, and no row ends in a wrong tenant.
func TestPoolerMixesNoTenants(t *testing.T) {
	t.Parallel()
	const clients, operations, n = 4, 500, 8
	direct := fleettest.New(t)
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, direct.DSN)}
	tenants := pooled.Create(t, fleettest.TenantPlan(t, 3), fleettest.Names(n)...)
	var wg sync.WaitGroup
	for c := range clients {
		wg.Go(func() {
			conn, err := pooled.Dial(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close(context.Background()) }()
			random := rand.New(rand.NewPCG(1, uint64(c)))
			for range operations {
				tn := tenants[random.IntN(n)]
				err := db.InTx(t.Context(), conn, db.Locals{Schema: tn.Schema, LockTimeout: 10 * time.Second},
					func(ctx context.Context, q db.Querier) error {
						if _, err := q.Exec(ctx, "insert into contacts (name) values ($1)", tn.Slug); err != nil {
							return err
						}
						var foreign int
						if err := q.QueryRow(ctx, "select count(*) from contacts where name <> $1", tn.Slug).Scan(&foreign); err != nil {
							return err
						}
						if foreign > 0 {
							return fmt.Errorf("%s sees %d rows of others", tn.Slug, foreign)
						}
						return nil
					})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	total := int64(0)
	for _, tn := range tenants {
		total += direct.Int(t, "select count(*) from "+tn.Schema.Quoted()+".contacts where name = $1", tn.Slug)
	}
	if total != clients*operations {
		t.Errorf("%d rows in their own tenants, want %d", total, clients*operations)
	}
}

// TestPoolerCarriesAFleetRun runs two migrations at once through the pooler.
func TestPoolerCarriesAFleetRun(t *testing.T) {
	t.Parallel()
	const n = 12
	direct := fleettest.New(t)
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, direct.DSN)}
	tenants := pooled.Create(t, fleettest.TenantPlan(t, 3), fleettest.Names(n)...)
	plan := fleettest.TenantPlan(t, 0)
	var wg sync.WaitGroup
	for range 2 {
		wg.Go(func() {
			conn, err := pooled.Dial(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close(context.Background()) }()
			report, err := plan.Run(t.Context(), conn, pooled.Dial, tenants, migrate.RunOptions{
				LockTimeout: 2 * time.Second, Fleet: fleet.Options{Attempts: 20}, Canary: migrate.Canary{Count: 1}, Group: 3,
			})
			if err != nil {
				t.Error(err)
				return
			}
			if bad := report.Count(migrate.Failed) + report.Count(migrate.NotStarted); bad > 0 {
				t.Errorf("%d tenants not done", bad)
			}
		})
	}
	wg.Wait()
	if got := direct.Int(t, "select count(*) from public.tenants where schema_version = $1", plan.Head()); got != n {
		t.Errorf("%d tenants at the head", got)
	}
	for _, tn := range tenants {
		if got := direct.Int(t, "select count(*) from "+tn.Schema.Quoted()+".goose_db_version"); got != plan.Head()+1 {
			t.Errorf("%s has %d version rows", tn.Slug, got)
		}
	}
}
