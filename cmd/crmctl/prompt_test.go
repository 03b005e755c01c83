package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
)

func TestProtectedProfile(t *testing.T) {
	t.Parallel()
	newProtected := func(t *testing.T, typed string) (*bench, *factory) {
		t.Helper()
		b := newBench(t).setenv("CRMCTL_PROFILE=prod")
		text := "profiles: {prod: {database_url: 'postgres://migrator@db1:5432/crm_prod', protected: true}}\n"
		if err := os.WriteFile(filepath.Join(b.dir, "crmctl.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if typed != "" {
			b.onTerminal()
			b.In = strings.NewReader(typed)
		}
		return b, b.factory(t)
	}

	b, f := newProtected(t, "prod\n")
	if err := f.beforeChange(t.Context(), false); err != nil {
		t.Error(err)
	}
	equal(t, "stderr", b.err.String(), "target    crm_prod on db1:5432 as migrator (profile prod)\nType the protected "+
		"profile's name (prod) to go on: ")

	_, f = newProtected(t, "")
	f.flags.Yes = true
	if err := f.beforeChange(t.Context(), false); exitCode(err) != cli.ExitUsage ||
		cli.HintsOf(err)[0].Command != "--confirm-profile prod" {
		t.Errorf("without a terminal: %v", err)
	}
	f.flags.confirmProfile = "prod"
	if err := f.beforeChange(t.Context(), false); err != nil {
		t.Error(err)
	}
	f.flags.confirmProfile = "Prod"
	if err := f.beforeChange(t.Context(), false); exitCode(err) != cli.ExitUsage {
		t.Errorf("wrong name: %v", err)
	}
	f.flags.confirmProfile = ""
	if err := f.beforeChange(t.Context(), true); err != nil {
		t.Errorf("dry run: %v", err)
	}
}
