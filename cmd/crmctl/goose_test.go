package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// gooseCLI returns the path of the goose command line of go.mod's version, which
// is built where it is missing.
func gooseCLI(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	var why strings.Builder
	build := exec.CommandContext(ctx, "../../scripts/goose.sh")
	build.Stderr = &why
	out, err := build.Output()
	if err != nil {
		t.Skipf("the goose command line is not there and cannot be built: %v\n%s", err, why.String())
	}
	return strings.TrimSpace(string(out))
}

// TestGoose runs testdata/goose/*.txtar, in which the goose command line works on
// the schemas of tenants too: `goose acme up` migrates tenant_acme with crmctl's
// own files, or those of -dir.
func TestGoose(t *testing.T) {
	t.Parallel()
	goose := gooseCLI(t)
	testscript.Run(t, testscript.Params{
		Dir:                "../../testdata/goose",
		RequireUniqueNames: true,
		UpdateScripts:      os.Getenv("CRMCTL_TEST_UPDATE") != "",
		Setup: func(env *testscript.Env) error {
			// An application's next migration, after the ones crmctl carries.
			more := filepath.Join(env.WorkDir, "more")
			if err := os.CopyFS(more, os.DirFS("../../migrations/tenant")); err != nil {
				return err
			}
			const added = "-- +goose Up\nalter table contacts add column score int;\n-- +goose Down\nalter table contacts " +
				"drop column score;\n"
			if err := os.WriteFile(filepath.Join(more, "00005_add_score.sql"), []byte(added), 0o600); err != nil {
				return err
			}
			return setUpScript(t, env)
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){
			"sql":   cmdSQL,
			"exits": cmdExits,
			"goose": func(ts *testscript.TestScript, neg bool, args []string) {
				dir, err := filepath.Abs("../../migrations/tenant")
				ts.Check(err)
				if len(args) > 2 && args[0] == "-dir" {
					dir, args = ts.MkAbs(args[1]), args[2:]
				}
				if neg || len(args) < 2 {
					ts.Fatalf("usage: goose [-dir DIR] TENANT COMMAND...")
				}
				dsn := ts.Getenv("SCRIPT_DATABASE_URL")
				separator := "?"
				if strings.Contains(dsn, "?") {
					separator = "&"
				}
				dsn += separator + "search_path=tenant_" + args[0]
				ts.Check(ts.Exec(goose, append([]string{"-dir", dir, "postgres", dsn}, args[1:]...)...))
			},
		},
	})
}
