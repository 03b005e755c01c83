package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// grantDocumented gives a poor role what the README names.
func grantDocumented(t *testing.T, f *fleettest.Fleet, name string) {
	t.Helper()
	var database string
	f.Scan(t, []any{&database}, "select current_database()")
	f.Exec(t, `grant create on database "`+database+`" to "`+name+`"`, `grant usage on schema public to "`+name+`"`,
		`grant select, insert, update, delete on all tables in schema public to "`+name+`"`,
		`grant select on all sequences in schema public to "`+name+`"`)
}

// TestRightsOfARestore: for restores and doctor, too, the documented grants are
// enough, roles of tenants want one more right, and the registry its owner; whatever is
// refused leaves nothing.
func TestRightsOfARestore(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	name, poor := poorRole(t, f)
	grantDocumented(t, f, name)
	ok(t, poor, "tenant", "create", "acme", "-q")
	dir := t.TempDir()
	ok(t, poor, "backup", "create", "acme", "--registry", "--dir", dir)
	file := one(t, filepath.Join(dir, "acme-*.crmctl"))
	ok(t, poor, "backup", "restore", file, "--as", "again")
	f.Exec(t, "drop schema tenant_acme cascade")
	ok(t, poor, "backup", "restore", file) // into the row that is left
	if out := ok(t, poor, "doctor", "--skip", "connections,locks,autovacuum"); strings.Contains(out, "not checked") {
		t.Error(out)
	}
	f.Exec(t, "update public.tenants set schema_version = 3 where slug = 'acme'",
		"alter schema tenant_again rename to tenant_lost")
	out := ok(t, poor, "doctor", "--fix", "version,orphan-schema,ghost-row", "--yes")
	if strings.Count(out, "mended\t") != 3 {
		t.Error(out)
	}

	// A role that may not create roles makes none, and leaves nothing.
	code, out := crmctl(t, poor, "backup", "restore", file, "--as", "third", "--role")
	if code != cli.ExitFailure || !strings.Contains(out, "the tenant's role needs a session that may create roles") ||
		!strings.Contains(out, "alter role ROLE createrole; or add --role=false") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if n := f.Int(t, "select (select count(*) from public.tenants where slug = 'third') + (select count(*) from "+
		"pg_namespace where nspname = 'tenant_third')"); n != 0 {
		t.Errorf("%d things are left", n)
	}

	// So does a structure of its own, which a role that is made for it makes.
	f.Exec(t, "alter table tenant_acme.contacts add vip int")
	ok(t, f, "backup", "create", "acme", "--dir", filepath.Join(dir, "own"))
	own := one(t, filepath.Join(dir, "own", "acme-*.crmctl"))
	code, out = crmctl(t, poor, "backup", "restore", own, "--as", "fourth")
	if code != cli.ExitFailure || !strings.Contains(out, `alter role "`+name+`" createrole`) || strings.Contains(out, "RIGHT") {
		t.Errorf("exit code %d\n%s", code, out)
	}

	// The sequences of the registry are its owner's.
	other := &fleettest.Fleet{DSN: pgtest.Empty(t)}
	ok(t, other, "migrate", "public")
	stranger, poorer := poorRole(t, other)
	grantDocumented(t, other, stranger)
	registry := one(t, filepath.Join(dir, "_registry-*.crmctl"))
	if code, out := crmctl(t, poorer, "backup", "restore", registry); code != cli.ExitFailure ||
		!strings.Contains(out, "only its owner can restore the registry") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	if n := other.Int(t, "select (select count(*) from public.tenants) + (select count(*) from "+
		"public.tenant_events)"); n != 0 {
		t.Errorf("%d rows are left", n)
	}
	ok(t, other, "backup", "restore", registry)
}

// TestDoctorWithoutRights: what a role may not read is told as not checked, and the
// rest is looked at.
func TestDoctorWithoutRights(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	ok(t, f, "tenant", "create", "acme", "globex", "-q")
	f.Exec(t, "drop schema tenant_globex cascade")
	name, poor := poorRole(t, f)
	f.Exec(t, `grant usage on schema public to "`+name+`"`, `grant select on public.tenants to "`+name+`"`)
	code, out := crmctl(t, poor, "doctor", "--skip", "connections,locks,autovacuum")
	if code != cli.ExitPending || !strings.Contains(out, "error\tghost-row\tglobex") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	for _, class := range []string{"registry", "pool", "dirty", "open-run", "version"} {
		why := "permission denied for"
		if class == "version" {
			why = "1 tenant in whose schemas this role may not read"
		}
		if !strings.Contains(out, "not checked: "+class+" ("+why) {
			t.Errorf("%s is not told:\n%s", class, out)
		}
	}

	// SELECT on the registry is enough for all that only reads it.
	ok(t, f, "migrate", "all-tenants", "--exclude", "globex")
	f.Exec(t, `grant select on all tables in schema public to "`+name+`"`)
	for _, args := range [][]string{
		{"tenant", "list"}, {"tenant", "show", "acme"}, {"tenant", "history", "acme"}, {"audit", "list"}, {"migrate", "runs"},
		{"migrate", "status"}, {"migrate", "plan"},
		{"tenant", "pool", "list"}, {"doctor", "--skip", "connections,locks,autovacuum"}, {"stats", "sizes"},
		{"stats", "load", "--interval", "1s"}, {"stats", "indexes"},
		{"stats", "metrics"}, {"stats", "catalog"},
	} {
		if code, out := crmctl(t, poor, args...); code != cli.ExitOK && code != cli.ExitPending ||
			strings.Contains(out, "permission denied") {
			t.Errorf("%v: exit code %d\n%s", args, code, out)
		}
	}
}
