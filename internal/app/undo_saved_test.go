package app_test

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
)

// contactsOf returns all of a tenant's contacts that an import could change.
func contactsOf(t *testing.T, f *fleettest.Fleet, slug string) []string {
	t.Helper()
	list, err := db.Select(t.Context(), f.Connect(t), pgx.RowTo[string],
		"select c::text from tenant_"+slug+".contacts c order by c.id")
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// someContacts is a file of people who are known already, or not.
func someContacts(r *rand.Rand) string {
	text := "email,name,phone,company,rank\n"
	for range 1 + r.IntN(12) {
		n := r.IntN(10)
		text += fmt.Sprintf("p%d@example.com,%s,%s,%s,%d\n", n, []string{"", "Ann", `"Bo ""B"" \\"`, "Cem"}[r.IntN(4)],
			[]string{"", "+49 30 123456", "+49 30 654321"}[r.IntN(3)], []string{"", "Ä(ö),ß"[:2]}[r.IntN(2)], r.IntN(3))
	}
	return text
}

func importOnce(t *testing.T, a *app.App, slug, text string, o importer.Options) {
	t.Helper()
	_, err := a.ImportContacts(t.Context(), app.ImportOptions{Tenant: slug, File: app.ContactFile{
		Path: writeFile(t, "people.csv", text), Read: o}})
	if err != nil {
		t.Fatal(err)
	}
}

// undoNth takes back the n-th import of a tenant, and returns what became of it.
func undoNth(t *testing.T, a *app.App, slug string, n int) app.UndoResult {
	t.Helper()
	list, err := a.Imports(t.Context(), slug, 0)
	if err != nil || len(list) <= n {
		t.Fatalf("imports of %s: %d, %v", slug, len(list), err)
	}
	out, err := a.UndoImport(t.Context(), app.UndoOptions{Tenant: slug, ID: list[len(list)-1-n].ID,
		LockTimeout: 5 * time.Second})
	if err != nil {
		t.Fatalf("%s, import %d: %v", slug, n, err)
	}
	return out
}

// again makes a tenant out of another, by a backup or as a copy.
func again(t *testing.T, a *app.App, how, from, to string) {
	t.Helper()
	if how == "clone" {
		if _, err := a.CloneTenant(t.Context(), app.CloneOptions{From: from, To: to, LockTimeout: 5 * time.Second}); err != nil {
			t.Fatal(err)
		}
		return
	}
	dir := t.TempDir()
	path := filepath.Join(dir, saveAll(t, a, dir, from))
	found, err := a.VerifyBackups(t.Context(), app.VerifyOptions{Paths: []string{path}, Restore: true})
	if err != nil || !found[0].Restores {
		t.Fatalf("verify: %+v, %v", found, err)
	}
	restoreAs(t, a, path, to)
}

// Where a tenant was restored or copied, once or again, its imports can be taken back as
// where it came from: also those before and after, those that were taken back in between,
// and in both tenants.
func TestUndoAfterRestore(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"restore", "clone"} {
		for seed := range uint64(5) {
			t.Run(fmt.Sprintf("%s/%d", how, seed), func(t *testing.T) {
				t.Parallel()
				undoAfter(t, how, rand.New(rand.NewPCG(seed, 3)))
			})
		}
	}
}

func undoAfter(t *testing.T, how string, r *rand.Rand) {
	t.Helper()
	f, a := withAcme(t)
	policies := []importer.ConflictPolicy{importer.ConflictUpdate, importer.ConflictMerge, importer.ConflictSkip}
	slug, moves := "acme", 1+r.IntN(2)
	const imports = 6
	var before [][]string
	var undone []int
	for n := range imports {
		before = append(before, contactsOf(t, f, slug))
		importOnce(t, a, slug, someContacts(r), importer.Options{OnConflict: policies[r.IntN(3)], Batch: int64(r.IntN(2) * 4)})
		if n > 0 && r.IntN(3) == 0 {
			undoNth(t, a, slug, n)
			undone = append(undone, n)
		}
		if moves > 0 && (n == imports-1 || r.IntN(3) == 0) {
			moves--
			again(t, a, how, slug, fmt.Sprintf("again%d", moves))
			if there, here := contactsOf(t, f, slug), contactsOf(t, f, fmt.Sprintf("again%d", moves)); !slices.Equal(there, here) {
				t.Fatalf("%q, want %q", here, there)
			}
			slug = fmt.Sprintf("again%d", moves)
		}
	}
	for n := imports - 1; n >= 0; n-- {
		if slices.Contains(undone, n) {
			continue
		}
		if out := undoNth(t, a, slug, n); out.Left != 0 {
			t.Errorf("import %d: %+v", n, out.UndoResult)
		}
		if got := contactsOf(t, f, slug); !slices.Equal(got, before[n]) {
			t.Fatalf("before import %d:\n%s\nwant\n%s", n, strings.Join(got, "\n"), strings.Join(before[n], "\n"))
		}
	}
}

