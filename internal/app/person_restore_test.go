package app_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// Whatever brings an older state of a tenant back, an erased person stays away: a file, a
// directory, a copy, a copy of a copy, and a tenant that was moved to another database.
func TestErasedStayAway(t *testing.T) {
	t.Parallel()
	from, to, a, b := twoServers(t)
	a.Config.ErasureKeyFile = filepath.Join(t.TempDir(), "erasure.key")
	b.Config.ErasureKeyFile = a.Config.ErasureKeyFile
	annIn(t, from, "tenant_acme")
	dir := t.TempDir()
	file := filepath.Join(dir, saveAll(t, a, dir, "acme"))
	eraseAnn(t, a)
	wantAway := func(f *fleettest.Fleet, slug string) {
		t.Helper()
		if ann, all := anns(t, f, "tenant_"+slug), f.Int(t, "select count(*) from tenant_"+slug+".contacts"); ann != 0 ||
			all != 301 {
			t.Errorf("%s: %d contacts, %d of the erased person", slug, all, ann)
		}
	}
	wantAway(from, "acme")

	restoreAs(t, a, file, "file")
	wantAway(from, "file")
	if _, err := a.CloneTenant(t.Context(), app.CloneOptions{From: "file", To: "copy", LockTimeout: time.Second}); err != nil {
		t.Fatal(err)
	}
	wantAway(from, "copy")
	from.Exec(t, "drop schema tenant_acme cascade")
	got, err := a.RestoreDir(t.Context(), app.RestoreDirOptions{RestoreOptions: app.RestoreOptions{
		LockTimeout: 5 * time.Second}, Dir: dir, Chosen: all(t)})
	if err != nil || got.Summary.Done != 1 {
		t.Fatalf("%+v, %v", got, err)
	}
	wantAway(from, "acme")

	if _, err := a.TransferTenant(t.Context(), transferTo(b)); err != nil {
		t.Fatal(err)
	}
	wantAway(to, "acme")
	restoreAs(t, b, file, "there")
	wantAway(to, "there")
	again := filepath.Join(dir, saveAll(t, b, dir, "there"))
	restoreAs(t, b, again, "twice")
	wantAway(to, "twice")
	var same int64
	to.Scan(t, []any{&same}, "select count(distinct (hash, erased_at)) from public.tenant_erasures")
	if same != 1 {
		t.Errorf("%d erasures, want the one of the other registry", same)
	}
}

