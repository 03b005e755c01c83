package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
)

// walk calls visit for every command of a tree.
func walk(cmd *cobra.Command, visit func(*cobra.Command)) {
	visit(cmd)
	for _, sub := range cmd.Commands() {
		walk(sub, visit)
	}
}

func tree(t *testing.T) *cobra.Command {
	t.Helper()
	return newRootCmd(newBench(t).factory(t))
}

// A mistyped command is an error at every level, with --help too.
func TestEveryGroupRefusesUnknownCommands(t *testing.T) {
	t.Parallel()
	walk(tree(t), func(cmd *cobra.Command) {
		if !cmd.HasSubCommands() {
			return
		}
		words := strings.Fields(cmd.CommandPath())[1:]
		for _, more := range [][]string{{"zzzzz"}, {"zzzzz", "--help"}, {"-o", "json", "zzzzz"}, {"--", "zzzzz"}} {
			b := newBench(t)
			if code := b.run(append(words, more...)...); code != cli.ExitUsage {
				t.Errorf("%s %s: exit code %d, want 64", cmd.CommandPath(), strings.Join(more, " "), code)
			}
			if !strings.Contains(b.err.String(), "unknown command") || b.out.String() != "" {
				t.Errorf("%s %s: stdout %q, stderr %q", cmd.CommandPath(), strings.Join(more, " "), b.out, b.err)
			}
		}
	})
}

func TestEveryCommandIsDocumented(t *testing.T) {
	t.Parallel()
	walk(tree(t), func(cmd *cobra.Command) {
		if cmd.IsAdditionalHelpTopicCommand() || cmd.Name() == "help" {
			return
		}
		path := cmd.CommandPath()
		// Without Args cobra takes any number of arguments, which only "NAME..."
		// means.
		if cmd.Short == "" || cmd.RunE == nil || (cmd.Args == nil && !strings.Contains(cmd.Use, "...")) {
			t.Errorf("%s: needs Short, RunE and Args", path)
		}
		if cmd.Run != nil || cmd.PersistentPreRun != nil || (cmd.HasParent() && cmd.PersistentPreRunE != nil) {
			t.Errorf("%s: uses hooks that go past the frame", path)
		}
		if !cmd.HasSubCommands() && (cmd.Example == "" || cmd.Annotations[cli.AnnotationExits] == "") {
			t.Errorf("%s: needs Example and documentExits", path)
		}
	})
}

