package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/localpg"
)

// dryCase is a command line that would change something, or read, in the fleet of
// newDryFleet, and the exit codes that a dry run of it may have.
type dryCase struct {
	args  string
	codes []int // nil for 0
}

// dryCases has every command of the tree, by its path. A command that is missing
// fails the test: whoever writes one says here how it is tried.
func dryCases(local string) map[string][]dryCase {
	one := func(lines ...string) (cases []dryCase) {
		for _, line := range lines {
			cases = append(cases, dryCase{args: line})
		}
		return cases
	}
	return map[string][]dryCase{
		"audit list": one(""),
		"backup create": one("--all --dir new", "acme-corp --dir backups --registry",
			"--all --dir backups --resume --max-age 1h"),
		"backup list":          one("backups"),
		"backup prune":         one("backups --keep 1d --yes"),
		"backup restore":       one("BACKUP --as copy", "BACKUP --as copy --migrate"),
		"backup verify":        one("BACKUP"),
		"completion":           one("bash"),
		"config path":          one(""),
		"config show":          one("--origin"),
		"connections clean":    one("--idle 1s --in-transaction 1s --superusers --yes"),
		"contacts export":      one("--tenant whole", "--all-tenants --to new"),
		"conversations export": one("--tenant whole --to new --format jsonl"),
		"messages export":      one("--tenant whole"),
		"contacts add":         one("--tenant whole --email new@example.com"),
		"contacts person": one("ada@example.com --tenant whole --show", "ada@example.com --all-tenants --erase --yes",
			"ada@example.com --all-tenants --export --to new"),
		"contacts dedupe":      one("--tenant whole", "--tenant whole --merge", "--tenant whole --merge --yes"),
		"contacts edit":        one("--tenant whole svc@example.com --name X"),
		"contacts list":        one("--tenant whole --limit 1"),
		"contacts remove":      one("--tenant whole svc@example.com --yes"),
		"contacts search":      one("--tenant whole svc"),
		"contacts show":        one("--tenant whole svc@example.com"),
		"conversations assign": one("--tenant whole svc@example.com other@example.com"),
		"conversations close":  one("--tenant whole svc@example.com"),
		"conversations list":   one("--tenant whole"),
		"conversations open":   one("--tenant whole svc@example.com"),
		"conversations reopen": one("--tenant whole other@example.com"),
		"conversations show":   one("--tenant whole svc@example.com"),
		"messages add":         one("--tenant whole svc@example.com --text hello"),
		"messages list":        one("--tenant whole svc@example.com"),
		"messages search":      one("--tenant whole hello"),
		"contacts import":      {{"--tenant whole contacts.csv", []int{cli.ExitPartial}}},
		"contacts imports":     one("", "--tenant whole"),
		"contacts inspect":     one("contacts.csv", "contacts.csv --tenant whole --save-map kept.json"),
		"demo":                 one("--tenants 3"),
		"doctor": {{"", []int{0, 4}}, {"--fix version,grants,open-run,pool,sequence,ghost-row,invalid-index " +
			"--yes", []int{0, 4}}, {"--list", nil}},
		"local reset":         one("--name "+local+" --confirm "+local, "--name absent-"+local),
		"local start":         one("--name "+local, "--name absent-"+local),
		"local status":        one("--name " + local),
		"local stop":          one("--name " + local),
		"registry move":       one("--to-schema moved"),
		"maintenance analyze": one("", "--only-needed"),
		"maintenance reindex": one("--tenant acme-corp"),
		"maintenance vacuum":  one("", "--analyze --freeze --table contacts"),
		"migrate adopt":       one("--schema app_a"),
		"migrate all-tenants": one("", "--show-sql", "--verify"),
		"migrate drift": {{"", []int{0, 4}}, {"--fix-sql", []int{0, 4}}, {"--accept --reason x", []int{0, 3}},
			{"--unaccept", nil}},
		"migrate lint":      one("", "migrations"),
		"migrate new":       one("add_score --dir migrations"),
		"migrate plan":      one(""),
		"migrate public":    one(""),
		"migrate redo":      one("acme-corp --yes"),
		"migrate repair":    {{"", []int{4}}, {"globex --mark done", nil}, {"globex --mark applied", nil}},
		"migrate retry":     one("1"),
		"migrate rollback":  one("--steps 1 --all-tenants --yes", "--to 1 --tenant acme-corp --yes"),
		"migrate runs":      one(""),
		"migrate runs show": one("1", "2"),
		"migrate status":    {{"", []int{0, 4}}, {"--verify", []int{0, 4}}},
		"migrate tenant":    one("acme-corp"),
		"psql": {{"acme-corp --write", []int{cli.ExitUsage}},
			{"acme-corp -- -c select", []int{cli.ExitUsage}}},
		"report":              one("--html new.html", "--html - --skip drift,findings"),
		"seed":                one("", "--tenant acme-corp"),
		"stats activity":      one(""),
		"stats catalog":       one("--record", "--by tenant"),
		"stats connections":   one(""),
		"stats diagnose":      {{"", []int{0, 4}}},
		"stats load":          one("--interval 1s"),
		"stats explain":       one("acme-corp SELECT"),
		"stats indexes":       one("", "--suggest"),
		"stats locks":         one(""),
		"stats queries":       {{"", []int{cli.ExitFailure}}}, // the server does not count
		"stats metrics":       one("", "--format prometheus", "--textfile new.prom", "--drift"),
		"stats serve":         one("--listen 127.0.0.1:0 --timeout 1s"),
		"stats top":           one("--count 1 --interval 1s"),
		"stats sizes":         one("--record", "--exact --record"),
		"tenant activate":     one("keep"),
		"tenant clone":        one("acme-corp twin", "acme-corp twin --anonymize"),
		"tenant create":       one("new-one", "many-%d --count 3 --role"),
		"tenant delete":       one("acme-corp --confirm acme-corp"),
		"cluster nodes":       {{"", []int{1}}}, // on no cluster
		"cluster rebalance":   {{"", []int{1}}},
		"placement export":    {{"", []int{1}}, {"--format csv --to new", []int{1}}}, // the one profile has no registry
		"tenant distribute":   {{"whole", []int{1}}},
		"tenant move":         {{"whole --to worker:5432", []int{1}}},
		"tenant undistribute": {{"whole", []int{1}}},
		"tenant exec":         one("whole --write --yes -c TRUNCATE", "acme-corp -c SELECT"),
		"tenant history":      one("acme-corp"),
		"tenant list":         one("", "-o wide"),
		"tenant pool drain":   one(""),
		"tenant pool fill":    one("--count 5"),
		"tenant pool list":    one(""),
		"tenant purge":        one("--yes --no-backup", "--yes --backup-dir new", "gone --confirm gone --no-backup"),
		"tenant rename":       one("acme-corp other", "acme-corp other --schema"),
		"tenant set":          one("acme-corp seats=5 retention=1d"),
		"tenant show":         one("acme-corp"),
		"tenant suspend":      one("acme-corp"),
		"tenant sync":         one("--config sync.yaml --max-gone 100%"),
		"tenant relocate":     one("acme-corp --to-tablespace pg_default"),
		"tenant transfer":     one("acme-corp --to-profile second --config second.yaml"),
		"tenant undelete":     one("gone"),
		"version":             one(""),
	}
}

