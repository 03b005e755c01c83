package migrate_test

import (
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/migrations"
)

// What somebody has put into public beforehand is not taken for the registry, whose
// readers and writers would run his code.
func TestForeignRegistryIsRefused(t *testing.T) {
	t.Parallel()
	plan := fleettest.Plan(t, migrations.Public())
	for name, statement := range map[string]string{
		"table":    "create table public.tenants (id int)",
		"view":     "create view public.crmctl_db_version as select 1 as version_id, true as is_applied",
		"type":     "create type public.migration_runs as enum ('a')",
		"function": "create function public.tenant_events_append_only() returns trigger language plpgsql as 'begin return null; end'",
		"sequence": "create sequence public.tenant_dirty",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fleettest.Fleet{DSN: pgtest.Empty(t)}
			role := "crmctl_foreign_" + strings.ToLower(rand.Text()[:10])
			f.Exec(t, "create role "+role, "grant create, usage on schema public to "+role)
			t.Cleanup(func() { f.DropRoles(t, role) })
			f.Exec(t, "set role "+role, statement, "reset role")
			conn := f.Connect(t)
			_, planned := plan.PlanPublic(t.Context(), conn)
			_, applied := plan.ApplyPublic(t.Context(), conn, migrate.ApplyOptions{})
			for _, err := range []error{planned, applied} {
				foreign, ok := errors.AsType[*migrate.ForeignError](err)
				if !ok || len(foreign.Objects) != 1 || !strings.HasSuffix(foreign.Objects[0], "owned by "+role) {
					t.Errorf("got %v, want a refusal that names the owner", err)
				}
			}
			if n := f.Int(t, "select count(*) from pg_class where relname = 'tenant_events'"); n != 0 {
				t.Error("the registry was made all the same")
			}
			// One who may create schemas is taken for the role that migrates.
			f.Exec(t, "do $$ begin execute format('grant create on database %I to "+role+"', current_database()); end $$")
			if _, err := plan.PlanPublic(t.Context(), conn); errors.As(err, new(*migrate.ForeignError)) {
				t.Errorf("refused what belongs to the migrating role: %v", err)
			}
		})
	}
}