func TestMessages(t *testing.T) {
	t.Parallel()
	const noDatabase = `crmctl: no database configured (crmctl help environment)
  try one now:      crmctl local start
  or use your own:  export DATABASE_URL=postgres://user@host/db
`
	tests := []struct {
		args string
		env  string
		code int
		want string
	}{
		{args: "locl", code: cli.ExitUsage, want: "crmctl: unknown command \"locl\" for \"crmctl\"; did you mean " +
			"\"local\"?\n"},
		{args: "local sart", code: cli.ExitUsage, want: "crmctl: unknown command \"sart\" for \"crmctl local\"; did you " +
			"mean \"start\"?\n"},
		{args: "help exit-code", code: cli.ExitUsage,
			want: "crmctl: unknown command \"exit-code\" for \"crmctl\"; did you mean \"exit-codes\"?\n"},
		{args: "version --ouptut json", code: cli.ExitUsage,
			want: "crmctl: unknown flag --ouptut for \"crmctl version\"; did you mean \"--output\"?\n"},
		{args: "version -x", code: cli.ExitUsage, want: "crmctl: unknown flag -x for \"crmctl version\"\n  see: crmctl " +
			"version --help\n"},
		{args: "version -o xml", code: cli.ExitUsage,
			want: "crmctl: --output=xml: want table, wide, json, yaml, csv or ndjson\n"},
		{args: "version --utc=maybe", code: cli.ExitUsage, want: "crmctl: --utc=maybe: want true or false\n"},
		{args: "version --timeout 5", code: cli.ExitUsage,
			want: "crmctl: --timeout=5: want a duration such as 500ms, 30s, 15m, 12h, 30d or 2w\n"},
		{args: "version --profile", code: cli.ExitUsage,
			want: "crmctl: --profile needs a value\n  see: crmctl version --help\n"},
		{args: "version now", code: cli.ExitUsage, want: "crmctl: \"crmctl version\" takes no arguments, but got \"now\"\n " +
			" see: crmctl version --help\n"},
		{args: "completion", code: cli.ExitUsage, want: "crmctl: \"crmctl completion\" needs SHELL (bash, zsh, fish or " +
			"powershell)\n  see: crmctl completion --help\n"},
		{args: "config show", env: "CRMCTL_CONCURRENCY=abc", code: cli.ExitUsage,
			want: "crmctl: CRMCTL_CONCURRENCY=abc: want auto or a whole number from 1 to 256\n"},
		{args: "config show", env: "CRMCTL_DRY_RUN=yes", code: cli.ExitUsage,
			want: "crmctl: CRMCTL_DRY_RUN=yes: want true or false\n"},
		{args: "version --database-url postgres://u:geheim@h/db", code: cli.ExitUsage,
			want: "crmctl: --database-url must not hold a password, anybody can read it in the list of processes\n  use " +
				"DATABASE_URL, PGPASSWORD or ~/.pgpass instead\n"},
		{args: "locl postgres://u:geheim@h/db", code: cli.ExitUsage,
			want: "crmctl: unknown command \"locl\" for \"crmctl\"; did you mean \"local\"?\n"},
		{args: "postgres://u:geheim@h/db", code: cli.ExitUsage,
			want: "crmctl: unknown command \"postgres://u:xxxxx@h/db\" for \"crmctl\"\n  all commands: crmctl --help\n"},
		{args: "probe", code: cli.ExitUsage, want: noDatabase},
		{args: "probe", env: "DATABASE_URL=postgres://u:geheim@%zz/db", code: cli.ExitUsage,
			want: "*the connection string cannot be read"},
		{args: "probe", env: "DATABASE_URL=postgres://u:geheim@127.0.0.1:1/db", code: cli.ExitUnreachable,
			want: "*where the address comes from: crmctl config show --origin"},
		{args: "probe --timeout 1ns", env: "DATABASE_URL=postgres://u@127.0.0.1:1/db", code: cli.ExitFailure,
			want: "*--timeout is over after 1ns"},
		{args: "probe --expect-database crm", env: "DATABASE_URL=postgres://u@127.0.0.1:1/other", code: cli.ExitUsage,
			want: "crmctl: the database is \"other\", but \"crm\" is expected (--expect-database)\n"},
		{args: "probe --must", code: cli.ExitUsage, want: "*--must needs a value"},
		{args: "probe --profile prdo", code: cli.ExitUsage, want: "*no profile \"prdo\" (--profile)"},
	}
	for _, tt := range tests {
		t.Run(tt.args+" "+tt.env, func(t *testing.T) {
			t.Parallel()
			b := newBench(t).setenv(tt.env)
			code := b.runWith(t, newProbe, strings.Fields(tt.args)...)
			if code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if part, isPart := strings.CutPrefix(tt.want, "*"); isPart {
				if !strings.Contains(b.err.String(), part) {
					t.Errorf("stderr %q does not say %q", b.err, part)
				}
			} else {
				equal(t, "stderr", b.err.String(), tt.want)
			}
			if strings.Contains(b.err.String()+b.out.String(), "geheim") {
				t.Errorf("the password is shown: %q", b.err)
			}
			if lines := strings.Count(b.err.String(), "\n"); lines > maxErrorLines {
				t.Errorf("%d lines: %q", lines, b.err)
			}
		})
	}
}

// runWith runs the whole program with one more command.
func (b *bench) runWith(t *testing.T, build func(f *factory) *cobra.Command, args ...string) int {
	t.Helper()
	ctx, in := cli.WatchInterrupts(t.Context())
	defer in.Stop()
	f := newFactory(b.Streams, in)
	root := newRootCmd(f)
	root.AddCommand(build(f))
	return f.execute(ctx, root, args)
}

// newProbe is a command that connects.
func newProbe(f *factory) *cobra.Command {
	cmd := &cobra.Command{Use: "probe", Args: cli.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		conn, err := f.connect(cmd.Context())
		if err != nil {
			return err
		}
		return conn.Close(cmd.Context())
	}}
	addExpectDatabaseFlag(cmd.Flags())
	cmd.Flags().String("must", "", "")
	return cmd
}

// failing makes a command that returns an error.
func failing(err error) func(*factory) *cobra.Command {
	return func(*factory) *cobra.Command {
		return &cobra.Command{Use: "probe", Args: cli.NoArgs, RunE: func(*cobra.Command, []string) error { return err }}
	}
}

