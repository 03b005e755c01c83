package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// The name of a backup's file is there to be copied: a terminal of 80 columns has it whole,
// and the tenant's too.
func TestBackupFilesAreNamedInFull(t *testing.T) {
	t.Parallel()
	const slug = "department-of-silly-walks-and-more"
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), slug)
	dir := filepath.Join(t.TempDir(), "backups")
	run := func(args ...string) string {
		b := newBench(t).onTerminal().setenv("DATABASE_URL="+f.DSN, "NO_COLOR=1")
		b.Width = func() int { return 80 }
		if code := b.run(args...); code != cli.ExitOK {
			t.Fatalf("%v: exit code %d\n%s", args, code, b.err)
		}
		return b.out.String()
	}
	created := run("backup", "create", slug, "--dir", dir)
	files, err := filepath.Glob(filepath.Join(dir, "*.crmctl"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v: %v", files, err)
	}
	for what, out := range map[string]string{
		"create":            created,
		"list":              run("backup", "list", dir),
		"verify":            run("backup", "verify", dir),
		"verify, only read": run("backup", "verify", dir, "--restore=false"),
	} {
		if !strings.Contains(out, "\n  "+files[0]+"\n") || !strings.Contains(out, slug+"  ") {
			t.Errorf("%s:\n%s", what, out)
		}
		for _, line := range tooWide(out, 80) {
			if strings.TrimSpace(line) != files[0] {
				t.Errorf("%s: too wide: %s", what, line)
			}
		}
	}
}
