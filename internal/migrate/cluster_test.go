package migrate_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
)

// TestRunOnACluster: tenants that stand on the nodes of a cluster are migrated alone and in
// groups, by sessions that stay: connecting anew to every node is most of what a tenant takes.
func TestRunOnACluster(t *testing.T) {
	t.Parallel()
	for _, group := range []int{1, 6} {
		t.Run(fmt.Sprint("group ", group), func(t *testing.T) {
			t.Parallel()
			f := fleettest.OnCitus(t)
			old, plan := plans(t, map[string]string{
				"1_a.sql": first, "2_b.sql": second + "\ncreate table b (x int primary key);",
			})
			tenants := f.Create(t, old, fleettest.Names(20)...)
			var dialed atomic.Int32
			dial := func(ctx context.Context) (*pgx.Conn, error) {
				dialed.Add(1)
				return f.Dial(ctx)
			}
			o := migrate.RunOptions{Group: group}
			o.Canary.Count, o.Fleet.Concurrency, o.LockTimeout = 1, 2, 10*time.Second
			report, err := plan.Run(t.Context(), f.Connect(t), dial, tenants, o)
			if err != nil {
				t.Fatal(err)
			}
			if n := report.Count(migrate.Migrated); n != 20 {
				t.Fatalf("%d migrated: %+v", n, report.Outcomes)
			}
			wantAt(t, f, tenants, 2)
			// Each group that is given up costs its connection, and the next are half as large.
			if n := dialed.Load(); group == 1 && n > 6 || n > 14 {
				t.Errorf("%d connections for two at a time", n)
			}
			if n := f.Int(t, "select count(*) from pg_dist_partition p join pg_class c on c.oid = p.logicalrelid "+
				"where c.relname in ('a', 'b') and c.relnamespace <> 'public'::regnamespace"); n != 40 {
				t.Errorf("%d of 40 tables stand on nodes", n)
			}
		})
	}
}

// TestRefusedByANodeOfACluster: what a node refuses is told by the names that the migrations give.
func TestRefusedByANodeOfACluster(t *testing.T) {
	t.Parallel()
	f := fleettest.OnCitus(t)
	old, plan := plans(t, map[string]string{
		"1_a.sql": first, "2_b.sql": "alter table a add constraint a_positive check (x > 0);",
	})
	tenants := f.Create(t, old, "acme")
	f.Exec(t, "insert into tenant_acme.a values (-1)")
	report := run(t, f, plan, tenants, migrate.RunOptions{})
	const want = `2_b.sql:2: check constraint "a_positive" of relation "a" is violated by some row (23514)`
	if o := report.Outcomes[0]; o.Err == nil || o.Err.Error() != want {
		t.Errorf("the migration failed with %v, want %s", o.Err, want)
	}
}
