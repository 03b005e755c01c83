package main

import (
	"bytes"
	"context"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// The examples of a purge by night are run as they stand in examples/purge; only
// the places in them are replaced by those of the test.
const (
	exampleProgram  = "/usr/local/bin/crmctl"
	exampleDir      = "/var/backups/crm"
	exampleURL      = "postgres://crmctl@db1/crm_prod?sslmode=verify-full"
	exampleDatabase = "crm_prod"
	examplePassfile = "/etc/crmctl/pgpass"
)

// example returns a file of examples/purge with the places of the test, each of
// which has to occur in it unless it is one of those that the file leaves out.
func example(t *testing.T, name string, places map[string]string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../examples/purge", name))
	if err != nil {
		t.Fatal(err)
	}
	out := string(text)
	// The address holds the name of the database, so it comes first.
	for _, place := range []string{exampleURL, exampleDatabase, exampleProgram, exampleDir, examplePassfile} {
		replacement, ok := places[place]
		if !ok {
			continue
		}
		if !strings.Contains(out, place) {
			t.Fatalf("%s does not name %s", name, place)
		}
		out = strings.ReplaceAll(out, place, replacement)
	}
	return out
}

// unitCommand returns a command as systemd runs the ExecStart line of a service:
// no shell, continued lines joined, ${NAME} taken from the EnvironmentFile.
func unitCommand(ctx context.Context, t *testing.T, service, environment string) *exec.Cmd {
	t.Helper()
	var env []string
	vars := map[string]string{}
	for line := range strings.Lines(environment) {
		line = strings.TrimSpace(line)
		if name, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			env = append(env, line)
			vars[name] = value
		}
	}
	var start []string
	for line := range strings.Lines(strings.ReplaceAll(service, "\\\n", " ")) {
		if command, ok := strings.CutPrefix(strings.TrimSpace(line), "ExecStart="); ok {
			start = append(start, command)
		}
	}
	if len(start) != 1 {
		t.Fatalf("%d ExecStart lines", len(start))
	}
	words := strings.Fields(os.Expand(start[0], func(name string) string {
		if vars[name] == "" {
			t.Errorf("ExecStart wants %s, which the environment file lacks", name)
		}
		return vars[name]
	}))
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Env = append(env, "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin", "HOME="+t.TempDir())
	return cmd
}

// cronCommand returns a command as cron runs the line of a crontab: five fields of
// time, then a line for /bin/sh, in which a % that has no backslash before it would
// begin its standard input.
func cronCommand(ctx context.Context, t *testing.T, crontab string) *exec.Cmd {
	t.Helper()
	var lines []string
	for line := range strings.Lines(crontab) {
		if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "#") {
			lines = append(lines, line)
		}
	}
	if len(lines) != 1 {
		t.Fatalf("%d lines in the crontab", len(lines))
	}
	command := strings.ReplaceAll(lines[0], `\%`, "\x00")
	if strings.Contains(command, "%") {
		t.Fatalf("a %% ends the command: %s", command)
	}
	command = strings.ReplaceAll(command, "\x00", "%")
	for range 5 {
		_, rest, _ := strings.Cut(command, " ")
		command = strings.TrimLeft(rest, " ")
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", command)
	home := t.TempDir()
	cmd.Env = []string{"PATH=/usr/bin:/bin", "SHELL=/bin/sh", "LOGNAME=crmctl", "HOME=" + home}
	cmd.Dir = home
	return cmd
}

func TestPurgeExamples(t *testing.T) {
	t.Parallel()
	t.Run("systemd", func(t *testing.T) {
		t.Parallel()
		checkPurgeExample(t, func(ctx context.Context, places map[string]string) *exec.Cmd {
			inUnit := map[string]string{exampleProgram: places[exampleProgram], exampleDir: places[exampleDir]}
			inEnv := map[string]string{exampleURL: places[exampleURL], exampleDatabase: places[exampleDatabase],
				examplePassfile: places[examplePassfile]}
			return unitCommand(ctx, t, example(t, "crmctl-purge.service", inUnit), example(t, "crmctl-purge.env", inEnv))
		})
	})
	t.Run("cron", func(t *testing.T) {
		t.Parallel()
		checkPurgeExample(t, func(ctx context.Context, places map[string]string) *exec.Cmd {
			inLine := maps.Clone(places)
			inLine[exampleURL] = strings.ReplaceAll(places[exampleURL], "%", `\%`)
			return cronCommand(ctx, t, example(t, "crontab", inLine))
		})
	})
}

