package main

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// Whatever a role that may create in public has put there under a name of the
// registry's: no command reads it, writes into it or calls it, and each says what to do.
func TestPlantedRegistryRunsNothing(t *testing.T) {
	t.Parallel()
	const trap = `create function public.trap() returns text language plpgsql as $$ begin
		perform pg_catalog.nextval('public.sprung'); return 'x'; end $$`
	const trigger = `create function public.trap_row() returns trigger language plpgsql as $$ begin
		perform pg_catalog.nextval('public.sprung'); return new; end $$`
	kept, dir := fleettest.New(t), t.TempDir()
	for _, args := range []string{"tenant create acme-corp", "backup create acme-corp --dir " + dir} {
		if out, code := outcome(t, kept, strings.Fields(args)...); code != cli.ExitOK {
			t.Fatalf("%s: %s", args, out)
		}
	}
	backups, err := filepath.Glob(filepath.Join(dir, "*.crmctl"))
	if err != nil || len(backups) != 1 {
		t.Fatalf("%v: %v", backups, err)
	}
	columns := `gen_random_uuid() as id, public.trap() as slug, 'x' as display_name, 'public' as schema_name, 'active' as status, 1 as schema_version`
	for name, plant := range map[string]struct {
		registry   bool
		statements []string
	}{
		"view without a registry": {false, []string{trap, "create view public.tenants as select " + columns}},
		"versions without a registry": {false, []string{trap,
			"create view public.crmctl_db_version as select length(public.trap())::bigint as version_id, true as is_applied"}},
		"function without a registry": {false, []string{`create function public.tenant_events_append_only() returns trigger
			language plpgsql
			as $$ begin perform pg_catalog.nextval('public.sprung'); return new; end $$`}},
		"table beside an older registry": {true, []string{
			trigger, "create table public.tenant_pool (schema_name text, version bigint)",
			"create trigger t before insert or update or delete on public.tenant_pool for each row execute function " +
				"public.trap_row()",
		}},
		"view beside an older registry": {true, []string{trap,
			"create view public.tenant_builds as select public.trap() as schema_name, gen_random_uuid() as id"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := &fleettest.Fleet{DSN: pgtest.Empty(t)}
			role := "crmctl_planter_" + strings.ToLower(rand.Text()[:10])
			if plant.registry {
				f = fleettest.New(t)
				f.Exec(t, "drop table public.tenant_pool, public.tenant_builds")
			}
			f.Exec(t, "create role "+role, "grant create, usage on schema public to "+role,
				"create sequence public.sprung minvalue 0 start 0",
				"grant all on public.sprung to "+role)
			f.Exec(t, slices.Concat([]string{"set role " + role}, plant.statements)...)
			t.Cleanup(func() { f.DropRoles(t, role) })
			tryEveryCommand(t, f, role, backups[0])
		})
	}
}

// offline are the commands that read no database; contacts inspect does for a tenant.
func offline(path string) bool {
	return slices.Contains([]string{"backup list", "backup prune", "completion", "contacts inspect", "config path",
		"config show", "demo", "migrate lint", "migrate new", "version"}, path) ||
		strings.HasPrefix(path, "local ")
}

// eachOnline calls try with the arguments of every command line of dryCases that reads a
// database, and the path of its command. backup is the path of a backup.
func eachOnline(t *testing.T, backup string, try func(path string, args []string)) {
	t.Helper()
	dir := t.TempDir()
	leads := filepath.Join(dir, "leads.csv")
	if err := os.WriteFile(leads, []byte("email,name\nx@example.com,X\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	sync := filepath.Join(dir, "sync.yaml")
	if err := os.WriteFile(sync, []byte("tenants_query: select 'a'::pg_catalog.text as slug, 'b'::pg_catalog.text as "+
		"schema\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	second := filepath.Join(dir, "second.yaml")
	if err := os.WriteFile(second, []byte(secondProfile("postgres://nobody@127.0.0.1:1/none")), 0o600); err != nil {
		t.Fatal(err)
	}
	cases := dryCases("none")
	cases["psql"] = []dryCase{{args: "acme-corp -- -c select"}}
	cases["migrate all-tenants"] = []dryCase{{}, {args: "--verify"}}
	words := map[string]string{"BACKUP": backup, "SELECT": "select 1", "TRUNCATE": "select 1", "contacts.csv": leads,
		"sync.yaml": sync, "second.yaml": second,
		"new": filepath.Join(dir, "new"), "new.prom": filepath.Join(dir, "new.prom"), "backups": filepath.Join(dir, "backups")}
	tried := 0
	walk(tree(t), func(cmd *cobra.Command) {
		path := strings.TrimPrefix(cmd.CommandPath(), "crmctl ")
		for _, c := range cases[path] {
			if offline(path) && (path != "contacts inspect" || !strings.Contains(c.args, "--tenant")) {
				continue
			}
			args := strings.Fields(path + " " + c.args)
			for i, a := range args {
				if word, ok := words[a]; ok {
					args[i] = word
				}
			}
			if slices.Contains(args, "--list") {
				continue
			}
			tried++
			try(path, args)
		}
	})
	if tried < 40 {
		t.Errorf("only %d command lines were tried", tried)
	}
}

// tryEveryCommand runs each command of the tree as a user would.
func tryEveryCommand(t *testing.T, f *fleettest.Fleet, role, backup string) {
	eachOnline(t, backup, func(path string, args []string) {
		if path == "registry move" && strings.Contains(t.Name(), "older") { // which leaves that behind
			return
		}
		out, code := outcome(t, f, args...)
		text := strings.Join(args, " ")
		if n := f.Int(t, "select case when is_called then last_value + 1 else 0 end from public.sprung"); n != 0 {
			t.Errorf("crmctl %s ran what was planted\n%s", text, out)
			f.Exec(t, "select pg_catalog.setval('public.sprung', 0, false)")
		}
		want, says := cli.ExitFailure, "owned by "+role
		if path == "doctor" {
			want, says = cli.ExitPending, "belongs to "+role
		}
		if code != want || !strings.Contains(out, says) {
			t.Errorf("crmctl %s: exit code %d, want %d and %q\n%s", text, code, want, says, out)
		}
	})
}

// TestWithoutARegistry: where there is none, every command says so and how one is made,
// and none shows what the server said of a table.
func TestWithoutARegistry(t *testing.T) {
	t.Parallel()
	kept, dir := fleettest.New(t), t.TempDir()
	for _, args := range []string{"tenant create acme-corp", "backup create acme-corp --dir " + dir} {
		if out, code := outcome(t, kept, strings.Fields(args)...); code != cli.ExitOK {
			t.Fatalf("%s: %s", args, out)
		}
	}
	backups, err := filepath.Glob(filepath.Join(dir, "*.crmctl"))
	if err != nil || len(backups) != 1 {
		t.Fatalf("%v: %v", backups, err)
	}
	f := &fleettest.Fleet{DSN: pgtest.Empty(t)}
	eachOnline(t, backups[0], func(path string, args []string) {
		switch path {
		case "migrate public", "backup verify", "stats activity", "stats connections", "stats locks",
			"connections clean", "stats serve", "cluster nodes", "cluster rebalance":
			return // one makes it, the others need none
		}
		out, code := outcome(t, f, args...)
		if code == cli.ExitOK || !strings.Contains(out, "no registry") || !strings.Contains(out, "crmctl migrate public") ||
			strings.Contains(out, "42P01") {
			t.Errorf("crmctl %s: exit code %d\n%s", strings.Join(args, " "), code, out)
		}
	})
}