// What was changed before the backup, or after the restore, stays; so does what is referred
// to.
func TestUndoAfterRestoreLeavesWhatChanged(t *testing.T) {
	t.Parallel()
	for _, how := range []string{"restore", "clone"} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			f, a := withAcme(t)
			importOnce(t, a, "acme", "email,name\na@example.com,A\nb@example.com,B\nc@example.com,C\nd@example.com,D\n",
				importer.Options{})
			importOnce(t, a, "acme", "email,name\na@example.com,AA\nb@example.com,BB\ne@example.com,E\nf@example.com,F\n",
				importer.Options{})
			f.Exec(t, "update tenant_acme.contacts set name = 'before' where email in ('a@example.com', 'e@example.com')",
				"update tenant_acme.contacts set created_at = created_at - interval '1 day' where email = 'd@example.com'")
			again(t, a, how, "acme", "twin")
			list, err := a.Imports(t.Context(), "twin", 0)
			if err != nil || len(list) != 2 || list[0].File != "people.csv" || list[0].State != registry.ImportDone {
				t.Fatalf("%+v, %v", list, err)
			}
			f.Exec(t, "update tenant_twin.contacts set name = 'after' where email = 'f@example.com'")
			out := undoNth(t, a, "twin", 1)
			if out.PutBack != 1 || out.Removed != 0 || fmt.Sprint(out.LeftBy) != "map[changed:3]" {
				t.Errorf("the second: %+v", out.UndoResult)
			}
			f.Exec(t, "insert into tenant_twin.conversations (contact_id, channel) select id, 'email' from "+
				"tenant_twin.contacts where email = 'b@example.com'")
			out = undoNth(t, a, "twin", 0)
			if out.Removed != 1 || fmt.Sprint(out.LeftBy) != "map[changed:2 referenced:1]" {
				t.Errorf("the first: %+v", out.UndoResult)
			}
			// Where it came from all is as it was.
			if out := undoNth(t, a, "acme", 1); out.PutBack != 1 || out.Removed != 1 {
				t.Errorf("there: %+v", out.UndoResult)
			}
		})
	}
}

// Taken back in another order, what a later import has changed stays, in a restored tenant as
// elsewhere.
func TestUndoAfterRestoreOutOfOrder(t *testing.T) {
	t.Parallel()
	f, a := withAcme(t)
	for _, name := range []string{"One", "Two", "Three"} {
		importOnce(t, a, "acme", "email,name\na@example.com,"+name+"\n", importer.Options{})
	}
	again(t, a, "restore", "acme", "twin")
	for _, slug := range []string{"acme", "twin"} {
		if out := undoNth(t, a, slug, 2); out.PutBack != 1 {
			t.Errorf("%s, the last: %+v", slug, out.UndoResult)
		}
		if out := undoNth(t, a, slug, 0); out.Removed != 0 || out.Left != 1 {
			t.Errorf("%s, the first: %+v", slug, out.UndoResult)
		}
		if out := undoNth(t, a, slug, 1); out.PutBack != 1 {
			t.Errorf("%s, the second: %+v", slug, out.UndoResult)
		}
		if n := f.Int(t, "select count(*) from tenant_"+slug+".contacts where name = 'One'"); n != 1 {
			t.Errorf("%s: %q", slug, contactsOf(t, f, slug))
		}
	}
}
