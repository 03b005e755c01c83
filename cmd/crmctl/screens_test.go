package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// screenFleet has what makes screens wide: long names, versions of 14 digits, failures
// with long reasons, and many findings that are alike.
func screenFleet(t *testing.T) (f *fleettest.Fleet, dir string) {
	t.Helper()
	f = fleettest.New(t)
	slugs := []string{"acme-corp", "the-international-holding-of-many-companies-of-springfield-1881", "initech"}
	for i := range 12 {
		slugs = append(slugs, fmt.Sprintf("globex-branch-office-%02d", i))
	}
	f.Create(t, fleettest.TenantPlan(t, 0), slugs...)
	f.Exec(t, "update public.tenants set display_name = 'The International Holding of Many Companies of Springfield, "+
		"Oregon' where slug like 'the-%'",
		"update public.tenants set status = 'deleted', deleted_at = now(), purge_after = now() + interval '3 days' where "+
			"slug = 'initech'",
		"insert into tenant_acme_corp.contacts (name, email) values ('A', 'a@example.com')")
	for i := range 12 {
		f.Exec(t, fmt.Sprintf("drop table tenant_globex_branch_office_%02d.messages", i))
	}
	f.Exec(t, "create table tenant_acme_corp.a_table_that_somebody_made_by_hand_and_with_a_long_name (id "+
		"uuid references tenant_acme_corp.contacts)")
	openSessions(t, f, "acme-corp")
	dir = t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("../../migrations/tenant")); err != nil {
		t.Fatal(err)
	}
	const file = `-- +goose Up
alter table contacts add column a_column_with_a_name_that_nobody_would_want_to_type text not null;
-- +goose Down
alter table contacts drop column a_column_with_a_name_that_nobody_would_want_to_type;
`
	if err := os.WriteFile(filepath.Join(dir, "20261124091500_add_a_column_with_a_long_name_to_contacts.sql"),
		[]byte(file), 0o600); err != nil {
		t.Fatal(err)
	}
	return f, dir
}

// screens are the commands that show something without asking; fill comes first.
func screens(dir string) [][]string {
	return [][]string{
		{"tenant", "list"},
		{"tenant", "list", "--status", "deleted"},
		{"tenant", "show", "the-international-holding-of-many-companies-of-springfield-1881"},
		{"tenant", "history", "acme-corp"},
		{"tenant", "create", "another", "--migrations-dir", dir},
		{"tenant", "pool", "list"},
		{"migrate", "plan", "--migrations-dir", dir},
		{"migrate", "all-tenants", "--migrations-dir", dir, "--canary", "0"},
		{"migrate", "status", "--migrations-dir", dir},
		{"migrate", "status", "--migrations-dir", dir, "--verify"},
		{"migrate", "rollback", "--to", "20261124091500", "--all-tenants", "--dry-run", "--migrations-dir", dir},
		{"migrate", "runs"},
		{"migrate", "runs", "show", "1"},
		{"migrate", "runs", "show", "1", "--all"},
		{"migrate", "drift", "--migrations-dir", dir},
		{"migrate", "lint", "--migrations-dir", dir},
		{"migrate", "lint", "--rules"},
		{"migrate", "repair"},
		{"migrate", "public", "--dry-run"},
		{"audit", "list"},
		{"doctor"},
		{"doctor", "--list"},
		{"stats", "sizes"},
		{"stats", "catalog"},
		{"stats", "connections"},
		{"stats", "activity"},
		{"stats", "locks"},
		{"stats", "diagnose"},
		{"connections", "clean", "--in-transaction", "1ms", "--superusers", "--dry-run"},
		{"stats", "load", "--interval", "1s", "--tenant", "nobody*"},
		{"stats", "top", "--interval", "1s", "--count", "1"},
		{"stats", "indexes"},
		{"stats", "indexes", "--suggest"},
		{"stats", "queries"},
		{"stats", "explain", "acme-corp", "select * from contacts where email like '%@example.com' order by name limit 5"},
		{"stats", "explain", "--all-tenants", "select * from messages join conversations c on c.id = conversation_id"},
		{"stats", "sizes", "--by", "table"},
		{"stats", "sizes", "--by", "tablespace"},
		{"report", "--html", filepath.Join(dir, "fleet.html"), "--migrations-dir", dir},
		{"stats", "metrics", "--top", "1"},
		{"tenant", "exec", "--all", "-c", "select count(*) from contacts"},
		{"tenant", "rename", "acme-corp", "acme-corporation-of-springfield", "--dry-run"},
		{"tenant", "suspend", "acme-corp", "--dry-run"},
		{"tenant", "set", "acme-corp", "plan=enterprise", "--dry-run"},
		{"tenant", "purge", "--dry-run"},
		{"contacts", "list", "--tenant", "acme-corp"},
		{"contacts", "add", "--tenant", "acme-corp", "--email", "a@example.com"},
		{"contacts", "person", "a@example.com", "--all-tenants", "--show"},
		{"contacts", "person", "a@example.com", "--all-tenants", "--erase", "--dry-run"},
		{"conversations", "list", "--tenant", "acme-corp"},
		{"messages", "search", "--tenant", "acme-corp", "invoice"},
		{"messages", "list", "--tenant", "globex-branch-office-01", "a@example.com"},
		{"config", "show", "--origin"},
		{"config", "path"},
		{"version"},
		{"tenant", "show", "the-international-holding-of-some-companies-of-springfield-1881"},
		{"tenant", "lits"},
		{"migrate", "all-tenants", "--nonsense"},
		{"migrate", "all-tenants", "--migrations-dir", "nowhere/at/all/where/somebody/could/have/put/migrations"},
	}
}

// Every table, answer, message and progress line fits the terminal. Commands that are to
// be pasted are the exception.
func TestScreensFit(t *testing.T) {
	t.Parallel()
	for _, width := range []int{80, 120} {
		f, dir := screenFleet(t)
		for _, args := range screens(dir) {
			b := newBench(t).onTerminal().setenv("DATABASE_URL="+f.DSN, "NO_COLOR=1")
			b.Width = func() int { return width }
			b.run(args...)
			text := b.out.String() + b.err.String()
			for _, line := range tooWide(lastFrames(text), width) {
				if !strings.Contains(line, "crmctl ") && !strings.Contains(line, dir) {
					t.Errorf("%s at %d columns: %s", strings.Join(args, " "), width, line)
				}
			}
			if os.Getenv("CRMCTL_TEST_SHOW") != "" {
				t.Logf("$ crmctl %s    (%d)\n%s", strings.Join(args, " "), width, text)
			}
		}
	}
}

// lastFrames leaves out the frames of a bar, which are drawn over each other.
func lastFrames(text string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		line = line[strings.LastIndex(line, "\r")+1:]
		out = append(out, strings.ReplaceAll(strings.ReplaceAll(line, cli.EraseBelow, ""), cli.LineUp, ""))
	}
	return strings.Join(out, "\n")
}
