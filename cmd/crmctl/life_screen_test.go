package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// lifeBench is a terminal of 80 columns on a fleet in which three tenants are
// deleted, two of them overdue.
func lifeBench(t *testing.T) (*fleettest.Fleet, func(answer string, args ...string) (stdout, stderr string, code int)) {
	t.Helper()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme-corp", "globex", "hooli", "initech", "tech-startup-international")
	f.Exec(t, "update public.tenants set display_name = 'Globex Corporation of Springfield, Oregon' where slug = 'globex'",
		`update public.tenants set status = 'deleted', deleted_at = now() - interval '40 days',
			purge_after = now() + case slug when 'initech' then interval '5 days' else interval '-1 day' end
		where slug in ('hooli', 'initech', 'tech-startup-international')`)
	return f, func(answer string, args ...string) (stdout, stderr string, code int) {
		b := newBench(t).onTerminal().setenv("DATABASE_URL="+f.DSN, "NO_COLOR=1")
		b.Width = func() int { return 80 }
		b.In = strings.NewReader(answer)
		code = b.run(args...)
		return b.out.String(), b.err.String(), code
	}
}

func TestTenantListFitsANarrowTerminal(t *testing.T) {
	t.Parallel()
	_, run := lifeBench(t)
	out, errs, code := run("", "tenant", "list")
	if code != cli.ExitOK || strings.Contains(out, "CREATED") || strings.Count(out, "purged after 20") != 3 {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	for line := range strings.Lines(out) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if out, _, _ := run("", "tenant", "list", "--status", "active"); !strings.Contains(out, "CREATED") {
		t.Errorf("there is room for when it was created:\n%s", out)
	}
	if out, _, _ := run("", "tenant", "list", "-o", "wide"); !strings.Contains(out, "CREATED") {
		t.Errorf("wide shows everything:\n%s", out)
	}
}

// Nothing is destroyed before somebody has read what, and has said so.
func TestPurgeSaysWhatWillBeLost(t *testing.T) {
	t.Parallel()
	f, run := lifeBench(t)
	there := func() int64 { return f.Int(t, "select count(*) from public.tenants") }
	_, errs, code := run("n\n", "tenant", "purge", "--no-backup")
	for _, want := range []string{"hooli, tech-startup-international will be destroyed for good: about 0 contacts,\n  ",
		" kB.\n", "no backup", "Destroy 2 deleted tenants of "} {
		if !strings.Contains(errs, want) {
			t.Errorf("%q is missing:\n%s", want, errs)
		}
	}
	if code != cli.ExitFailure || there() != 5 {
		t.Errorf("exit code %d, %d tenants", code, there())
	}
	for _, answer := range []string{"y\n", "Hooli\n", "hooli \n", "\n"} {
		if _, errs, code := run(answer, "tenant", "purge", "hooli", "--no-backup"); code != cli.ExitFailure || there() != 5 ||
			!strings.Contains(errs, "hooli will be destroyed for good") {
			t.Errorf("answer %q: exit code %d, %d tenants\n%s", answer, code, there(), errs)
		}
	}
	if out, errs, code := run("hooli\n", "tenant", "purge", "hooli", "--no-backup"); code != cli.ExitOK || there() != 4 {
		t.Errorf("exit code %d, %d tenants\n%s%s", code, there(), out, errs)
	}
}

// Rows with more columns than a terminal has room for stand upright.
func TestWideRowsStandUpright(t *testing.T) {
	t.Parallel()
	_, run := lifeBench(t)
	row := func(columns int) string {
		var sql strings.Builder
		for i := range columns {
			fmt.Fprintf(&sql, ", repeat('word ', 40) as c%d", i)
		}
		return "select " + sql.String()[2:] + " from generate_series(1, 2)"
	}
	out, errs, code := run("", "tenant", "exec", "acme-corp", "globex", "-c", row(6))
	if code != cli.ExitOK || strings.Count(out, "acme-corp\n  C0  word word") != 2 ||
		strings.Count(out, "\n  C5  word") != 4 || strings.Count(out, "\n\nglobex\n") != 2 {
		t.Errorf("exit code %d\n%s%s", code, out, errs)
	}
	for line := range strings.Lines(out) {
		if n := len([]rune(strings.TrimRight(line, "\n"))); n > 80 {
			t.Errorf("%d columns: %s", n, line)
		}
	}
	if out, _, _ := run("", "tenant", "exec", "acme-corp", "-c", row(4)); !strings.HasPrefix(out, "TENANT") ||
		strings.Count(out, "\n") != 3 {
		t.Errorf("what fits is a table:\n%s", out)
	}
	if out, _, _ := run("", "tenant", "exec", "acme-corp", "-c", row(6), "-o", "wide"); !strings.HasPrefix(out, "TENANT") {
		t.Errorf("wide is a table:\n%s", out)
	}
}

func TestMovesOnATerminal(t *testing.T) {
	t.Parallel()
	_, run := lifeBench(t)
	for _, step := range []struct {
		args     string
		out, err string
	}{
		{"tenant rename globex globex-corp --schema",
			"renamed        globex -> globex-corp\nschema         tenant_globex -> tenant_globex_corp\ndisplay name   Globex " +
				"Corporation of Springfield, Oregon\n", "target "},
		{"tenant rename globex-corp globex -q --dry-run", "globex\n", ""},
		{"tenant suspend acme-corp -q", "acme-corp\n", ""},
		{"tenant delete acme-corp --confirm acme-corp -q", "acme-corp\n", ""},
		{"tenant undelete acme-corp", "restored  acme-corp  tenant_acme_corp\n",
			"acme-corp is suspended, as it was: crmctl tenant activate acme-corp\n"},
	} {
		out, errs, code := run("", strings.Fields(step.args)...)
		if code != cli.ExitOK || out != step.out || !strings.Contains(errs, step.err) {
			t.Errorf("%s: exit code %d\n%s%s", step.args, code, out, errs)
		}
	}
	if out, _, _ := run("", "tenant", "show", "acme-corp"); strings.Contains(out, "deleted") ||
		strings.Contains(out, "role") {
		t.Errorf("what it has not is shown:\n%s", out)
	}
	if out, _, _ := run("", "tenant", "show", "acme-corp", "-o", "csv"); !strings.Contains(out, ",role,") {
		t.Errorf("programs want every field:\n%s", out)
	}
	out, _, _ := run("", "tenant", "history", "acme-corp", "-o", "wide")
	for _, want := range []string{"status: suspended -> deleted, purge_after: 20", "Z\n",
		"status: deleted -> suspended\n"} {
		if !strings.Contains(out, want) || strings.Contains(out, "deleted_at") {
			t.Errorf("%q is missing:\n%s", want, out)
		}
	}
	if _, errs, code := run("", "tenant", "exec", "initech", "-c", "select 1"); code != cli.ExitFailure ||
		!strings.Contains(errs, "is deleted: undelete it first\n  bring it back: crmctl tenant undelete initech") {
		t.Errorf("exit code %d, %s", code, errs)
	}
	if _, errs, _ := run("n\n", "tenant", "exec", "globex-corp", "--write", "-c",
		"delete from contacts"); !strings.Contains(errs, "Run delete from contacts in globex-corp of ") {
		t.Errorf("%s", errs)
	}
}
