package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/rogpeppe/go-internal/testscript"
)

// peer returns the path of what scripts/peers.sh has put under a name, "" where it has not.
func peer(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob("../../.tools/peers/" + pattern)
	if err != nil || len(found) == 0 {
		return ""
	}
	path, err := filepath.Abs(found[len(found)-1])
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// migrator is a program that testdata/migrators runs.
type migrator struct {
	there   func(t *testing.T) string // "" where it is not
	missing string                    // how to get it
	// command returns the words that run it, where there is what there has returned.
	command func(there, dsn, schema, dir string, args []string) []string
}

// interpreted returns a migrator that is a file of the script's directory, run by an
// interpreter that has the program as a library.
func interpreted(file, missing, interpreter string, probe ...string) migrator {
	return migrator{missing: missing,
		there: func(t *testing.T) string {
			if exec.CommandContext(t.Context(), interpreter, probe...).Run() != nil {
				return ""
			}
			return interpreter
		},
		command: func(there, _, _, dir string, args []string) []string {
			return append([]string{there, filepath.Join(dir, file)}, args...)
		}}
}

func migrators() map[string]migrator {
	const peers = "scripts/peers.sh gets it"
	return map[string]migrator{
		"migrate": {missing: peers,
			there: func(t *testing.T) string { return peer(t, "migrate-*/migrate") },
			command: func(there, dsn, _, dir string, args []string) []string {
				return append([]string{there, "-database", "pgx5://" + strings.SplitN(dsn, "://", 2)[1], "-path", dir}, args...)
			}},
		"tern": {missing: peers,
			there: func(t *testing.T) string { return peer(t, "tern-*/tern") },
			command: func(there, dsn, schema, dir string, args []string) []string {
				return append([]string{there, args[0], "--conn-string", dsn, "--migrations", dir, "--version-table", schema +
					".schema_version"}, args[1:]...)
			}},
		"knex": {missing: peers + ", with node and npm",
			there: func(t *testing.T) string { return peer(t, "knex-*/node_modules") },
			command: func(there, _, _, dir string, args []string) []string {
				return append([]string{"env", "NODE_PATH=" + there, "node", filepath.Join(dir, "migrate.js")}, args...)
			}},
		"django": interpreted("manage.py", "Debian has it in python3-django and python3-psycopg2", "/usr/bin/python3", "-c",
			"import django, psycopg2"),
		"rails": interpreted("migrate.rb", "Debian has it in ruby-activerecord and ruby-pg", "/usr/bin/ruby", "-e",
			`require "logger"; require "active_record"; require "pg"`),
	}
}

// TestMigrators runs testdata/migrators/*.txtar, in which the programs make the schemas that
// crmctl adopts: `migrate SCHEMA DIR COMMAND...`, and so on. A script is called like its
// program, and is skipped where that is not there.
func TestMigrators(t *testing.T) {
	t.Parallel()
	scripts, err := filepath.Glob("../../testdata/migrators/*.txtar")
	if err != nil || len(scripts) == 0 {
		t.Fatalf("no scripts: %v", err)
	}
	programs := migrators()
	cmds := map[string]func(ts *testscript.TestScript, neg bool, args []string){"sql": cmdSQL, "exits": cmdExits}
	there := make(map[string]string)
	for name, program := range programs {
		there[name] = program.there(t)
		cmds[name] = func(ts *testscript.TestScript, neg bool, args []string) {
			runMigrator(ts, neg, args, func(dsn, dir string) []string {
				return program.command(there[name], dsn, args[0], dir, args[2:])
			})
		}
	}
	for _, script := range scripts {
		name := strings.TrimSuffix(filepath.Base(script), ".txtar")
		program, _, _ := strings.Cut(name, "-")
		if program == "golang" {
			program = "migrate"
		}
		if programs[program].there == nil {
			t.Errorf("%s is no program that this test runs", program)
			continue
		}
		if there[program] == "" {
			t.Run(name, func(t *testing.T) { t.Skipf("%s is not there: %s", program, programs[program].missing) })
			continue
		}
		testscript.Run(t, testscript.Params{
			Files:              []string{script},
			RequireUniqueNames: true,
			UpdateScripts:      os.Getenv("CRMCTL_TEST_UPDATE") != "",
			Setup: func(env *testscript.Env) error {
				if err := setUpScript(t, env); err != nil {
					return err
				}
				return clientVars(env)
			},
			Cmds: cmds,
		})
	}
}

// clientVars sets the environment variables of PostgreSQL's own library, for programs that
// take no address.
func clientVars(env *testscript.Env) error {
	cfg, err := pgx.ParseConfig(env.Getenv("SCRIPT_DATABASE_URL"))
	if err != nil {
		return err
	}
	env.Setenv("PGHOST", cfg.Host)
	env.Setenv("PGPORT", strconv.Itoa(int(cfg.Port)))
	env.Setenv("PGUSER", cfg.User)
	env.Setenv("PGPASSWORD", cfg.Password)
	env.Setenv("PGDATABASE", cfg.Database)
	return nil
}

// runMigrator runs a program in the schema that the first argument names.
func runMigrator(ts *testscript.TestScript, neg bool, args []string, command func(dsn, dir string) []string) {
	if len(args) < 3 {
		ts.Fatalf("usage: SCHEMA DIR COMMAND...")
	}
	dsn, separator := ts.Getenv("SCRIPT_DATABASE_URL"), "?"
	if strings.Contains(dsn, "?") {
		separator = "&"
	}
	words := command(dsn+separator+"search_path="+args[0], ts.MkAbs(args[1]))
	ts.Setenv("SCHEMA", args[0])
	ts.Setenv("PGOPTIONS", fmt.Sprintf("-c search_path=%s", args[0]))
	err := ts.Exec(words[0], words[1:]...)
	ts.Setenv("PGOPTIONS", "")
	if (err != nil) != neg {
		ts.Fatalf("%v: %v", words, err)
	}
}
