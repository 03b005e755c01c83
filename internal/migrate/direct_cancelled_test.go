package migrate_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// TestCancelledBehindAStatement: a run is cancelled when a statement outside of transactions is
// done, and before that is written down. The next run goes on behind it.
func TestCancelledBehindAStatement(t *testing.T) {
	t.Parallel()
	const delay = 15 * time.Millisecond
	for _, after := range []time.Duration{0, delay, 3 * delay / 2, 2 * delay, 3 * delay, 4 * delay, 6 * delay} {
		for statement := range 2 {
			t.Run(fmt.Sprintf("%s after statement %d", after, statement+1), func(t *testing.T) {
				t.Parallel()
				f := fleettest.New(t)
				old, plan := plans(t, map[string]string{"1_a.sql": first,
					"2_b.sql": "-- +goose NO TRANSACTION\n-- +goose Up\ninsert into a values (0);\ninsert into a values (1);"})
				tenants := f.Create(t, old, "acme")
				slow := &fleettest.Fleet{DSN: pgtest.NewProxy(t, f.DSN, delay).DSN}
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				watch := f.Connect(t)
				seen := make(chan error, 1)
				go func() {
					for {
						var n int
						err := watch.QueryRow(context.WithoutCancel(ctx), "select count(*) from tenant_acme.a").Scan(&n)
						if err != nil || n > statement || ctx.Err() != nil {
							time.Sleep(after)
							cancel()
							seen <- err
							return
						}
					}
				}()
				report, err := plan.Run(ctx, f.Connect(t), slow.Dial, tenants, migrate.RunOptions{LockTimeout: 2 * time.Second})
				cancel()
				if err := errors.Join(err, <-seen); err != nil {
					t.Fatal(err)
				}
				if o := report.Outcomes[0]; o.State != migrate.Migrated && o.State != migrate.NotStarted {
					t.Errorf("cancelled: %+v", o)
				}
				again := run(t, f, plan, tenants, migrate.RunOptions{LockTimeout: 2 * time.Second})
				if o := again.Outcomes[0]; o.State != migrate.Migrated && o.State != migrate.Current || o.To != 2 {
					t.Errorf("the next run: %+v", o)
				}
				for x := range 2 {
					if n := f.Int(t, "select count(*) from tenant_acme.a where x = $1", x); n != 1 {
						t.Errorf("statement %d has left %d rows", x+1, n)
					}
				}
			})
		}
	}
}
