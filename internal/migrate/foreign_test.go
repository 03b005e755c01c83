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
		"table": "create table public.tenants (id int)",
		"view":  "create view public.crmctl_db_version as select 1 as version_id, true as is_applied",
		"type":  "create type public.migration_runs as enum ('a')",
		"function": "create function public.tenant_events_append_only() returns trigger language plpgsql as 'begin return " +
			"null; end'",
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
			// To trust the owner makes no registry of it.
			for _, trusted := range [][]string{{"somebody"}, {role}} {
				err := registry.Default().RefuseForeign(t.Context(), conn, trusted)
				taken, ok := errors.AsType[*registry.TakenError](err)
				if !ok || taken.Made || len(taken.Objects) != 1 || taken.Objects[0].Owner != role ||
					!strings.Contains(err.Error(), role) {
					t.Errorf("got %v, want a refusal that names the owner", err)
				}
			}
			// One who may create schemas is taken for the role that migrates.
			f.Exec(t, "do $$ begin execute format('grant create on database %I to "+role+"', current_database()); end $$")
			// It is told apart from the session's own.
			found, err := registry.Default().Foreign(t.Context(), conn, nil)
			if err != nil || len(found) != 1 || !found[0].Trusted || found[0].Owner != role {
				t.Errorf("found %v, %v", found, err)
			}
		})
	}
}

// A table of the registry's own that belongs to a role which could not have made it is
// refused, until that role is trusted.
func TestForeignOwnerIsRefused(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	role := "crmctl_foreign_" + strings.ToLower(rand.Text()[:10])
	f.Exec(t, "create role "+role)
	t.Cleanup(func() { f.DropRoles(t, role) })
	f.Exec(t, "alter table public.tenant_pool owner to "+role)
	conn := f.Connect(t)
	err := registry.Default().RefuseForeign(t.Context(), conn, []string{"somebody"})
	foreign, ok := errors.AsType[*registry.ForeignError](err)
	if !ok || len(foreign.Objects) != 1 || foreign.Objects[0].Owner != role || foreign.Objects[0].Trusted ||
		!foreign.Objects[0].Ours {
		t.Errorf("got %v, want a refusal that names the owner", err)
	}
	if err := registry.Default().RefuseForeign(t.Context(), conn, []string{role}); err != nil {
		t.Errorf("refused what a role has that the user trusts: %v", err)
	}
	f.Exec(t, "do $$ begin execute format('grant create on database %I to "+role+"', current_database()); end $$")
	if err := registry.Default().RefuseForeign(t.Context(), conn, nil); err != nil {
		t.Errorf("refused what belongs to a role that may create schemas: %v", err)
	}
}

// Everything that the migrations make is recognised, whoever looks for it to make more.
func TestRegistryIsRecognised(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	s, err := registry.Default().LookToMake(t.Context(), conn, nil)
	if err != nil || !s.Made || len(s.Strange) > 0 || s.Refusal() != nil {
		t.Errorf("one's own registry: %+v, %v", s, err)
	}
	// Whatever else has one of the names, or of the indexes' names, is in the way.
	f.Exec(t, "drop table public.tenant_pool", "create table public.other (id int)",
		"create index tenant_pool_pkey on public.other (id)",
		"alter table public.tenant_events rename column action to deed")
	s, err = registry.Default().LookToMake(t.Context(), conn, nil)
	var strange []string
	for _, o := range s.Strange {
		strange = append(strange, o.Kind+" "+o.Name)
	}
	if want := []string{"index public.tenant_pool_pkey", "table public.tenant_events"}; err != nil || !s.Made ||
		!slices.Equal(strange, want) {
		t.Errorf("found %q, %v, want %q", strange, err, want)
	}
	if err := s.Refusal(); err != nil {
		t.Errorf("a command is refused for what is one's own: %v", err)
	}
	if err := s.Taken(); err == nil {
		t.Error("an upgrade is let through")
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
