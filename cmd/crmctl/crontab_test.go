//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/fleettest"
)

// The README's line for cron does its work with the README's configuration, where nobody
// answers a question.
func TestTheCrontabOfTheReadme(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	find := func(pattern string) string {
		found := regexp.MustCompile(pattern).FindSubmatch(text)
		if found == nil {
			t.Fatalf("nothing in the README is like %s", pattern)
		}
		return string(found[1])
	}
	command := find(`(?m)^    [0-9]+ [0-9]+ \* \* \* +(.*crmctl tenant purge .*)$`)
	profile := find(`(?ms)^(profiles:\n  prod:\n.*?)` + "```")
	if !strings.Contains(profile, "protected: true") {
		t.Fatalf("the README's profile is not protected:\n%s", profile)
	}

	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	f.Exec(t, `update public.tenants set status = 'deleted', deleted_at = now() - interval '40 days',
		purge_after = now() - interval '1 day' where slug = 'acme'`)
	database, err := pgx.ParseConfig(f.DSN)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	profile = regexp.MustCompile(`database_url: .*`).ReplaceAllLiteralString(profile, "database_url: "+f.DSN)
	if err := os.WriteFile(filepath.Join(dir, "crmctl.yaml"), []byte(profile), 0o600); err != nil {
		t.Fatal(err)
	}
	command = strings.NewReplacer("/var/backups/crm", filepath.Join(dir, "saved"), "crm_prod",
		database.Database).Replace(command)
	cmd := exec.Command("sh", "-c", command)
	cmd.Dir = dir
	cmd.Env = []string{"GORACE=" + noSleep, "PATH=" + os.Getenv("PATH"), "XDG_CONFIG_HOME=" + dir}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", command, err, out)
	}
	if n := f.Int(t, `select count(*) from public.tenants where slug = 'acme'`); n != 0 {
		t.Error("the tenant that was due is there still")
	}
	if n := f.Int(t, `select count(*) from public.tenants where slug = 'globex' and status = 'active'`); n != 1 {
		t.Error("the other tenant is gone")
	}
	if saved, _ := filepath.Glob(filepath.Join(dir, "saved", "acme*.crmctl")); len(saved) != 1 {
		t.Errorf("saved: %v", saved)
	}
}