func checkPurgeExample(t *testing.T, command func(context.Context, map[string]string) *exec.Cmd) {
	t.Helper()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex", "initech", "hooli", "umbrella")
	deleted := func(slug, ago, due string) {
		f.Exec(t, "update public.tenants set status = 'deleted', deleted_at = now() - interval '"+ago+
			"', purge_after = now() + interval '"+due+"' where slug = '"+slug+"'")
	}
	deleted("acme", "50 days", "-20 days")
	deleted("globex", "40 days", "-10 days")
	deleted("initech", "29 days", "-1 day") // its own retention was shorter; --older-than keeps it
	deleted("hooli", "25 days", "5 days")

	program, err := exec.LookPath("crmctl")
	if err != nil {
		t.Fatal(err)
	}
	var database string
	f.Scan(t, []any{&database}, "select current_database()")
	dir := filepath.Join(t.TempDir(), "backups")
	places := map[string]string{
		exampleProgram: program, exampleDir: dir, exampleURL: f.DSN, exampleDatabase: database,
		examplePassfile: filepath.Join(t.TempDir(), "pgpass"),
	}
	run := func(places map[string]string) (stdout, stderr string, code int) {
		var out, errs bytes.Buffer
		cmd := command(t.Context(), places)
		cmd.Stdout, cmd.Stderr = &out, &errs
		if err := cmd.Run(); err != nil && cmd.ProcessState == nil {
			t.Fatal(err)
		}
		return out.String(), errs.String(), cmd.ProcessState.ExitCode()
	}
	left := func() string {
		var names string
		f.Scan(t, []any{&names}, `select string_agg(t.slug, ' ' order by t.slug) from public.tenants t
			join pg_namespace n on n.nspname = t.schema_name`)
		return names
	}

	other := maps.Clone(places)
	other[exampleDatabase] = "another"
	if out, errs, code := run(other); code != cli.ExitUsage || left() != "acme globex hooli initech umbrella" {
		t.Errorf("another database: exit code %d, left %s\n%s%s", code, left(), out, errs)
	}
	// Of five tenants --max-percent 1 lets one go a night, the one deleted first.
	for _, night := range []struct{ purged, left string }{
		{"acme", "globex hooli initech umbrella"}, {"globex", "hooli initech umbrella"},
	} {
		out, errs, code := run(places)
		if code != cli.ExitOK || !strings.HasPrefix(out, "purged\t"+night.purged+"\t") || left() != night.left {
			t.Errorf("want %s purged: exit code %d, left %s\n%s%s", night.purged, code, left(), out, errs)
		}
		if strings.Count(out, "due soon\t") != 2 || strings.Contains(out, "umbrella") {
			t.Errorf("want a warning of initech and hooli:\n%s", out)
		}
		saved, err := filepath.Glob(filepath.Join(dir, night.purged+"-*.crmctl"))
		if err != nil || len(saved) != 1 {
			t.Fatalf("backups of %s: %q, %v", night.purged, saved, err)
		}
		if out, err := exec.CommandContext(t.Context(), program, "backup", "verify", saved[0]).CombinedOutput(); err != nil {
			t.Errorf("verify %s: %v\n%s", saved[0], err, out)
		}
	}
	f.Exec(t, "update public.tenants set status = 'active', deleted_at = null, purge_after = null")
	if out, errs, code := run(places); code != cli.ExitOK || out+errs != "" || left() != "hooli initech umbrella" {
		t.Errorf("nothing due: exit code %d, left %s, said %q and %q", code, left(), out, errs)
	}
}
