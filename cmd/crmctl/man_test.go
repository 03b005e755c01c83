package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
)

// manual writes the manual in a format and returns its pages by their names.
func manual(t *testing.T, format string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	f := newFactory(cli.SystemStreams(), &cli.Interrupts{})
	root := newRootCmd(f)
	f.flags.Quiet = true
	if err := runMan(t.Context(), f, root, &manOptions{dir: dir, format: format}); err != nil {
		t.Fatal(err)
	}
	return pages(t, dir)
}

func pages(t *testing.T, dir string) map[string]string {
	t.Helper()
	found, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, entry := range found {
		text, err := os.ReadFile(filepath.Join(dir, entry.Name()))
		if err != nil {
			t.Fatal(err)
		}
		out[entry.Name()] = string(text)
	}
	return out
}

// TestReferenceIsCurrent: docs/reference is what the commands say of themselves.
func TestReferenceIsCurrent(t *testing.T) {
	t.Parallel()
	want, got := manual(t, "markdown"), pages(t, filepath.Join("..", "..", "docs", "reference"))
	for name, text := range want {
		if got[name] != text {
			t.Errorf("docs/reference/%s is not what the command says: make docs", name)
		}
	}
	for name := range got {
		if _, there := want[name]; !there {
			t.Errorf("docs/reference/%s is about no command: make docs", name)
		}
	}
}

// TestManPages: every command has a page with its exit codes.
func TestManPages(t *testing.T) {
	t.Parallel()
	all := manual(t, "man")
	for _, name := range []string{"crmctl.1", "crmctl-tenant-create.1", "crmctl-migrate-all-tenants.1",
		"crmctl-environment.1"} {
		if !strings.HasPrefix(all[name], ".nh\n.TH ") {
			t.Errorf("%s: %.60q", name, all[name])
		}
	}
	if page := all["crmctl-tenant-create.1"]; !strings.Contains(page, "EXIT STATUS") ||
		!strings.Contains(page, "some tenants or rows failed") {
		t.Errorf("no exit codes in\n%s", page)
	}
}
