package staging_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/staging"
)

// TestClearManyTables: a schema under construction that does not fit into the server's lock
// table is dropped in several transactions, by the builder that fails and by whoever finds
// it after a kill.
func TestClearManyTables(t *testing.T) {
	t.Parallel()
	server, _ := pgtest.Instance(t, map[string]string{"max_locks_per_transaction": "10", "max_connections": "20",
		"fsync": "off"})
	f := &fleettest.Fleet{DSN: server.DSN}
	f.Registry(t)
	schema, err := db.RegisteredSchema("tenant_big")
	if err != nil {
		t.Fatal(err)
	}
	for _, killed := range []bool{false, true} {
		work, other := f.Connect(t), f.Connect(t)
		site, err := staging.Open(t.Context(), work, staging.Options{Schema: schema, Slug: "big", Actor: "test",
			LockTimeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		for from := 0; from < 2000; from += 50 {
			f.Exec(t, fmt.Sprintf(`do $$ begin for i in %d..%d loop
				execute format('create table tenant_big.t%%s (id int)', i); end loop; end $$`, from, from+49))
		}
		if _, err := other.Exec(t.Context(), "drop schema tenant_big cascade"); db.SQLState(err) != db.CodeOutOfMemory {
			t.Fatalf("the schema can be dropped at once (%v): the test shows nothing", err)
		}
		if killed {
			f.Exec(t, "select pg_terminate_backend(pid, 10000) from pg_stat_activity where datname = current_database() and "+
				"state = 'idle in transaction'")
			cleared, err := staging.Clear(t.Context(), other, registry.Registry{}, schema, 5*time.Second)
			if !cleared || err != nil {
				t.Errorf("after a kill: cleared %t, %v", cleared, err)
			}
		} else if err := site.Clear(t.Context()); err != nil {
			t.Error(err)
		}
		if n := f.Int(t, "select (select count(*) from public.tenant_builds) + (select count(*) from pg_namespace where "+
			"nspname = 'tenant_big')"); n != 0 {
			t.Errorf("killed %t: %d things stayed", killed, n)
		}
	}
}
