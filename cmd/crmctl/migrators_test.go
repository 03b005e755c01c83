package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

// peer returns the path of a program that scripts/peers.sh has built, "" where it has not.
func peer(t *testing.T, name string) string {
	t.Helper()
	found, err := filepath.Glob("../../.tools/peers/" + name + "-*/" + name)
	if err != nil || len(found) == 0 {
		return ""
	}
	path, err := filepath.Abs(found[len(found)-1])
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestMigrators runs testdata/migrators/*.txtar, in which golang-migrate and tern make the
// schemas that crmctl adopts: `migrate SCHEMA DIR COMMAND...` and `tern SCHEMA DIR COMMAND...`.
func TestMigrators(t *testing.T) {
	t.Parallel()
	migrate, tern := peer(t, "migrate"), peer(t, "tern")
	if migrate == "" || tern == "" {
		t.Skip("golang-migrate and tern are not there: scripts/peers.sh builds them")
	}
	testscript.Run(t, testscript.Params{
		Dir:                "../../testdata/migrators",
		RequireUniqueNames: true,
		UpdateScripts:      os.Getenv("CRMCTL_TEST_UPDATE") != "",
		Setup:              func(env *testscript.Env) error { return setUpScript(t, env) },
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"sql":   cmdSQL,
			"exits": cmdExits,
			"migrate": func(ts *testscript.TestScript, neg bool, args []string) {
				runMigrator(ts, neg, args, func(dsn, dir string) []string {
					return []string{migrate, "-database", "pgx5://" + strings.SplitN(dsn, "://", 2)[1], "-path", dir}
				})
			},
			"tern": func(ts *testscript.TestScript, neg bool, args []string) {
				runMigrator(ts, neg, args[:min(2, len(args))], func(dsn, dir string) []string {
					return append([]string{tern, args[2], "--conn-string", dsn, "--migrations", dir, "--version-table", args[0] +
						".schema_version"}, args[3:]...)
				})
			},
		},
	})
}

// runMigrator runs a program in the schema that the first argument names.
func runMigrator(ts *testscript.TestScript, neg bool, args []string, command func(dsn, dir string) []string) {
	if len(args) < 2 {
		ts.Fatalf("usage: SCHEMA DIR COMMAND...")
	}
	dsn, separator := ts.Getenv("SCRIPT_DATABASE_URL"), "?"
	if strings.Contains(dsn, "?") {
		separator = "&"
	}
	words := append(command(dsn+separator+"search_path="+args[0], ts.MkAbs(args[1])), args[2:]...)
	if err := ts.Exec(words[0], words[1:]...); (err != nil) != neg {
		ts.Fatalf("%v: %v", words, err)
	}
}
