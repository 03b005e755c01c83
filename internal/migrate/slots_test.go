package migrate_test

import (
	"context"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
)

// TestConnectionsAheadLeaveTheCanarySlots: the canary's file needs more connections than
// one, and those that are opened ahead for the others have taken what the role may have.
func TestConnectionsAheadLeaveTheCanarySlots(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": "alter table a add y int;",
		"3_c.sql": noTx + "create index concurrently idx_a_y on a (y);"})
	tenants := f.Create(t, old, fleettest.Names(12)...)
	role := "slots_" + strconv.FormatInt(time.Now().UnixNano(), 36)
	t.Cleanup(func() { f.DropRoles(t, role) })
	const slots = 4 // the ledger's, the canary's, the one that keeps its lock, one to spare
	f.Exec(t, fmt.Sprintf("create role %s login connection limit %d", role, slots),
		"grant usage on schema public to "+role, "grant all on all tables in schema public to "+role,
		"grant all on all sequences in schema public to "+role)
	for _, tenant := range tenants {
		f.Exec(t, "alter schema "+tenant.Schema.Quoted()+" owner to "+role,
			"alter table "+tenant.Schema.Quoted()+".a owner to "+role,
			"alter table "+tenant.Schema.Quoted()+".goose_db_version owner to "+role)
	}
	dial := func(ctx context.Context) (*pgx.Conn, error) {
		cfg, err := db.ParseConfig(f.DSN)
		if err != nil {
			return nil, err
		}
		cfg.User = role
		return db.Connect(ctx, cfg)
	}
	ledger, err := dial(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ledger.Close(context.Background()) }()
	report, err := plan.Run(t.Context(), ledger, dial, tenants, migrate.RunOptions{
		Canary: migrate.Canary{Count: 1}, LockTimeout: 2 * time.Second, Fleet: fleet.Options{Concurrency: 6, Backoff: soon},
	})
	if err != nil {
		t.Fatal(err)
	}
	if n := report.Count(migrate.Migrated); n != len(tenants) {
		t.Errorf("%d tenants migrated of %d: stopped %v, canary %+v", n, len(tenants), report.Stopped, report.Outcomes[0])
	}
}