func TestExitCodes(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		err  error
		code int
		want string
	}{
		{"success", nil, cli.ExitOK, ""},
		{"plain", errors.New("it broke"), cli.ExitFailure, "crmctl: it broke\n"},
		{"code", cli.WithCode(errors.New("2 of 9 failed"), cli.ExitPartial), cli.ExitPartial, "crmctl: 2 of 9 failed\n"},
		{"silent", cli.ExitWith(cli.ExitPending), cli.ExitPending, ""},
		{"silent 0", cli.ExitWith(cli.ExitOK), cli.ExitOK, ""},
		{"wrapped code", fmt.Errorf("outer: %w", cli.WithCode(errors.New("inner"), cli.ExitStopped)), cli.ExitStopped,
			"crmctl: outer: inner\n"},
		{"hint keeps the code", cli.WithHint(cli.WithCode(errors.New("gone"), exitNoTenant), "next", "crmctl tenant list"),
			exitNoTenant, "crmctl: gone\n  next: crmctl tenant list\n"},
		{"busy", fmt.Errorf("acme: %w", db.ErrBusy), cli.ExitLocked, "crmctl: acme: another run is at work on this tenant\n"},
		{"broken pipe", fmt.Errorf("write the answer: %w", &os.PathError{Op: "write", Path: "|1", Err: syscall.EPIPE}),
			cli.ExitFailure, ""},
		{"broken connection", fmt.Errorf("acme: %w", &net.OpError{Op: "write", Net: "tcp", Err: syscall.EPIPE}),
			cli.ExitFailure, "crmctl: acme: write tcp: broken pipe\n"},
		{"idle session", &pgconn.PgError{Severity: "FATAL", Message: "terminating connection", Code: "57P05"},
			cli.ExitFailure, "*a limit of the server ended the session"},
		{"hostile text", errors.New("column \x1b[31m\"x\"\u202e\r does not exist"), cli.ExitFailure,
			`crmctl: column \x1b[31m"x"\u202e\r does not exist` + "\n"},
		{"long", errors.New("one\ntwo\nthree\nfour"), cli.ExitFailure, "crmctl: one\n  two\n  three (--debug shows more)\n"},
		{"long with hint", cli.WithHint(errors.New("one\ntwo\nthree"), "next", "x"), cli.ExitFailure,
			"crmctl: one\n  two (--debug shows more)\n  next: x\n"},
		{"read-only replica", &pgconn.PgError{Severity: "ERROR", Message: "cannot execute", Code: "25006"},
			cli.ExitFailure, "*replica"},
		{"no right", fmt.Errorf("x: %w", &pgconn.PgError{Message: "permission denied", Code: "42501"}),
			cli.ExitFailure, "*grant"},
	}
	for _, tt := range tests {
		b := newBench(t)
		if code := b.runWith(t, failing(tt.err), "probe"); code != tt.code {
			t.Errorf("%s: exit code %d, want %d", tt.name, code, tt.code)
		}
		if part, isPart := strings.CutPrefix(tt.want, "*"); isPart {
			if !strings.Contains(b.err.String(), part) {
				t.Errorf("%s: %q does not say %q", tt.name, b.err, part)
			}
			continue
		}
		equal(t, tt.name, b.err.String(), tt.want)
	}
}

func TestDebugShowsTheChain(t *testing.T) {
	t.Parallel()
	b := newBench(t).setenv("PGPASSWORD=geheim")
	err := fmt.Errorf("outer: %w", errors.Join(errors.New("first geheim"),
		cli.WithCode(errors.New("second"), cli.ExitPartial)))
	if code := b.runWith(t, failing(err), "probe", "--debug"); code != cli.ExitPartial {
		t.Errorf("exit code %d", code)
	}
	for _, part := range []string{"*errors.joinError", "first xxxxx", "*cli.Error: second"} {
		if !strings.Contains(b.err.String(), part) {
			t.Errorf("%q is missing in\n%s", part, b.err)
		}
	}
}

// broken is a stdout that cannot be written.
type broken struct{ err error }

func (b broken) Write([]byte) (int, error) { return 0, b.err }

