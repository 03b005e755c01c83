package app_test

import (
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// TestLint reads a directory, one of its files, and compares them with what was applied.
func TestLint(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	dir := files(t, map[string]string{
		"1_a.sql": "create table a (id int);",
		"2_b.sql": "alter table a drop column id;",
	})
	a, _ := open(t, f, dir)
	ctx := t.Context()
	got, err := a.Lint(ctx, app.LintOptions{})
	if err != nil || got.Files != 2 || !slices.Equal(rules(got), []string{"drop-column", "missing-down"}) {
		t.Errorf("all: %+v, %v", got, err)
	}
	got, err = a.Lint(ctx, app.LintOptions{Paths: []string{filepath.Join(dir, "1_a.sql")}})
	if err != nil || got.Files != 1 || !slices.Equal(rules(got), []string{"missing-down"}) {
		t.Errorf("one file: %+v, %v", got, err)
	}
	var wrong *app.InputError
	for name, path := range map[string]string{"no file": filepath.Join(dir, "3_c.sql"), "no migrations": t.TempDir()} {
		if _, err := a.Lint(ctx, app.LintOptions{Paths: []string{path}}); !errors.As(err, &wrong) {
			t.Errorf("%s: %v", name, err)
		}
	}
	made, err := a.CreateTenants(ctx, app.CreateOptions{Specs: specs("acme"), LockTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	done(t, made.Results)
	changed := files(t, map[string]string{"1_a.sql": "create table a (id bigint);"})
	got, err = a.Lint(ctx, app.LintOptions{Paths: []string{changed}, Applied: true})
	if err != nil || got.Uncompared != nil || !slices.Equal(rules(got), []string{"changed-file", "missing-down"}) {
		t.Errorf("a file that was changed: %+v, %v", got, err)
	}
	broken := files(t, map[string]string{"1_a.sql": "-- +goose StatementBegin\nselect 1;"})
	got, err = a.Lint(ctx, app.LintOptions{Paths: []string{broken}, Applied: true})
	if err != nil || got.Uncompared == nil {
		t.Errorf("a file that does not compile: %+v, %v", got, err)
	}
}

// rules returns the rules of the findings, in order and each once.
func rules(r app.LintResult) []string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, f.Rule)
	}
	slices.Sort(out)
	return slices.Compact(out)
}
