package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/rogpeppe/go-internal/testscript"

	"github.com/crmctl/crmctl/internal/localpg"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// tests runs the tests of the package and stops their server at the end.
type tests struct{ *testing.M }

func (m tests) Run() int {
	// A process under the race detector sleeps for a second before it ends, and there
	// are hundreds of them.
	if err := os.Setenv("GORACE", noSleep); err != nil {
		panic(err)
	}
	return pgtest.Main(m.M)
}

const noSleep = "atexit_sleep_ms=0"

func TestMain(m *testing.M) {
	testscript.Main(tests{m}, map[string]func(){"crmctl": func() { pgtest.Child(); main() }, panicking: panicOnScreen})
}

// TestScripts runs testdata/script/*.txtar: the program as a user has it, off a
// terminal, with an empty database of the script's own in DATABASE_URL.
func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{
		Dir:                "../../testdata/script",
		RequireUniqueNames: true,
		UpdateScripts:      os.Getenv("CRMCTL_TEST_UPDATE") != "",
		Setup:              func(env *testscript.Env) error { return setUpScript(t, env) },
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"sql":   cmdSQL,
			"exits": cmdExits,
			// tablespace makes one, and puts its name into SPACE.
			"tablespace": func(ts *testscript.TestScript, _ bool, _ []string) {
				ts.Setenv("SPACE", pgtest.Tablespace(t, ts.Getenv("SCRIPT_DATABASE_URL")))
			},
		},
		Condition: func(name string) (bool, error) {
			if name != "pgdump" {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return hasPgDump(t), nil
		},
	})
}

// hasPgDump reports whether there is a pg_dump that reads the server of the tests: it
// refuses one of a newer major version.
func hasPgDump(t *testing.T) bool {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "pg_dump", "--version").Output()
	if err != nil {
		return false
	}
	var dump int
	fields := strings.Fields(string(out))
	if _, err := fmt.Sscanf(fields[2], "%d", &dump); err != nil {
		t.Fatalf("pg_dump --version: %q: %v", out, err)
	}
	conn, err := pgconn.Connect(t.Context(), pgtest.Empty(t))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.Background()) }()
	var server int
	if _, err := fmt.Sscanf(conn.ParameterStatus("server_version"), "%d", &server); err != nil {
		t.Fatal(err)
	}
	return dump >= server
}

func setUpScript(t *testing.T, env *testscript.Env) error {
	dsn := pgtest.Empty(t)
	// LOCAL is the name of a local instance that no other test has.
	local := "script-" + strings.ToLower(rand.Text()[:10])
	env.Vars = append(env.Vars,
		"DATABASE_URL="+dsn,
		"SCRIPT_DATABASE_URL="+dsn,
		"GORACE="+noSleep,
		"LOCAL="+local,
		pgtest.EnvStatements+"="+os.Getenv(pgtest.EnvStatements),
		"HOME="+env.WorkDir,
		"XDG_CONFIG_HOME="+filepath.Join(env.WorkDir, ".config"),
		"XDG_DATA_HOME="+filepath.Join(env.WorkDir, ".data"),
		"LANG=C.UTF-8",
		"TZ=Europe/Berlin",
	)
	if dir := os.Getenv("CRMCTL_PG_BIN"); dir != "" {
		env.Vars = append(env.Vars, "CRMCTL_PG_BIN="+dir)
	}
	env.Defer(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		// A script that failed half way must not leave a server behind.
		root := ""
		if os.Geteuid() != 0 {
			root = filepath.Join(env.WorkDir, ".data", "crmctl", "local")
		}
		if err := localpg.Reset(ctx, localpg.Options{Name: local, Root: root}); err != nil {
			t.Errorf("remove the local instance %s: %v", local, err)
		}
	})
	return nil
}

// cmdSQL runs statements on the script's database and prints the rows, values
// separated by tabs: `sql 'select slug from tenants'` or `sql file.sql`. With
// `! sql` the statements must fail; the message goes to stderr.
func cmdSQL(ts *testscript.TestScript, neg bool, args []string) {
	text := strings.Join(args, " ")
	if strings.HasSuffix(text, ".sql") {
		text = ts.ReadFile(text)
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	conn, err := pgconn.Connect(ctx, ts.Getenv("SCRIPT_DATABASE_URL"))
	ts.Check(err)
	defer func() { _ = conn.Close(ctx) }()
	results, err := conn.Exec(ctx, text).ReadAll()
	if neg {
		if err == nil {
			ts.Fatalf("the statements succeeded: %s", text)
		}
		fmt.Fprintln(ts.Stderr(), err)
		return
	}
	ts.Check(err)
	for _, r := range results {
		for _, row := range r.Rows {
			var cells []string
			for _, cell := range row {
				cells = append(cells, string(cell))
			}
			fmt.Fprintln(ts.Stdout(), strings.Join(cells, "\t"))
		}
	}
}

// cmdExits runs a program and wants an exit code: `exits 64 crmctl nonsense`.
// stdout and stderr can be looked at afterwards.
func cmdExits(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: exits CODE COMMAND...")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	code := 0
	if err := ts.Exec(args[1], args[2:]...); err != nil {
		var exit *exec.ExitError
		if !errors.As(err, &exit) {
			ts.Fatalf("%v", err)
		}
		code = exit.ExitCode()
	}
	if code != want {
		ts.Fatalf("exit code %d, want %d", code, want)
	}
}
