package main

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// alikeBench is a fleet of nine tenants behind by a version. In seven of them the pending
// migration fails for one reason, in one for another.
func alikeBench(t *testing.T) (*fleettest.Fleet, func(width int, args ...string) (stdout, stderr string, code int)) {
	t.Helper()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 3), "t-1", "t-2", "t-3", "t-4", "t-5", "t-6", "t-7", "t-8", "t-9")
	for i := 1; i <= 7; i++ {
		f.Exec(t, fmt.Sprintf("alter table tenant_t_%d.contacts add column company text", i))
	}
	f.Exec(t, "drop table tenant_t_8.contacts cascade")
	return f, func(width int, args ...string) (stdout, stderr string, code int) {
		b := newBench(t).setenv("DATABASE_URL="+f.DSN, "NO_COLOR=1")
		if width > 0 {
			b = b.onTerminal()
			b.Width = func() int { return width }
		}
		code = b.run(args...)
		return b.out.String(), b.err.String(), code
	}
}

// What many tenants fail for is said once, with how many there are and the first names. The
// other reasons stand apart, and programs get every tenant.
func TestEqualFailuresAreSaidOnce(t *testing.T) {
	t.Parallel()
	f, run := alikeBench(t)
	const reason = `already exists (42701)`
	out, errs, code := run(80, "migrate", "all-tenants", "--canary", "0", "--concurrency", "1")
	if code != cli.ExitPartial || strings.Count(out, reason) != 1 || strings.Contains(out, "t-7") {
		t.Errorf("exit code %d\n%s", code, out)
	}
	for _, want := range []string{"\n7 tenants ", "\n  t-1 ", "\n  t-2", "\n  t-3", "\n  and 4 more", "\nt-8 "} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
	for _, line := range tooWide(out, 80) {
		t.Errorf("too wide: %s", line)
	}
	// While it goes on the first few are told, and that others are only counted.
	if n := strings.Count(errs, reason); n != 3 || strings.Count(errs, "tenant=t-4 failed sqlstate=42701: as t-1; ") != 1 ||
		strings.Contains(errs, "t-5") || !strings.Contains(errs, "tenant=t-8 failed") {
		t.Errorf("%d told\n%s", n, errs)
	}
	details := regexp.MustCompile(`(?m)^details: crmctl (migrate runs show \d+ -o wide)$`).FindStringSubmatch(errs)
	if details == nil {
		t.Fatalf("how to see all is not said:\n%s", errs)
	}
	all, _, code := run(80, strings.Fields(details[1])...)
	if code != cli.ExitOK || strings.Count(all, reason) != 7 || !strings.Contains(all, "t-7 ") {
		t.Errorf("exit code %d, not all:\n%s", code, all)
	}

	// The end of a log, and with -v each while it goes on.
	out, errs, _ = run(0, "migrate", "all-tenants", "--canary", "0", "-v")
	if strings.Count(out, reason) != 1 || !strings.Contains(out, "\n7 tenants: t-1, t-2, t-3 and 4 more\t3\t0000") {
		t.Errorf("piped:\n%s", out)
	}
	if n := strings.Count(errs, reason); n != 7 {
		t.Errorf("-v tells %d\n%s", n, errs)
	}
	for _, format := range []string{"json", "ndjson", "csv"} {
		if out, _, _ = run(0, "migrate", "all-tenants", "--canary", "0", "-o", format); strings.Contains(out, "7 tenants") ||
			strings.Count(out, "00004_add_contact_company.sql:2: column ") < 7 && format != "csv" {
			t.Errorf("%s:\n%s", format, out)
		}
	}
	if n := f.Int(t, "select count(*) from public.tenants where schema_version = 4"); n != 1 {
		t.Errorf("%d are migrated, want t-9 alone", n)
	}
}

// Lists of what is pending, or went wrong, are as short, and each says how to see every tenant.
func TestEqualTenantsAreListedOnce(t *testing.T) {
	t.Parallel()
	_, run := alikeBench(t)
	if _, _, code := run(0, "migrate", "all-tenants", "--canary", "0"); code != cli.ExitPartial {
		t.Fatalf("exit code %d", code)
	}
	for _, tt := range []struct {
		args   string
		header string
		rows   int
	}{
		{"migrate plan", "8 tenants ", 8},
		{"migrate status", "8 tenants ", 8},
		{"migrate runs show 1", "7 tenants ", 8},
		{"migrate rollback --all-tenants --to 2 --dry-run", "8 tenants ", 9},
	} {
		out, _, _ := run(80, strings.Fields(tt.args)...)
		if !strings.Contains(out, "\n"+tt.header) || !strings.Contains(out, "\neach tenant: crmctl "+tt.args+" -o wide\n") {
			t.Errorf("%s:\n%s", tt.args, out)
		}
		for _, width := range []int{0, 80} {
			args := strings.Fields(tt.args)
			if width > 0 {
				args = append(args, "-o", "wide")
			}
			out, _, _ := run(width, args...)
			if got := len(regexp.MustCompile(`(?m)^t-\d`).FindAllString(out, -1)); got != tt.rows {
				t.Errorf("%v has %d tenants, want %d:\n%s", args, got, tt.rows, out)
			}
		}
	}
}

