package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/localpg"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// goldenDir has a file for each command's JSON: the names and types of its values, which
// are an interface.
const goldenDir = "../../testdata/golden"

// withoutJSON are the commands whose answer is no list and no object, and why.
var withoutJSON = map[string]string{
	"completion":  "a script for the shell",
	"demo":        "a text to be read: each step is a command with its own answer",
	"man":         "files; it prints nothing",
	"psql":        "psql answers",
	"stats serve": "it answers scrapes",

	"cluster nodes":       noCluster,
	"cluster rebalance":   noCluster,
	"tenant distribute":   noCluster,
	"tenant move":         noCluster,
	"tenant undistribute": noCluster,
}

const noCluster = "it takes a Citus cluster, which the test has not"

// lifeStep is a command in the life of a fleet, and its exit code.
type lifeStep struct {
	name string // of the golden file, where the words of the command are not enough
	args string // FILE, DIR and the like stand for what lifeOf has made
	code int
}

// golden returns the name of a step's golden file.
func (s lifeStep) golden(t *testing.T) string {
	if s.name != "" {
		return s.name
	}
	path, _ := commandOf(t, strings.Fields(s.args))
	return strings.ReplaceAll(path, " ", "-")
}

// lifeSteps are the commands that change something, in an order in which each finds what
// it works on.
func lifeSteps() []lifeStep {
	return []lifeStep{
		{args: "migrate public"},
		{args: "seed --tenant sample --contacts 5"},
		{args: "tenant create acme globex initech hooli"},
		{args: "contacts inspect CSV"},
		{args: "contacts import --tenant acme CSV --rejects REJECTS", code: cli.ExitPartial},
		{args: "contacts imports"},
		{args: "contacts export --tenant acme --to EXPORT --anonymize"},
		{name: "contacts-export-dry-run", args: "contacts export --all-tenants --dry-run"},
		{args: "conversations export --tenant sample --to EXPORT"},
		{args: "messages export --tenant sample --to EXPORT"},
		{name: "contacts-import-undo", args: "contacts import --tenant acme --undo 1 --dry-run"},
		{args: "contacts add --tenant acme --email svc@example.com --set city=Bonn"},
		{args: "contacts edit --tenant acme svc@example.com --name S"},
		{args: "contacts list --tenant acme --limit 1"},
		{args: "contacts show --tenant acme svc@example.com"},
		{args: "contacts search --tenant acme svc"},
		{name: "contacts-add-taken", args: "contacts add --tenant acme --email svc@example.com", code: cli.ExitFailure},
		{args: "contacts add --tenant acme --email svc+2@example.com", name: "contacts-add-double"},
		{args: "contacts dedupe --tenant acme"},
		{args: "contacts dedupe --tenant acme --merge", name: "contacts-dedupe-merge"},
		{args: "contacts dedupe --tenant acme --undo 2 --dry-run", name: "contacts-dedupe-undo"},
		{args: "conversations open --tenant acme svc@example.com"},
		{args: "contacts person svc@example.com --tenant acme --show", name: "contacts-person"},
		{args: "contacts person svc@example.com --tenant acme --erase --dry-run", name: "contacts-person-erase"},
		{args: "messages add --tenant acme svc@example.com --text hello"},
		{args: "messages list --tenant acme svc@example.com"},
		{args: "messages search --tenant acme hello"},
		{args: "conversations close --tenant acme svc@example.com"},
		{args: "conversations reopen --tenant acme svc@example.com"},
		{args: "conversations list --tenant acme"},
		{args: "conversations show --tenant acme svc@example.com"},
		{args: "conversations assign --tenant acme svc@example.com ann@example.com"},
		{args: "contacts remove --tenant acme svc@example.com"},
		{args: "tenant set acme seats=5"},
		{args: "tenant suspend globex"},
		{args: "tenant activate globex"},
		{args: "tenant rename globex globex-corp"},
		{args: "tenant pool fill --count 1"},
		{name: "tenant-pool-list-filled", args: "tenant pool list"},
		{args: "sql update public.tenants set schema_version = 3 where slug = 'acme'"},
		{name: "doctor-fix", args: "doctor --fix version"},
		{args: "tenant pool drain"},
		{args: "tenant exec acme --write -c ANALYZE"},
		{name: "tenant-exec-aggregate", args: "tenant exec --all -c COUNT --aggregate sum"},
		{args: "backup create acme --dir BACKUPS"},
		{args: "backup list BACKUPS"},
		{args: "backup verify BACKUPS"},
		{args: "backup prune BACKUPS --keep 1d --dry-run"},
		{args: "backup restore BACKUP --as acme-again"},
		{args: "tenant clone acme acme-copy --anonymize"},
		{args: "migrate new add_score --dir FILES"},
		{args: "migrate tenant acme --migrations-dir GOOD"},
		{args: "migrate redo acme --migrations-dir GOOD"},
		{name: "migrate-rollback-dry-run", args: "migrate rollback --steps 1 --tenant acme --migrations-dir GOOD --dry-run"},
		{args: "migrate rollback --steps 1 --tenant acme --migrations-dir GOOD"},
		{name: "migrate-tenant-failed", args: "migrate tenant initech --migrations-dir BAD", code: cli.ExitFailure},
		{name: "migrate-repair-dirty", args: "migrate repair", code: cli.ExitPending},
		{name: "migrate-repair-mark", args: "migrate repair initech --mark done --migrations-dir BAD"},
		{args: "migrate retry RUN --migrations-dir BAD"},
		{name: "migrate-events", args: "migrate all-tenants --migrations-dir BAD", code: cli.ExitStopped},
		{args: "migrate adopt --schema old --check", code: cli.ExitPending, name: "migrate-adopt-check"},
		{args: "migrate adopt --schema old", code: cli.ExitFailure},
		{args: "stats load --interval 1s --tenant nobody*"}, // else whatever autovacuum does
		{args: "stats top --interval 1s --count 1 --tenant acme"},
		{args: "stats metrics --tenant acme --top 0"},
		{args: "maintenance vacuum --tenant acme"},
		{args: "maintenance analyze --tenant acme"},
		{args: "maintenance reindex --tenant acme"},
		{name: "maintenance-vacuum-dry-run", args: "maintenance vacuum --tenant acme --dry-run"},
		{name: "stats-sizes-exact", args: "stats sizes --exact --record"},
		{args: "tenant delete hooli --confirm hooli"},
		{args: "tenant undelete hooli"},
		{args: "tenant relocate acme --to-tablespace SPACE"},
		{args: "placement export"},
		{args: "tenant transfer hooli --to-profile second --config SECOND"},
		{name: "tenant-show-moved", args: "tenant show hooli"},
		{name: "tenant-delete-now", args: "tenant delete hooli --confirm hooli --retention 0s"},
		{args: "tenant purge --no-backup"},
		{args: "registry move --to-schema moved --dry-run"},
		{args: "sql create schema app_a"},
		{args: "sql create table app_a.goose_db_version as select * from old.goose_db_version"},
		{args: "sql update app_a.goose_db_version set version_id = 4, id = 2 where version_id = 9"},
		{args: "sql insert into app_a.goose_db_version select n + 2, n, true, now() from generate_series(1, 3) n"},
		{args: "tenant sync --config SYNC --max-gone 100%"},
		{args: "local start --name LOCAL"},
		{args: "local status --name LOCAL"},
		{name: "local-status-all", args: "local status"},
		{args: "local stop --name LOCAL"},
		{args: "local reset --name LOCAL --confirm LOCAL"},
	}
}

