//go:build unix

package db_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/db"
)

// A password file that others can read is passed by with a word, as psql does; one of
// the user's alone is read; a password from elsewhere is not concerned.
func TestPassfile(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	for _, name := range []string{"PGPASSFILE", "PGPASSWORD", "PGSERVICE"} {
		t.Setenv(name, "")
	}
	usual, other := filepath.Join(home, ".pgpass"), filepath.Join(home, "other file")
	for _, path := range []string{usual, other} {
		if err := os.WriteFile(path, []byte("*:*:*:*:secret\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	check := func(dsn string, mode os.FileMode, path, password string) {
		t.Helper()
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		cfg, err := db.ParseConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		problem := db.PassfileProblem(dsn)
		if said := strings.Contains(problem, path) && strings.Contains(problem, "chmod 600"); cfg.Password != password ||
			said != (password == "") {
			t.Errorf("%s, mode %04o: password %q, %q", dsn, mode, cfg.Password, problem)
		}
	}
	for _, dsn := range []string{"postgres://u@h/d", "postgres://u@h/d?sslmode=disable", "host=h user=u dbname=d",
		"host=/run user=u dbname=d", ""} {
		check(dsn, 0o600, usual, "secret")
		check(dsn, 0o400, usual, "secret")
		check(dsn, 0o640, usual, "")
		check(dsn, 0o604, usual, "")
	}
	check("postgres://u:own@h/d", 0o644, usual, "own")
	check("host=h user=u passfile='"+other+"'", 0o640, other, "")
	check("host=h user=u passfile='"+other+"'", 0o600, other, "secret")
	check("postgres://u@h/d?passfile="+strings.ReplaceAll(other, " ", "%20"), 0o640, other, "")
	t.Setenv("PGPASSFILE", other)
	check("host=h user=u", 0o660, other, "")
	check("host=h user=u", 0o600, other, "secret")
	t.Setenv("PGPASSWORD", "environment")
	check("host=h user=u", 0o660, other, "environment")
}