// Failures of other commands over many tenants, whose names stand in the reasons.
func TestEqualErrorsOfOtherCommands(t *testing.T) {
	t.Parallel()
	f, run := alikeBench(t)
	script := `do $$ begin perform 1 / nullif(count(*), count(*)) from contacts; raise 'no rows in %', current_schema; end $$`
	out, errs, code := run(0, "tenant", "exec", "--write", "--yes", "--tenant", "t-*", "-c", script)
	if code != cli.ExitFailure || strings.Count(errs, "no rows in tenant_t_") != 3 ||
		!strings.Contains(errs, "crmctl: 8 tenants: no rows in <schema> (P0001)\n  t-1, t-2, t-3 and 5 more (-o json tells each)\n") {
		t.Errorf("exit code %d\n%s", code, errs)
	}
	if n := strings.Count(out, "failed\tt-"); n != 9 {
		t.Errorf("%d tenants are listed in a pipe:\n%s", n, out)
	}
	out, _, _ = run(80, "tenant", "exec", "--write", "--yes", "--tenant", "t-*", "-c", script)
	if !strings.Contains(out, "failed  9 tenants ") || strings.Contains(out, "t-4") {
		t.Errorf("on a terminal:\n%s", out)
	}
	_, errs, _ = run(0, "tenant", "exec", "--write", "--yes", "--tenant", "t-*", "-c", script, "-o", "json")
	for i := 1; i <= 9; i++ {
		if n := strings.Count(errs, fmt.Sprintf(`"tenant":"t-%d"`, i)); n != 1 {
			t.Errorf("%d records of t-%d:\n%s", n, i, errs)
		}
	}
	// What is said while tenants are restored one by one, and at the end of that.
	dir := t.TempDir()
	if _, errs, code := run(0, "backup", "create", "--all", "--dir", dir, "--exclude", "t-8"); code != cli.ExitOK {
		t.Fatalf("exit code %d\n%s", code, errs)
	}
	files, err := filepath.Glob(filepath.Join(dir, "t-*.crmctl"))
	if err != nil || len(files) != 8 {
		t.Fatalf("%v: %v", files, err)
	}
	for _, file := range files {
		if err := os.Truncate(file, 100); err != nil {
			t.Fatal(err)
		}
	}
	for i := 1; i <= 9; i++ {
		f.Exec(t, fmt.Sprintf("drop schema tenant_t_%d cascade", i))
	}
	_, errs, code = run(0, "backup", "restore", dir, "--yes")
	if code != cli.ExitFailure || strings.Count(errs, "no whole backup of tenant") != 4 ||
		!strings.Contains(errs, "crmctl: tenant t-4: as t-1; the next are only counted (-v)\n") ||
		!strings.Contains(errs, `crmctl: 8 tenants: no whole backup of tenant "<tenant>" in `+dir) {
		t.Errorf("exit code %d\n%s", code, errs)
	}
}

// A history tells what a run did with the tenant, in whole words, and nothing of runs that
// never came to it.
func TestHistoryOfRuns(t *testing.T) {
	t.Parallel()
	_, run := alikeBench(t)
	if _, errs, code := run(0, "migrate", "all-tenants", "--canary", "0", "--concurrency", "1", "--fail-fast"); code != cli.ExitStopped {
		t.Fatalf("exit code %d\n%s", code, errs)
	}
	if out, _, _ := run(80, "tenant", "history", "t-9"); strings.Contains(out, "migrate") || !strings.Contains(out, "create") {
		t.Errorf("a run that stopped before its turn:\n%s", out)
	}
	if _, errs, code := run(0, "migrate", "tenant", "t-9"); code != cli.ExitOK {
		t.Fatalf("exit code %d\n%s", code, errs)
	}
	for slug, want := range map[string]string{
		"t-1": "\n  failed at version 3: 00004_add_contact_company.sql:2: column \"company\" of\n  relation \"contacts\" already exists (42701)\n",
		"t-9": "\n  version: 3 -> 4\n",
	} {
		out, _, code := run(80, "tenant", "history", slug)
		if code != cli.ExitOK || !strings.Contains(out, want) {
			t.Errorf("%s: exit code %d, want %q\n%s", slug, code, want, out)
		}
		for _, line := range tooWide(out, 80) {
			t.Errorf("%s: too wide: %s", slug, line)
		}
	}
	if out, _, _ := run(0, "tenant", "history", "t-1"); !strings.Contains(out, "sqlstate: 42701") {
		t.Errorf("a pipe has every fact:\n%s", out)
	}
}

// A run that has no single target shows no number in its place, and a narrow terminal has
// whole lines.
func TestRunsOnANarrowTerminal(t *testing.T) {
	t.Parallel()
	_, run := alikeBench(t)
	if _, errs, code := run(0, "migrate", "rollback", "--steps", "1", "--tenant", "t-9", "--yes"); code != cli.ExitOK {
		t.Fatalf("exit code %d\n%s", code, errs)
	}
	for width, want := range map[int]string{80: "STARTED", 60: "its own", 50: "its own"} {
		out, _, _ := run(width, "migrate", "runs")
		if !strings.Contains(out, want) {
			t.Errorf("%d columns:\n%s", width, out)
		}
		for _, line := range tooWide(out, max(width, 56)) {
			t.Errorf("%d columns, too wide: %s", width, line)
		}
	}
	for _, format := range []string{"table", "csv"} {
		if out, _, _ := run(0, "migrate", "runs", "-o", format); strings.Contains(out, "\t-1\t") || strings.Contains(out, ",-1,") ||
			strings.Contains(out, "its own") {
			t.Errorf("%s:\n%s", format, out)
		}
	}
}