func TestWriteErrorsAreReturned(t *testing.T) {
	t.Parallel()
	full := errors.New("no space left on device")
	for _, args := range []string{"version", "version -o json", "config show", "config show -o yaml", "config path -o csv",
		"config path -q",
		"--help", "local --help", "help exit-codes", "help flags", "completion bash", "completion zsh"} {
		b := newBench(t)
		b.Out = broken{full}
		if code := b.run(strings.Fields(args)...); code != cli.ExitFailure ||
			!strings.Contains(b.err.String(), full.Error()) {
			t.Errorf("crmctl %s: exit code %d, stderr %q", args, code, b.err)
		}
		b = newBench(t)
		b.Out = broken{syscall.EPIPE}
		if code := b.run(strings.Fields(args)...); code != cli.ExitFailure || b.err.String() != "" {
			t.Errorf("crmctl %s into a closed pipe: exit code %d, stderr %q", args, code, b.err)
		}
	}
}

// Help, completion and version work whatever the configuration says.
func TestBrokenConfigurationLeavesHelpAlone(t *testing.T) {
	t.Parallel()
	for _, args := range []string{"--help", "", "local", "help", "help environment", "completion bash", "--version",
		"local start --help"} {
		b := newBench(t).setenv("CRMCTL_CONCURRENCY=abc")
		if err := os.WriteFile(filepath.Join(b.dir, "crmctl.yaml"), []byte("nonsense: 1\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if code := b.run(strings.Fields(args)...); code != cli.ExitOK || b.err.String() != "" || b.out.String() == "" {
			t.Errorf("crmctl %s: exit code %d, stderr %q", args, code, b.err)
		}
	}
}

func TestConfigurationFillsFlags(t *testing.T) {
	t.Parallel()
	var concurrency int
	var dryRun bool
	var origin string
	build := func(f *factory) *cobra.Command {
		cmd := &cobra.Command{Use: "probe", RunE: func(*cobra.Command, []string) error {
			cfg, err := f.config()
			origin = cfg.Setting(config.KeyConcurrency).Origin
			return err
		}}
		addConcurrencyFlag(cmd.Flags(), &concurrency)
		addDryRunFlag(cmd.Flags(), &dryRun)
		return cmd
	}
	check := func(env, args string, want int, wantDry bool, wantOrigin string) {
		t.Helper()
		newBench(t).setenv(strings.Fields(env)...).parse(t, build, append([]string{"probe"}, strings.Fields(args)...)...)
		if concurrency != want || dryRun != wantDry || origin != wantOrigin {
			t.Errorf("%s %s: concurrency %d, dry run %v, origin %s", env, args, concurrency, dryRun, origin)
		}
	}
	check("", "", 0, false, "default")
	check("CRMCTL_CONCURRENCY=7 CRMCTL_DRY_RUN=true", "", 7, true, "CRMCTL_CONCURRENCY")
	check("CRMCTL_CONCURRENCY=7 CRMCTL_DRY_RUN=true", "--concurrency 9 --dry-run=false", 9, false, "--concurrency")
}

func TestHelpFitsOneScreen(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if code := b.run("--help"); code != cli.ExitOK {
		t.Fatalf("exit code %d", code)
	}
	lines := strings.Split(strings.TrimRight(b.out.String(), "\n"), "\n")
	if len(lines) > 34 {
		t.Errorf("%d lines", len(lines))
	}
	for _, line := range lines {
		if len(line) > 100 {
			t.Errorf("%d columns: %s", len(line), line)
		}
	}
	walk(tree(t), func(cmd *cobra.Command) {
		b := newBench(t)
		words := strings.Fields(cmd.CommandPath())[1:]
		if code := b.run(append([]string{"help"}, words...)...); code != cli.ExitOK || b.out.String() == "" {
			t.Errorf("help %s: exit code %d, %q", words, code, b.err)
		}
		if strings.Contains(b.out.String(), "$(") || strings.Contains(b.out.String(), "panic") {
			t.Errorf("help %s:\n%s", words, b.out)
		}
		for line := range strings.Lines(b.out.String()) {
			if n := utf8.RuneCountInString(strings.TrimRight(line, "\n")); n > 100 {
				t.Errorf("help %s: %d columns: %s", words, n, line)
			}
		}
	})
}

func TestContextErrorsWithoutSignalAreFailures(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	if code := b.runWith(t, failing(context.DeadlineExceeded), "probe"); code != cli.ExitFailure {
		t.Errorf("exit code %d", code)
	}
}
