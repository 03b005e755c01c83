package main

import (
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/fleettest"
)

// poorRole makes a role without any right and returns its name and the fleet as
// that role sees it.
func poorRole(t *testing.T, f *fleettest.Fleet) (name string, poor *fleettest.Fleet) {
	t.Helper()
	f.Scan(t, []any{&name}, "select 'poor-' || current_database()")
	quoted := `"` + name + `"`
	f.Exec(t, "create role "+quoted+" login", "revoke all on schema public from public")
	t.Cleanup(func() { f.Exec(t, "drop owned by "+quoted+" cascade", "drop role "+quoted) })
	u, err := url.Parse(f.DSN)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.User(name)
	return name, &fleettest.Fleet{DSN: u.String()}
}

// lifeOfATenant is what the rights have to be enough for.
func lifeOfATenant(dir string) [][]string {
	return [][]string{
		{"tenant", "create", "acme", "--to", "3"},
		{"migrate", "all-tenants"},
		{"seed", "--tenant", "acme"},
		{"tenant", "suspend", "acme"},
		{"tenant", "activate", "acme"},
		{"tenant", "rename", "acme", "acme-corp", "--schema"},
		{"tenant", "set", "acme-corp", "seats=5"},
		{"tenant", "exec", "acme-corp", "--write", "--yes", "-c", "update contacts set phone = null"},
		{"tenant", "list"},
		{"stats", "sizes"},
		{"stats", "catalog"},
		{"stats", "load", "--interval", "1s"},
		{"stats", "top", "--interval", "1s", "--count", "1"},
		{"stats", "indexes"},
		{"stats", "metrics"},
		{"stats", "sizes", "--by", "table"},
		{"backup", "create", "acme-corp", "--registry", "--dir", dir},
		{"tenant", "clone", "acme-corp", "acme-test"},
		{"tenant", "delete", "acme-corp", "--confirm", "acme-corp", "--retention", "0s"},
		{"tenant", "undelete", "acme-corp"},
		{"tenant", "delete", "acme-corp", "--confirm", "acme-corp", "--retention", "0s"},
		{"tenant", "purge", "--backup-dir", filepath.Join(dir, "purged"), "--yes"},
		{"tenant", "history", "acme"},
	}
}

// TestDocumentedRights: the grants that the README names are enough for
// the life of a tenant, without superuser.
func TestDocumentedRights(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	name, poor := poorRole(t, f)
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "\n## Rights\n")
	section, _, _ = strings.Cut(section, "\n## ")
	var database string
	f.Scan(t, []any{&database}, "select current_database()")
	grants := regexp.MustCompile(`(?m)^    (grant [^;]*);`).FindAllStringSubmatch(section, -1)
	if len(grants) < 4 {
		t.Fatalf("found %d grants in the README", len(grants))
	}
	for _, g := range grants {
		f.Exec(t, strings.NewReplacer("crm_prod", `"`+database+`"`, "migrator", `"`+name+`"`).Replace(g[1]))
	}
	for _, args := range lifeOfATenant(filepath.Join(t.TempDir(), "backups")) {
		if out, err := program(t, poor, args...).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
	}
}

// TestMissingRightIsNamed: from no right at all, the
// statements that the errors name lead to a role that can do its work.
func TestMissingRightIsNamed(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	_, poor := poorRole(t, f)
	hint := regexp.MustCompile(`(?m)^  as its owner: (grant .*)$`)
	granted := map[string]bool{}
	for _, args := range lifeOfATenant(filepath.Join(t.TempDir(), "backups")) {
		for {
			out, err := program(t, poor, args...).CombinedOutput()
			if err == nil {
				break
			}
			found := hint.FindSubmatch(out)
			if found == nil || granted[string(found[1])] {
				t.Fatalf("%s: %v\n%s", args, err, out)
			}
			granted[string(found[1])] = true
			f.Exec(t, string(found[1]))
		}
	}
	if len(granted) != 4 {
		t.Errorf("granted %v", granted)
	}
}

// TestRightsOnTheRegistry: the hint knows every table and sequence of the registry,
// and does not offer a grant on those of a tenant.
func TestRightsOnTheRegistry(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn := f.Connect(t)
	rows, err := conn.Query(t.Context(), `select case relkind when 'S' then 'sequence' else 'table' end, relname
		from pg_class where relnamespace = 'public'::regnamespace and relkind in ('r', 'S')`)
	if err != nil {
		t.Fatal(err)
	}
	denied := func(what string) string {
		return newBench(t).factory(t).explainRight(&pgconn.PgError{Code: "42501", Message: "permission denied for " +
			what}).Command
	}
	for rows.Next() {
		var kind, name string
		if err := rows.Scan(&kind, &name); err != nil {
			t.Fatal(err)
		}
		if got := denied(kind + " " + name); !strings.Contains(got, "on all "+kind+"s in schema public") {
			t.Errorf("%s %s: %s", kind, name, got)
		}
	}
	if rows.CommandTag().RowsAffected() < 8 {
		t.Errorf("%d tables and sequences in the registry", rows.CommandTag().RowsAffected())
	}
	for _, what := range []string{"table contacts", "schema tenant_acme", "view report", "table \x1b[2J"} {
		if got := denied(what); got != "crmctl doctor --check owner,grants" {
			t.Errorf("%s: %s", what, got)
		}
	}
}