// The keys of a file are tried in turn; where none of them is that of an erasure nothing is
// restored. A lost key does not keep anybody from being erased.
func TestErasureKeys(t *testing.T) {
	t.Parallel()
	f, a := people(t, "acme")
	dir := t.TempDir()
	file := filepath.Join(dir, saveAll(t, a, dir, "acme"))
	eraseAnn(t, a)
	first, err := os.ReadFile(a.Config.ErasureKeyFile)
	if err != nil {
		t.Fatal(err)
	}
	write := func(lines ...string) {
		t.Helper()
		if err := os.WriteFile(a.Config.ErasureKeyFile, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	second := strings.Repeat("5a", 32)
	restore := func(as string) error {
		t.Helper()
		in, err := backup.OpenFile(file, nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = in.Close() }()
		conn := f.Connect(t)
		_, err = a.RestoreTenant(t.Context(), conn, in, app.RestoreOptions{As: as, LockTimeout: 5 * time.Second})
		return err
	}
	isKeyError := func(err error) bool { return errors.As(err, new(*app.ErasureKeyError)) }

	// Another key alone: nothing is restored, and nobody erased unless that is meant.
	write(second)
	if err := restore("lost"); !isKeyError(err) {
		t.Errorf("restored with another key: %v", err)
	}
	if _, err := a.ErasePerson(t.Context(), ann(t, all(t))); !isKeyError(err) {
		t.Errorf("erased with another key: %v", err)
	}
	o := ann(t, all(t))
	o.NewKey = true
	if _, err := a.ErasePerson(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if n := f.Int(t, "select count(distinct key_id) from public.tenant_erasures"); n != 2 {
		t.Errorf("%d keys", n)
	}
	// Rotated: the new one makes, the old one still finds.
	write("# 2026", second, "", "# before", string(first))
	if err := restore("both"); err != nil {
		t.Fatal(err)
	}
	if n := anns(t, f, "tenant_both"); n != 0 {
		t.Errorf("%d contacts of the erased person", n)
	}
	eraseAnn(t, a)
	if n := f.Int(t, "select count(*) from public.tenant_erasures"); n != 2 {
		t.Errorf("%d erasures: a new key was made", n)
	}
	for _, bad := range []string{"", "# nothing", second[:62], second + "\nzz"} {
		write(bad)
		if err := restore("bad"); !errors.As(err, new(*app.InputError)) || strings.Contains(err.Error(), second) {
			t.Errorf("key file %q: %v", bad, err)
		}
	}
}

// What an import or a merge of doubles had kept of an erased person does not come back with
// it, and the other contacts do.
func TestUndoAfterAnErasure(t *testing.T) {
	t.Parallel()
	f, a := withAcme(t)
	a.Config.ErasureKeyFile = filepath.Join(t.TempDir(), "erasure.key")
	load := func(text string) app.ImportResult {
		t.Helper()
		out, err := a.ImportContacts(t.Context(), app.ImportOptions{Tenant: "acme", File: app.ContactFile{
			Path: writeFile(t, "leads.csv", text), Read: importer.Options{OnConflict: importer.ConflictUpdate}}})
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	load("email,name,second_mail\nann@example.com,Ann,\nbob@example.com,Bob,\ncid@example.com,Cid,ann@example.com\n" +
		"dan@example.com,Dan,\ndan+x@example.com,Dan X,\nann+x@example.com,Not Ann,\n")
	changed := load("email,name,second_mail\nann@example.com,Changed,\nbob@example.com,Changed,\ncid@example.com,Changed,\n")
	merged, err := a.Dedupe(t.Context(), app.DedupeOptions{Tenant: "acme"})
	if err != nil || merged.Groups != 2 {
		t.Fatalf("%+v, %v", merged, err)
	}
	eraseAnn(t, a)
	names := func() string {
		list := texts(t, f, "select name from tenant_acme.contacts order by 1")
		return strings.Join(list, ", ")
	}
	if got := names(); got != "Changed, Dan" {
		t.Errorf("after the erasure: %s", got)
	}
	if _, err := a.UndoDedupe(t.Context(), app.DedupeUndoOptions{Tenant: "acme", ID: merged.ID}); err != nil {
		t.Errorf("take back the merge: %v", err)
	}
	if _, err := a.UndoImport(t.Context(), app.UndoOptions{Tenant: "acme", ID: changed.ID,
		LockTimeout: time.Second}); err != nil {
		t.Errorf("take back the import: %v", err)
	}
	if got := names(); got != "Bob, Dan, Dan X" {
		t.Errorf("after both: %s", got)
	}
	if n := anns(t, f, "tenant_acme"); n != 0 {
		t.Errorf("%d contacts of the erased person", n)
	}
	if n := f.Int(t, `select count(*) from tenant_acme.crmctl_import_undo u where to_jsonb(u)::text like '%ann@%'`); n != 0 {
		t.Errorf("%d rows are kept of the erased person", n)
	}
}

// A backup that is made while a person is being erased, before the person's tenant had its
// turn, does not bring the person back.
func TestSavedDuringAnErasure(t *testing.T) {
	t.Parallel()
	f, a := people(t, "acme")
	dir := t.TempDir()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	holder := f.Connect(t)
	if _, err := holder.Exec(ctx, "begin; lock table tenant_acme.contacts in exclusive mode"); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := a.ErasePerson(ctx, ann(t, all(t)))
		ended <- err
	}()
	for f.Int(t, "select count(*) from pg_locks where not granted") == 0 && ctx.Err() == nil {
		time.Sleep(5 * time.Millisecond)
	}
	saver, _ := open(t, f, "")
	file := saveAll(t, saver, dir, "acme")
	if _, err := holder.Exec(ctx, "rollback"); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	restoreAs(t, a, filepath.Join(dir, file), "again")
	if n := anns(t, f, "tenant_again"); n != 0 {
		t.Errorf("%d contacts of the erased person", n)
	}
	if !slices.Equal(texts(t, f, "select name from tenant_again.contacts"), []string{"Bob"}) {
		t.Error("the others are not there")
	}
}