// secondProfile is a configuration that knows another database as the profile second.
func secondProfile(dsn string) string {
	return "profiles:\n  second:\n    database_url: '" + dsn + "'\n"
}

// newDryFleet adds to a careless user's place what the commands work on: tenants that
// are behind, a pool, a tenant in the middle of a file, runs that failed and that
// were killed, schemas of another tool, backups, files.
func newDryFleet(t *testing.T) *careless {
	t.Helper()
	c := newCareless(t)
	ctx := context.Background()
	at := []string{"DATABASE_URL=" + c.dsn}
	for _, args := range []string{
		"migrate rollback --to 3 --tenant acme-corp,globex --yes", "tenant pool fill --count 2",
		"backup create keep --dir backups", "backup create acme-corp --dir backups", "stats sizes --record",
	} {
		if out, err := c.run(t, at, strings.Fields(args)...); err != nil {
			t.Fatalf("%s: %v\n%s", args, err, out)
		}
	}
	conn, err := pgx.Connect(ctx, c.dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, sql := range []string{
		`insert into tenant_dirty (tenant_id, version, file, checksum, statements) select id, 4, '00004_x.sql', 'x', 2
			from tenants where slug = 'globex'`,
		`delete from migration_runs`,
		`insert into migration_runs (id, actor, target_version, tenants, failed, state, finished_at,
			detail) overriding system value
			values (1, 'a@b', 4, 1, 1, 'finished', now(), '{"selection": {}}'), (2, 'a@b', 4, 1, 0, 'running', null, '{}')`,
		`insert into migration_run_tenants (run_id, tenant_id, slug, from_version, to_version, state)
			select 1, id, slug, 3, 3, 'failed' from tenants where slug = 'acme-corp'`,
		`create schema app_a`,
		`create table app_a.goose_db_version (id int generated always as identity primary key, version_id bigint not null,
			is_applied boolean not null, tstamp timestamp default now())`,
		`insert into app_a.goose_db_version (version_id, is_applied)
			values (0, true), (1, true), (2, true), (3, true), (4, true)`,
		`create table app_a.contacts (id int)`,
		`create role app_role`,
		`create sequence tenant_acme_corp.numbers`,
		`insert into tenant_whole.contacts (email) values ('svc@example.com'), ('other@example.com')`,
		`insert into tenant_whole.conversations (contact_id, channel, status) select id, 'email', case
			when email = 'svc@example.com' then 'open' else 'closed' end from tenant_whole.contacts where phone is null
			and email in ('svc@example.com', 'other@example.com')`,
	} {
		if _, err := conn.Exec(ctx, sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	if err := os.Mkdir(filepath.Join(c.dir, "migrations"), 0o700); err != nil {
		t.Fatal(err)
	}
	c.write(t, filepath.Join(c.dir, "migrations", "00001_a.sql"),
		"-- +goose Up\ncreate table a (id bigint primary key);\n-- +goose Down\ndrop table a;\n")
	c.write(t, filepath.Join(c.dir, "sync.yaml"), "tenants_query: select 'app-a' as slug, 'app_a' as schema\n")
	c.write(t, filepath.Join(c.dir, "second.yaml"), secondProfile(fleettest.New(t).DSN))
	c.write(t, filepath.Join(c.dir, "contacts.csv"), "email,name\nx@example.com,X\nnonsense,Y\n")
	return c
}

// Every command of the tree either changes nothing with CRMCTL_DRY_RUN, wherever that
// is set, or refuses to run. The picture of the whole database, of the roles and of
// the directories is the same before and after.
func TestDryRunChangesNothing(t *testing.T) {
	t.Parallel()
	c := newDryFleet(t)
	local := "dry-" + strings.ToLower(rand.Text()[:8])
	instance := localpg.Options{Name: local}
	if os.Geteuid() != 0 {
		instance.Root = filepath.Join(c.home, ".local", "share", "crmctl", "local")
	}
	t.Cleanup(func() { _ = localpg.Reset(context.Background(), instance) })
	if out, err := c.run(t, nil, "local", "start", "--name", local); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	backups, err := filepath.Glob(filepath.Join(c.dir, "backups", "keep-*.crmctl"))
	if err != nil || len(backups) != 1 {
		t.Fatalf("%v: %v", backups, err)
	}
	picture := func() []string {
		s, err := localpg.Inspect(context.Background(), instance)
		if err != nil {
			t.Fatal(err)
		}
		files := slices.DeleteFunc(filesPicture(t, c.dir, c.home), func(line string) bool {
			return strings.Contains(line, "/.local/share/")
		})
		return append(append(databasePicture(t, c.dsn), files...), fmt.Sprint("local ", s.State, s.PID))
	}
	before := picture()
	words := map[string]string{
		"BACKUP": backups[0], "SELECT": "select count(*) from contacts",
		"TRUNCATE": "truncate messages; update contacts set name = 'x'",
	}
	cases := dryCases(local)
	walk(tree(t), func(cmd *cobra.Command) {
		path := strings.TrimPrefix(cmd.CommandPath(), "crmctl ")
		if cmd.Annotations[cli.AnnotationNoConfig] != "" && path != "completion" || cmd.IsAdditionalHelpTopicCommand() {
			return // groups and help
		}
		tried := cases[path]
		if tried == nil {
			t.Errorf("crmctl %s: nobody says how a dry run of it is tried; add it to dryCases", path)
		}
		delete(cases, path)
		for _, try := range tried {
			args := strings.Fields(path + " " + try.args)
			for i, a := range args {
				if word, ok := words[a]; ok {
					args[i] = word
				}
			}
			begun := time.Now()
			out, err := c.run(t, []string{"DATABASE_URL=" + c.dsn, "CRMCTL_DRY_RUN=1"}, args...)
			want := append(slices.Clone(try.codes), 0)[:max(1, len(try.codes))]
			if code := codeOf(t, err); !slices.Contains(want, code) {
				t.Errorf("crmctl %s: exit code %d, want %v\n%s", strings.Join(args, " "), code, want, out)
			}
			after := picture()
			if diff := differences(before, after); len(diff) > 0 {
				t.Errorf("crmctl %s changed something:\n%s\n%s", strings.Join(args, " "), strings.Join(diff, "\n"), out)
				before = after
			}
			if testing.Verbose() {
				t.Logf("crmctl %s (%s)\n%s", strings.Join(args, " "), time.Since(begun).Round(time.Millisecond), out)
			}
		}
	})
	for path := range cases {
		t.Errorf("crmctl %s: there is no such command", path)
	}
	// The key of a file and of a profile means the same as the variable.
	c.write(t, ".config/crmctl/crmctl.yaml", "database_url: '"+c.dsn+"'\ndry_run: true\n")
	c.write(t, ".config/crmctl/profiles.d/dry.yaml", "database_url: '"+c.dsn+"'\ndry_run: true\n")
	before = picture()
	for _, args := range []string{"tenant suspend acme-corp", "--profile dry tenant suspend acme-corp"} {
		out, err := c.run(t, nil, strings.Fields(args)...)
		if diff := differences(before, picture()); err != nil || len(diff) > 0 {
			t.Errorf("%s: %v\n%s\n%s", args, err, out, strings.Join(diff, "\n"))
		}
	}
	if out, err := c.run(t, nil, "psql", "acme-corp"); codeOf(t, err) != cli.ExitUsage ||
		!strings.Contains(out, "crmctl.yaml") {
		t.Errorf("psql: %v\n%s", err, out)
	}
	// The picture does see a change.
	if out, err := c.run(t, []string{"DATABASE_URL=" + c.dsn, "CRMCTL_DRY_RUN=0"}, "tenant", "set", "acme-corp",
		"x=1"); err != nil || len(differences(before, picture())) == 0 {
		t.Errorf("a real change is not seen: %v\n%s", err, out)
	}
}

// codeOf returns the exit code of a program that was run.
func codeOf(t *testing.T, err error) int {
	t.Helper()
	if err == nil {
		return 0
	}
	exit, ok := errors.AsType[*exec.ExitError](err)
	if !ok {
		t.Fatal(err)
	}
	return exit.ExitCode()
}
