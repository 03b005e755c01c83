package main

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// writeFiles writes files into a directory of the bench and returns its path.
func (b *bench) writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := filepath.Join(b.dir, "sql")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

const (
	goodMigration = "-- +goose Up\ncreate table x (id int);\n-- +goose Down\ndrop table x;\n"
	dropMigration = "-- +goose Up\ndrop table x;\n-- +goose Down\nselect 1;\n"
	oneWay        = "-- +goose Up\nselect 1;\n"
)

func TestMigrateLint(t *testing.T) {
	t.Parallel()
	files := map[string]string{"00001_x.sql": goodMigration, "00002_y.sql": dropMigration, "00003_z.sql": oneWay,
		"note.txt": "no SQL"}
	tests := []struct {
		args   string // DIR stands for the directory
		code   int
		out    string // what stdout has; with ! what it has not
		stderr string
	}{
		{args: "", stderr: "nothing to mend in 4 files\n"},
		{args: "DIR", out: "DIR/00002_y.sql\t2\t1\twarning\tdrop-table\tx and its rows go\t",
			stderr: "2 warnings in 3 files\n"},
		{args: "DIR --strict", code: cli.ExitPending, out: "warning\tdrop-table", stderr: "2 warnings in 3 files\n"},
		{args: "--migrations-dir DIR -q", out: "DIR/00002_y.sql:2:1: drop-table\nDIR/00003_z.sql:1:1: missing-down\n"},
		{args: "--since 2 DIR", out: "!drop-table", stderr: "1 warning in 1 file\n"},
		{args: "--since 2 --strict DIR", code: cli.ExitPending, out: "missing-down", stderr: "1 warning in 1 file\n"},
		{args: "DIR/00001_x.sql", out: "!00002", stderr: "nothing to mend in 1 file\n"},
		{args: "DIR/00002_y.sql DIR/00001_x.sql -o csv", out: "DIR/00002_y.sql,2,1,warning,drop-table,x and its rows go,",
			stderr: "1 warning in 2 files\n"},
		{args: "DIR/00002_y.sql DIR", out: "00003_z.sql", stderr: "2 warnings in 3 files\n"},
		{args: "DIR/00004_left.sql", code: cli.ExitPending, out: "DIR/00004_left.sql\t2\t1\terror\tother-schema\t",
			stderr: "1 error and 1 warning in 1 file\n"},
		{args: "DIR/note.txt", code: cli.ExitPending, out: "file-name", stderr: "3 errors in 1 file\n"},
	}
	for _, tt := range tests {
		b := newBench(t)
		dir := b.writeFiles(t, files)
		if strings.Contains(tt.args, "_left.sql") {
			b.writeFiles(t, map[string]string{"00004_left.sql": "-- +goose Up\ncreate table public.x (id int);\n"})
		}
		args := append([]string{"migrate", "lint"}, strings.Fields(strings.ReplaceAll(tt.args, "DIR", dir))...)
		if code := b.run(args...); code != tt.code {
			t.Errorf("%s: exit code %d, want %d", tt.args, code, tt.code)
		}
		out := strings.ReplaceAll(b.out.String(), dir, "DIR")
		if absent, no := strings.CutPrefix(tt.out, "!"); no && strings.Contains(out, absent) || !no &&
			!strings.Contains(out, tt.out) {
			t.Errorf("%s: stdout %q, want %q", tt.args, out, tt.out)
		}
		if tt.stderr != "" || strings.Contains(tt.args, "-q") {
			equal(t, tt.args, b.err.String(), tt.stderr)
		}
	}
}

