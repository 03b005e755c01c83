package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// What is wrong with the database of another profile is said of that one, with commands for it;
// and of a tenant that has moved there, nobody who erases a person here is told that all is done.
func TestOtherSideIsNamed(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	f.Exec(t, "insert into tenant_acme.contacts (email, name) values ('ann@example.com', 'Ann')")
	there := pgtest.Empty(t)
	at, err := pgx.ParseConfig(there)
	if err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "second.yaml")
	if err := os.WriteFile(config, []byte(secondProfile(there)), 0o600); err != nil {
		t.Fatal(err)
	}
	run := func(code int, env string, args ...string) *bench {
		t.Helper()
		b := newBench(t).setenv(env, "CRMCTL_ERASURE_KEY_FILE="+filepath.Join(filepath.Dir(config), "key"))
		if got := b.run(append(args, "--config", config)...); got != code {
			t.Fatalf("%q: exit code %d, want %d\n%s%s", args, got, code, b.out, b.err)
		}
		return b
	}
	has := func(b *bench, texts ...string) {
		t.Helper()
		for _, text := range texts {
			if !strings.Contains(b.out.String()+b.err.String(), text) {
				t.Errorf("want %q in\n%s%s", text, b.out, b.err)
			}
		}
	}
	here, second := "DATABASE_URL="+f.DSN, "CRMCTL_PROFILE=second"

	has(run(cli.ExitFailure, here, "tenant", "transfer", "acme", "--to-profile", "second"),
		"crmctl: "+at.Database+" on ", " has no registry yet\n",
		"create it: crmctl migrate public --profile second --config "+config+"\n")

	run(cli.ExitOK, second, "migrate", "public")
	run(cli.ExitOK, here, "tenant", "transfer", "acme", "--to-profile", "second")
	has(run(cli.ExitOK, here, "tenant", "show", "acme"), `"database":"`+at.Database+`"`, `"rows":`)

	has(run(cli.ExitOK, here, "contacts", "person", "ann@example.com", "--all-tenants", "--export"),
		"look there too (crmctl tenant show acme)", `"tenants in the database that they have moved to: acme"`)
	has(run(cli.ExitOK, here, "contacts", "person", "ann@example.com", "--all-tenants", "--erase", "--yes"),
		"acme lives in another database: erase there too (crmctl tenant show acme)")
	if b := run(cli.ExitOK, second, "contacts", "person", "ann@example.com", "--all-tenants", "--erase", "--yes"); strings.
		Contains(b.err.String(), "lives in another") || !strings.Contains(b.out.String(), "erased\tacme\t1\t") {
		t.Errorf("%s%s", b.out, b.err)
	}
	run(cli.ExitOK, here, "tenant", "delete", "acme", "--confirm", "acme")
	has(run(cli.ExitOK, here, "contacts", "person", "ann@example.com", "--all-tenants", "--show"),
		"acme lives in another database: look there too")

	// The tenant is gone there, and not here.
	run(cli.ExitOK, second, "tenant", "delete", "acme", "--confirm", "acme", "--retention", "0s")
	run(cli.ExitOK, second, "tenant", "purge", "--no-backup", "--yes")
	run(cli.ExitOK, here, "tenant", "undelete", "acme")
	has(run(exitNoTenant, here, "tenant", "transfer", "acme", "--to-profile", "second"),
		`no tenant "acme" in `+at.Database+" on ")
}