// goldenLife is the place where lifeSteps happen.
type goldenLife struct {
	f     *fleettest.Fleet
	words map[string]string
	env   []string
}

func newGoldenLife(t *testing.T) *goldenLife {
	t.Helper()
	f, dir := fleettest.New(t), t.TempDir()
	l := &goldenLife{f: f, words: map[string]string{
		"LOCAL": "golden-" + strings.ToLower(rand.Text()[:8]), "ANALYZE": "update contacts set name = name",
		"COUNT": "select count(*) from contacts", "SPACE": pgtest.Tablespace(t, f.DSN),
	}, env: append(os.Environ(), "DATABASE_URL="+f.DSN, "HOME="+dir, "XDG_CONFIG_HOME="+filepath.Join(dir, "config"),
		"XDG_DATA_HOME="+filepath.Join(dir, "data"))}
	for word, name := range map[string]string{"FILES": "new", "GOOD": "good", "BAD": "bad", "BACKUPS": "backups",
		"CSV": "contacts.csv", "SYNC": "sync.yaml", "SECOND": "second.yaml", "REJECTS": "rejects.csv", "EXPORT": "export.csv"} {
		l.words[word] = filepath.Join(dir, name)
	}
	write := func(path, text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, files := range []string{"FILES", "GOOD", "BAD"} {
		if err := os.CopyFS(l.words[files], os.DirFS("../../migrations/tenant")); err != nil {
			t.Fatal(err)
		}
	}
	for _, files := range []string{"GOOD", "BAD"} {
		write(filepath.Join(l.words[files], "00005_score.sql"), "-- +goose Up\nalter table contacts add score int;\n"+
			"-- +goose Down\nalter table contacts drop score;\n")
	}
	write(filepath.Join(l.words["BAD"], "00006_bad.sql"), "-- +goose NO TRANSACTION\n-- +goose Up\n"+
		"alter table contacts add one int;\nalter table contacts add one int;\n-- +goose Down\nselect 1;\n")
	write(l.words["SECOND"], secondProfile(fleettest.New(t).DSN))
	write(l.words["SYNC"], "tenants_query: select 'app-a' as slug, 'app_a' as schema\n")
	write(l.words["CSV"], "First Name,Last Name,E-mail,Phone,Company,Shoe size\n"+
		"Ann,Archer,Ann <ann@example.com>,+49 30 1234567,Acme,40\nBob,Barker,nonsense,,,41\n"+
		"Cid,Cook,cid@example.com,none,Acme,\n")
	f.Exec(t, "create schema old", "create table old.goose_db_version (id integer primary key generated by default as "+
		"identity, version_id bigint not null, is_applied boolean not null, tstamp timestamp not null default now())",
		"insert into old.goose_db_version (version_id, is_applied) values (0, true), (9, true)")
	t.Cleanup(func() {
		o := localpg.Options{Name: l.words["LOCAL"]}
		if os.Geteuid() != 0 {
			o.Root = filepath.Join(dir, "data", "crmctl", "local")
		}
		_ = localpg.Reset(t.Context(), o)
	})
	return l
}

// run runs a step and returns its stdout, or the last line of stderr.
func (l *goldenLife) run(t *testing.T, step lifeStep, format string) (text string, failed bool) {
	t.Helper()
	args := strings.Fields(step.args)
	for i, a := range args {
		switch word, ok := l.words[a]; {
		case a == "BACKUP":
			args[i] = one(t, filepath.Join(l.words["BACKUPS"], "acme-*.crmctl"))
		case a == "RUN":
			args[i] = fmt.Sprint(l.f.Int(t, "select max(id) from public.migration_runs where failed > 0"))
		case ok:
			args[i] = word
		}
	}
	cmd := exec.CommandContext(t.Context(), "crmctl", append(args, "--yes", "-o", format)...)
	var out, errOut bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = l.env, &out, &errOut
	_ = cmd.Run()
	if code := cmd.ProcessState.ExitCode(); code != step.code {
		t.Errorf("%s: exit code %d, want %d\n%s\n%s", step.args, code, step.code, &out, &errOut)
	}
	if out.Len() > 0 {
		return out.String(), false
	}
	return errOut.String()[strings.LastIndex(strings.TrimSpace(errOut.String()), "\n")+1:], true
}

// Each command of a fleet's life answers with the names that testdata/golden has.
func TestGoldenLife(t *testing.T) {
	t.Parallel()
	l := newGoldenLife(t)
	for _, step := range lifeSteps() {
		if sql, is := strings.CutPrefix(step.args, "sql "); is {
			l.f.Exec(t, sql)
			continue
		}
		name, names := step.golden(t), map[string]string{}
		format := "json"
		if name == "migrate-events" {
			format = "ndjson"
		}
		text, failed := l.run(t, step, format)
		if failed {
			name += "-error"
		}
		for dec := json.NewDecoder(strings.NewReader(text)); dec.More(); {
			var document any
			if err := dec.Decode(&document); err != nil {
				t.Errorf("%s: %v\n%s", step.args, err, text)
				break
			}
			path := ""
			if event, is := document.(map[string]any); is && format == "ndjson" {
				path, _ = event["event"].(string)
			}
			shapeOf(names, path, document)
		}
		checkGolden(t, name, names)
	}
}

// The names and types of each command's JSON are an interface.
func TestGoldenJSON(t *testing.T) {
	t.Parallel()
	f, dir := screenFleet(t)
	for _, args := range screens(dir) {
		b := newBench(t).setenv("DATABASE_URL=" + f.DSN)
		b.run(append(args, "-o", "json")...)
		text := b.out.String()
		name := fileName(args)
		if text == "" {
			name += "-error"
			text = b.err.String()[strings.LastIndex(strings.TrimSpace(b.err.String()), "\n")+1:]
		}
		var document any
		if err := json.Unmarshal([]byte(text), &document); err != nil {
			t.Errorf("%s: %v\n%s\n%s", strings.Join(args, " "), err, b.out, b.err)
			continue
		}
		names := map[string]string{}
		shapeOf(names, "", document)
		checkGolden(t, name, names)
	}
}

// Every command has a golden file, or a reason to have none, and no two share one.
func TestEveryCommandHasGoldenJSON(t *testing.T) {
	t.Parallel()
	has, files := map[string]bool{}, map[string]bool{}
	once := func(name string) {
		if files[name] {
			t.Errorf("two commands write %s", name)
		}
		files[name] = true
	}
	for _, args := range screens("") {
		files[fileName(args)] = true // an error's file has another ending
		if path, ok := commandOf(t, args); ok {
			has[path] = true
		}
	}
	for _, step := range lifeSteps() {
		if strings.HasPrefix(step.args, "sql ") {
			continue
		}
		once(step.golden(t))
		path, _ := commandOf(t, strings.Fields(step.args))
		has[path] = true
	}
	walk(tree(t), func(cmd *cobra.Command) {
		path := strings.TrimPrefix(cmd.CommandPath(), "crmctl ")
		if !cmd.Runnable() || cmd.HasSubCommands() && path != "migrate runs" || cmd.IsAdditionalHelpTopicCommand() ||
			path == "help" {
			return
		}
		if _, exempt := withoutJSON[path]; exempt == has[path] {
			t.Errorf("crmctl %s: run with -o json: %t, exempt: %t; add it to lifeSteps or screens, with its golden file", path,
				has[path], exempt)
		}
	})
}

// commandOf returns the path of the command that a line runs.
func commandOf(t *testing.T, args []string) (path string, ok bool) {
	t.Helper()
	cmd, _, err := tree(t).Find(args)
	if err != nil {
		return "", false
	}
	return strings.TrimPrefix(cmd.CommandPath(), "crmctl "), true
}

// fileName returns what a command's golden file is called: its words and flags.
func fileName(args []string) string {
	plain := regexp.MustCompile(`^(--)?[a-z]+(-[a-z]+)*$`)
	var words []string
	for _, word := range args {
		if plain.MatchString(word) && word != "--migrations-dir" && word != "acme-corp" {
			words = append(words, strings.TrimLeft(word, "-"))
		}
	}
	return strings.Join(words, "-")
}

// checkGolden compares names with a golden file, or writes it with CRMCTL_TEST_UPDATE.
func checkGolden(t *testing.T, name string, names map[string]string) {
	t.Helper()
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(names)) {
		lines = append(lines, name+": "+names[name])
	}
	got := strings.Join(lines, "\n") + "\n"
	path := filepath.Join(goldenDir, name+".txt")
	if os.Getenv("CRMCTL_TEST_UPDATE") != "" {
		if err := os.WriteFile(path, []byte(got), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	equal(t, path, got, string(want))
}

// shapeOf collects the names of a document with the types of their values.
func shapeOf(names map[string]string, path string, v any) {
	add := func(kind string) {
		if old := names[path]; old != "" && old != "null" && old != kind {
			kinds := append(strings.Split(old, " or "), kind)
			slices.Sort(kinds)
			kind = strings.Join(slices.Compact(kinds), " or ")
		}
		names[path] = kind
	}
	switch v := v.(type) {
	case nil:
		if names[path] == "" {
			names[path] = "null"
		}
	case string:
		add("string")
	case float64:
		add("number")
	case bool:
		add("boolean")
	case []any:
		if len(v) == 0 && names[path] == "" {
			names[path] = "array"
		}
		for _, item := range v {
			delete(names, path)
			shapeOf(names, path+"[]", item)
		}
	case map[string]any:
		for name, value := range v {
			shapeOf(names, path+"."+name, value)
		}
	}
}