// What a run refuses because nobody can read it as a file, lint names too.
func TestMigrateLintUnreadable(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	dir := b.writeFiles(t, map[string]string{"00001_x.sql": goodMigration})
	for _, name := range []string{"notes", "notes.sql", "00002_old.sql", "00003_old.go"} {
		if err := os.Mkdir(filepath.Join(dir, name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink("nowhere", filepath.Join(dir, "00004_link.sql")); err != nil {
		t.Skipf("no symbolic links here: %v", err)
	}
	if code := b.run("migrate", "lint", "-q", dir); code != cli.ExitPending {
		t.Errorf("exit code %d, %s", code, b.err)
	}
	var want strings.Builder
	_, err := migrate.Compile(t.Context(), os.DirFS(dir))
	refused, ok := errors.AsType[*migrate.FilesError](err)
	if !ok || len(refused.Files) != 4 {
		t.Fatalf("a run says %v", err)
	}
	slices.SortFunc(refused.Files, func(a, b migrate.FileProblem) int { return strings.Compare(a.File, b.File) })
	for _, f := range refused.Files {
		want.WriteString(filepath.Join(dir, f.File) + ":1:1: file-name\n")
	}
	got := strings.SplitAfter(b.out.String(), "\n")
	slices.Sort(got)
	equal(t, "findings", strings.Join(got, ""), want.String())
}

func TestMigrateLintOnTerminal(t *testing.T) {
	t.Parallel()
	b := newBench(t).onTerminal().setenv("NO_COLOR=1")
	dir := b.writeFiles(t, map[string]string{
		"00002_y.sql": strings.Replace(dropMigration, "drop table x;", "drop table x;\ndrop table y;", 1),
		"00003_z.sql": strings.Replace(dropMigration, "drop table x;", "drop table z;", 1),
	})
	if code := b.run("migrate", "lint", dir); code != cli.ExitOK {
		t.Errorf("exit code %d", code)
	}
	// A file is named once, and so is what mends findings of one kind.
	equal(t, "stdout", strings.ReplaceAll(b.out.String(), dir, "sql"), `sql/00002_y.sql
  2:1  warning  drop-table
    drop table x;
    x and its rows go. The rows are gone in every tenant.
    fix: Stop using it first; then allow this and say since when nothing reads it.

  3:1  warning  drop-table
    drop table y;
    y and its rows go.

sql/00003_z.sql
  2:1  warning  drop-table
    drop table z;
    z and its rows go.

`)
}

// A file is compared with what the registry says was applied.
func TestMigrateLintApplied(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Empty(t)
	b := newBench(t).setenv("DATABASE_URL=" + dsn)
	dir := b.writeFiles(t, map[string]string{"00001_x.sql": goodMigration})
	if code := b.run("migrate", "lint", "--applied", dir); code != cli.ExitFailure {
		t.Errorf("without a registry: exit code %d, %s", code, b.err)
	}
	if code := b.run("migrate", "public"); code != cli.ExitOK {
		t.Fatal(b.err)
	}
	if code := b.run("migrate", "lint", "--applied", dir); code != cli.ExitOK {
		t.Errorf("nothing applied yet: exit code %d, %s", code, b.err)
	}
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if _, err := conn.Exec(t.Context(), "insert into public.migration_files (version, file, checksum) values (1, "+
		"'00001_x.sql', 'another')"); err != nil {
		t.Fatal(err)
	}
	b = newBench(t).setenv("DATABASE_URL=" + dsn)
	if code := b.run("migrate", "lint", "-q", "--applied", dir); code != cli.ExitPending ||
		!strings.Contains(b.out.String(), "00001_x.sql:1:1: changed-file") {
		t.Errorf("changed: exit code %d, %s%s", code, b.out, b.err)
	}
}

// A new file passes, and so does a second, in the style of the first.
func TestMigrateNewPassesLint(t *testing.T) {
	t.Parallel()
	for first, second := range map[string]string{
		"":                         "00001_added.sql",
		"00007_x.sql":              "00008_added.sql",
		"009_x.sql":                "010_added.sql",
		"20260301120000_x.sql":     "20261123201504_added.sql",
		"20991231235959_later.sql": "20991231235960_added.sql",
	} {
		b := newBench(t)
		files := map[string]string{}
		if first != "" {
			files[first] = goodMigration
		}
		dir := b.writeFiles(t, files)
		f := b.factory(t)
		if err := runMigrateNew(t.Context(), f, &migrateNewOptions{name: "added", dir: dir,
			noTransaction: first != ""}); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, second)
		before, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
			continue
		}
		if code := b.run("migrate", "lint", "-q", dir); code != cli.ExitOK ||
			!strings.HasSuffix(b.out.String(), second+":1:1: empty-file\n") {
			t.Errorf("%s: exit code %d, %s%s", second, code, b.out, b.err)
		}
		if err := createFile(path, "other"); exitCode(err) != cli.ExitUsage {
			t.Errorf("written over: %v", err)
		}
		if after, err := os.ReadFile(path); err != nil || string(after) != string(before) {
			t.Errorf("the file changed: %q, %v", after, err)
		}
	}
}

func TestMigrateLintOptions(t *testing.T) {
	t.Parallel()
	var got migrateLintOptions
	newBench(t).parse(t, func(f *factory) *cobra.Command {
		return newMigrateLintCmd(f, func(_ context.Context, _ *factory, o *migrateLintOptions) error {
			got = *o
			return nil
		})
	}, "lint", "--target", "citus", "--since", "7", "--strict", "--applied", "a", "b")
	want := migrateLintOptions{paths: []string{"a", "b"}, target: "citus", since: 7, strict: true, applied: true}
	if strings.Join(got.paths, " ") != "a b" || got.target != want.target || got.since != 7 || !got.strict ||
		!got.applied || got.rules {
		t.Errorf("got %+v, want %+v", got, want)
	}
	var created migrateNewOptions
	newBench(t).setenv("CRMCTL_DRY_RUN=true").parse(t, func(f *factory) *cobra.Command {
		return newMigrateNewCmd(f, func(_ context.Context, _ *factory, o *migrateNewOptions) error {
			created = *o
			return nil
		})
	}, "new", "x", "--no-transaction", "--dir", "d")
	if want := (migrateNewOptions{name: "x", dir: "d", noTransaction: true, dryRun: true}); created != want {
		t.Errorf("got %+v, want %+v", created, want)
	}
}

// Names of findings come from files, and a workflow's commands have a syntax.
func TestAnnotation(t *testing.T) {
	t.Parallel()
	b := newBench(t).setenv("GITHUB_ACTIONS=true")
	dir := b.writeFiles(t, map[string]string{"a,b:c%.sql": oneWay})
	b.run("migrate", "lint", "-q", dir)
	if want := "/a%2Cb%3Ac%25.sql,line=1,col=1,title=file-name::\"a,b:c%25.sql\" has no name of a migration, " +
		"VERSION_NAME.sql"; !strings.Contains(b.err.String(), want) {
		t.Errorf("got %q, want %q in it", b.err, want)
	}
}
