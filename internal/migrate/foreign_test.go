package migrate_test

import (
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
	"github.com/crmctl/crmctl/internal/registry"
)

// What somebody has put into public beforehand is not taken for the registry, whose
// readers and writers would run his code.
func TestForeignRegistryIsRefused(t *testing.T) {
	t.Parallel()
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
			err := registry.Default().RefuseForeign(t.Context(), conn, []string{"somebody"})
			foreign, ok := errors.AsType[*registry.ForeignError](err)
			if !ok || len(foreign.Objects) != 1 || foreign.Objects[0].Owner != role || foreign.Objects[0].Trusted {
				t.Errorf("got %v, want a refusal that names the owner", err)
			}
			if err := registry.Default().RefuseForeign(t.Context(), conn, []string{role}); err != nil {
				t.Errorf("refused what a role has that the user trusts: %v", err)
			}
			// One who may create schemas is taken for the role that migrates.
			f.Exec(t, "do $$ begin execute format('grant create on database %I to "+role+"', current_database()); end $$")
			if err := registry.Default().RefuseForeign(t.Context(), conn, nil); err != nil {
				t.Errorf("refused what belongs to the migrating role: %v", err)
			}
			// It is told apart from the session's own.
			found, err := registry.Default().Foreign(t.Context(), conn, nil)
			if err != nil || len(found) != 1 || !found[0].Trusted || found[0].Owner != role {
				t.Errorf("found %v, %v", found, err)
			}
		})
	}
}

// The list of the registry's names is that of what its migrations make.
func TestRegistryObjects(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	var made []string
	f.Scan(t, []any{&made}, `select array_agg(o.name order by o.name collate "C") from (
		select relname::text as name from pg_class where relnamespace = 'public'::regnamespace and relkind not in ('i', 'I')
		union select proname from pg_proc where pronamespace = 'public'::regnamespace
		union select typname from pg_type where typnamespace = 'public'::regnamespace and typrelid = 0 and typelem = 0) o`)
	if !slices.Equal(made, registry.Objects()) {
		t.Errorf("the migrations make\n%q, the list has\n%q", made, registry.Objects())
	}
	conn := f.Connect(t)
	if found, err := registry.Default().Foreign(t.Context(), conn, nil); err != nil || len(found) > 0 {
		t.Errorf("one's own registry: %v, %v", found, err)
	}
}
