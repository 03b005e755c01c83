package migrate_test

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// TestServerCrashBehindAPooler: PgBouncer stands between, which hides a crash of the server from
// sessions that are idle, and has words of its own for those that are not. What is reported is
// there, and no tenant has failed.
func TestServerCrashBehindAPooler(t *testing.T) {
	t.Parallel()
	for name, at := range map[string]int32{"in the middle": 15, "after the last tenant": 40} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, options := pgtest.Instance(t, map[string]string{"fsync": "on", "wal_writer_delay": "10s"})
			f := &fleettest.Fleet{DSN: server.DSN}
			f.Registry(t)
			old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second})
			tenants := f.Create(t, old, fleettest.Names(40)...)
			pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, server.DSN)}
			var finished atomic.Int32
			undone := int64(0)
			var restart sync.WaitGroup
			o := migrate.RunOptions{
				// Groups are not given up: PgBouncer may hang after a request to cancel what a server did
				// that has gone meanwhile.
				LockTimeout: 2 * time.Second, Group: 4, GroupLimit: time.Minute,
				Fleet: fleet.Options{Concurrency: 2, Attempts: 12},
				Observe: func(e migrate.Event) {
					if _, ok := e.(migrate.TenantFinished); !ok || finished.Add(1) != at {
						return
					}
					if at == 40 { // nobody is at work
						pgtest.Restart(t, server, options)
						undone = f.Int(t, "select count(*) from public.tenants where schema_version = 1")
						return
					}
					restart.Go(func() { pgtest.Restart(t, server, options) })
				},
			}
			o.Canary.Count = 1
			report, err := plan.Run(t.Context(), pooled.Connect(t), pooled.Dial, tenants, o)
			restart.Wait()
			if err != nil {
				t.Fatal(err)
			}
			if at == 40 && undone == 0 {
				t.Error("the crash has undone nothing: the test shows nothing")
			}
			if n := report.Count(migrate.Failed); n > 0 {
				t.Errorf("%d tenants have failed: %+v", n, report.Outcomes)
			}
			checkAgree(t, f, report)
		})
	}
}
