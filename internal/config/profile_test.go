package config_test

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/config"
)

func TestWrittenProfile(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const mine = "# my notes\nconcurrency: 2\n"
	w.write(userFile, mine)
	dsn := config.DSN("host='/tmp/it''s here' dbname=crm")
	path, err := config.WriteProfile(w.env, "local", dsn)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || (runtime.GOOS != "windows" && info.Mode().Perm() != 0o600) {
		t.Errorf("mode of %s: %v, %v", path, info.Mode(), err)
	}
	w.flags["profile"] = "local"
	c := w.mustLoad()
	if c.DatabaseURL != dsn || c.Concurrency != 2 {
		t.Errorf("got %q, concurrency %d", string(c.DatabaseURL), c.Concurrency)
	}
	if got, err := os.ReadFile(filepath.Join(w.dir, userFile)); err != nil || string(got) != mine {
		t.Errorf("the user's file became %q, %v", got, err)
	}

	if _, err := config.WriteProfile(w.env, "local", "host=/elsewhere"); err != nil {
		t.Fatal(err)
	}
	if c := w.mustLoad(); c.DatabaseURL != "host=/elsewhere" {
		t.Errorf("written again: %q", string(c.DatabaseURL))
	}
	w.write(userFile, "profiles: {local: {database_url: host=mine}}\n")
	if c := w.mustLoad(); c.DatabaseURL != "host=mine" {
		t.Errorf("the user's own profile must win: %q", string(c.DatabaseURL))
	}
	w.write(userFile, "")
	for range 2 { // the second time there is nothing to remove
		if err := config.RemoveProfile(w.env, "local"); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := w.load(); err == nil {
		t.Error("the removed profile is still there")
	}
}

func TestWriteProfileRefusesNames(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for _, name := range []string{"", "../x", "A", ".x", "a/b", strings.Repeat("a", 64)} {
		if path, err := config.WriteProfile(w.env, name, "host=h"); err == nil {
			t.Errorf("%q was written to %s", name, path)
		}
	}
}
