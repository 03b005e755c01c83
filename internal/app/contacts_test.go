package app_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
)

// writeFile writes a file of a test and returns its path.
func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestContacts inspects a file, keeps its mapping, and imports it by that, twice.
func TestContacts(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	a, _ := open(t, f, "")
	ctx := t.Context()
	made, err := a.CreateTenants(ctx, app.CreateOptions{Specs: specs("acme"), LockTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	done(t, made.Results)
	path := writeFile(t, "leads.csv", "Post,Tel\nann@example.com,030 901820\nbad,\n")
	file := app.ContactFile{Path: path, Read: importer.Options{Map: []string{"Post=email", "Tel=phone"}, Region: "de"}}

	in, read, err := a.InspectContacts(t.Context(), file, "")
	if err != nil || in.Read != 2 || in.Rejected != 1 || read.Region != "DE" {
		t.Fatalf("inspect: %+v, %v", in, err)
	}
	kept := filepath.Join(t.TempDir(), "leads.json")
	if err := app.SaveMapping(kept, in.Plan.Save(read)); err != nil {
		t.Fatal(err)
	}
	o := app.ImportOptions{Tenant: "Acme", File: app.ContactFile{Path: path, MapFile: kept}, KeepRejects: true}
	first, err := a.ImportContacts(ctx, o)
	if err != nil || first.Inserted != 1 || first.Rejected != 1 || first.Before != nil {
		t.Fatalf("import: %+v, %v", first, err)
	}
	if want := filepath.Join(filepath.Dir(path), "leads.rejected.csv"); first.RejectFile != want {
		t.Errorf("the rejected rows are in %q, want %q", first.RejectFile, want)
	}
	var phone string
	if err := f.Connect(t).QueryRow(ctx, "select phone from tenant_acme.contacts").Scan(&phone); err != nil ||
		phone != "+4930901820" {
		t.Errorf("the number is %q, %v", phone, err)
	}
	o.KeepRejects = false
	again, err := a.ImportContacts(ctx, o)
	if err != nil || again.Unchanged != 1 || again.Before == nil || again.Before.Actor != "test" ||
		again.RejectFile != "" {
		t.Errorf("the same file again: %+v, %v", again, err)
	}
}

// TestContactsOfNoFile: what cannot be read is told from what goes wrong.
func TestContactsOfNoFile(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	a, _ := open(t, f, "")
	var wrong *app.InputError
	for name, file := range map[string]app.ContactFile{
		"a directory":      {Path: t.TempDir()},
		"no file":          {Path: filepath.Join(t.TempDir(), "none.csv")},
		"no stdin":         {Path: "-"},
		"no mapping":       {Path: "-", MapFile: writeFile(t, "map.json", "[")},
		"no mapping there": {Path: "-", MapFile: filepath.Join(t.TempDir(), "none.json")},
	} {
		if _, _, err := a.InspectContacts(t.Context(), file, ""); !errors.As(err, &wrong) {
			t.Errorf("inspect %s: %v", name, err)
		}
		if _, err := a.ImportContacts(t.Context(), app.ImportOptions{Tenant: "acme", File: file}); !errors.As(err, &wrong) {
			t.Errorf("import %s: %v", name, err)
		}
	}
	path := writeFile(t, "leads.csv", "email\nann@example.com\n")
	file := app.ContactFile{Path: path, Read: importer.Options{Region: "nowhere"}}
	if _, _, err := a.InspectContacts(t.Context(), file, ""); !errors.As(err, &wrong) {
		t.Errorf("no country: %v", err)
	}
	if _, err := a.ImportContacts(t.Context(), app.ImportOptions{Tenant: "acme", File: file}); !errors.Is(err,
		registry.ErrNotFound) {
		t.Errorf("no tenant: %v", err)
	}
}
