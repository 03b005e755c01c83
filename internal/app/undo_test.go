package app_test

import (
	"errors"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
)

func withAcme(t *testing.T) (*fleettest.Fleet, *app.App) {
	t.Helper()
	f := fleettest.New(t)
	a, _ := open(t, f, "")
	made, err := a.CreateTenants(t.Context(), app.CreateOptions{Specs: specs("acme"), LockTimeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	done(t, made.Results)
	return f, a
}

// An import that goes on while somebody is asked whether to take it back is not taken
// back: the rows that came meanwhile would stay, and the import would count as undone.
func TestUndoOfAnImportThatGoesOn(t *testing.T) {
	t.Parallel()
	f, a := withAcme(t)
	path := writeFile(t, "leads.csv", "email,name\na@example.com,Ann\nnobody,Bob\nc@example.com,Cem\n")
	load := func(most int64) error {
		_, err := a.ImportContacts(t.Context(), app.ImportOptions{Tenant: "acme", File: app.ContactFile{Path: path,
			Read: importer.Options{Batch: 1, MaxRejects: most}}})
		return err
	}
	var tooMany *importer.TooManyRejectsError
	if err := load(importer.NoRejects); !errors.As(err, &tooMany) {
		t.Fatalf("the import did not stop: %v", err)
	}
	list, err := a.Imports(t.Context(), "acme", 0)
	if err != nil || len(list) != 1 || list[0].State != registry.ImportUnfinished {
		t.Fatalf("%+v, %v", list, err)
	}
	undo := app.UndoOptions{Tenant: "acme", ID: list[0].ID, LockTimeout: 5 * time.Second}
	undo.Confirm = func(registry.Import, importer.UndoResult) error { return load(0) }
	if _, err := a.UndoImport(t.Context(), undo); !errors.Is(err, registry.ErrImportMoved) {
		t.Errorf("error %v, want ErrImportMoved", err)
	}
	if n := f.Int(t, "select count(*) from tenant_acme.contacts"); n != 2 {
		t.Errorf("%d contacts, want 2", n)
	}
	undo.Confirm = nil
	if out, err := a.UndoImport(t.Context(), undo); err != nil || out.Removed != 2 || out.Left != 0 {
		t.Errorf("%+v, %v", out, err)
	}
}

// planned calls a function when an import has read the head of its file.
type planned func()

func (p planned) Planned(importer.Plan)        { p() }
func (p planned) Progressed(importer.Progress) {}

// What an import keeps while another one reads its file stays kept.
func TestUndoOfAnImportBesideAnother(t *testing.T) {
	t.Parallel()
	f, a := withAcme(t)
	load := func(name, text string, o importer.Observer) app.ImportResult {
		out, err := a.ImportContacts(t.Context(), app.ImportOptions{Tenant: "acme", File: app.ContactFile{
			Path: writeFile(t, name, text), Read: importer.Options{OnConflict: importer.ConflictUpdate, Observer: o}}})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	load("first.csv", "email,name\na@example.com,A\nb@example.com,B\nc@example.com,C\n", nil)
	load("second.csv", "email,name\nc@example.com,Changed\n", nil)
	var beside app.ImportResult
	load("slow.csv", "email,name\na@example.com,Changed\n", planned(func() {
		beside = load("quick.csv", "email,name\nb@example.com,Changed\n", nil)
	}))
	out, err := a.UndoImport(t.Context(), app.UndoOptions{Tenant: "acme", ID: beside.ID, LockTimeout: 5 * time.Second})
	if err != nil || out.PutBack != 1 {
		t.Errorf("%+v, %v", out, err)
	}
	if n := f.Int(t, "select count(*) from tenant_acme.contacts where email = 'b@example.com' and name = 'B'"); n != 1 {
		t.Error("the contact is not as it was")
	}
}
