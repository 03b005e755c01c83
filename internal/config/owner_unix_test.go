//go:build unix

package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestFileOthersCanWriteIsRefused(t *testing.T) {
	t.Parallel()
	for _, mode := range []os.FileMode{0o620, 0o602, 0o666} {
		w := newWorld(t)
		path := w.write(projectFile, "concurrency: 2\n")
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := w.load(); err == nil || !strings.Contains(err.Error(), "chmod go-w") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
}

func TestFileOfAnotherUserIsRefused(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("only root can give a file away")
	}
	w := newWorld(t)
	path := w.write(projectFile, "concurrency: 2\n")
	if err := os.Chown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	if _, err := w.load(); err == nil || !strings.Contains(err.Error(), "another user") {
		t.Errorf("got %v", err)
	}
}

// Nobody else leads the program to a file of their choice, or holds it up.
func TestPlaceOfTheProjectFile(t *testing.T) {
	t.Parallel()
	refused := func(w *world, part string) {
		t.Helper()
		if _, err := w.load(); err == nil || !strings.Contains(err.Error(), part) {
			t.Errorf("got %v, want %q", err, part)
		}
	}
	w := newWorld(t)
	dir := filepath.Dir(w.write(projectFile, "concurrency: 2\n"))
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	refused(w, "everybody can write into")
	if err := os.Chmod(dir, 0o777|os.ModeSticky); err != nil {
		t.Fatal(err)
	}
	w.mustLoad()

	w = newWorld(t)
	path := w.write(projectFile, "")
	if err := errors.Join(os.Remove(path), syscall.Mkfifo(path, 0o600)); err != nil {
		t.Fatal(err)
	}
	refused(w, "no plain file")

	if os.Geteuid() != 0 {
		t.Skip("only root can give a link away")
	}
	w = newWorld(t)
	path = w.write(projectFile, "")
	other := w.write("other.yaml", "concurrency: 2\n")
	if err := errors.Join(os.Remove(path), os.Symlink(other, path)); err != nil {
		t.Fatal(err)
	}
	if c := w.mustLoad(); c.Concurrency != 2 {
		t.Errorf("a link of the user's own: concurrency %d", c.Concurrency)
	}
	if err := os.Lchown(path, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	refused(w, "another user")
	w = newWorld(t)
	if err := os.Chown(filepath.Dir(w.write(projectFile, "")), 65534, 65534); err != nil {
		t.Fatal(err)
	}
	refused(w, "another user")
}

func TestReadablePasswordIsWarnedAbout(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	path := w.write(projectFile, "profiles: {prod: {database_url: 'postgres://u:geheim@h/db'}}\n")
	if err := os.Chmod(path, 0o644); err != nil {
		t.Fatal(err)
	}
	c := w.mustLoad()
	if len(c.Warnings) != 1 || !strings.Contains(c.Warnings[0], "chmod 600") || strings.Contains(c.Warnings[0], "geheim") {
		t.Errorf("warnings %q", c.Warnings)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if c := w.mustLoad(); len(c.Warnings) != 0 {
		t.Errorf("warnings %q for a private file", c.Warnings)
	}
}

func TestOddFilesAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.write(projectFile, "")
	w.flags["config"] = w.dir
	if _, err := w.load(); err == nil {
		t.Error("a directory was read")
	}
	w.flags["config"] = w.write("big.yaml", strings.Repeat("#", 2<<20))
	if _, err := w.load(); err == nil {
		t.Error("a huge file was read")
	}
}
