package importer

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/db"
)

// everySQL is all of the contacts that an import could change, with their ids and times.
const everySQL = "select id::text, email, phone, name, company, metadata::text, created_at, updated_at from contacts " +
	"order by id"

// keepID is the n-th id under which an import of a test is kept.
func keepID(n int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", n) }

// taken is an import of a test that can be taken back.
type taken struct {
	key   string
	parts []Part
}

func importKept(t *testing.T, conn *pgx.Conn, text string, o Options, n int) (Result, taken) {
	t.Helper()
	o.Keep = keepID(n)
	r := importText(t, conn, text, o)
	k := taken{key: o.Keep}
	if r.Part != nil {
		k.parts = append(k.parts, *r.Part)
	}
	return r, k
}

func undoOf(t *testing.T, conn *pgx.Conn, schema db.Schema, k taken, dryRun bool) UndoResult {
	t.Helper()
	r, err := Undo(t.Context(), conn, UndoOptions{Schema: schema, Import: k.key, Parts: k.parts, DryRun: dryRun})
	if err != nil {
		t.Fatalf("undo: %v", err)
	}
	return r
}

// Imports that are taken back, the last first, leave the contacts as they were before
// each, to the microsecond, whatever collided with what; and a dry run foretells it.
func TestUndoRestores(t *testing.T) {
	t.Parallel()
	for _, policy := range []ConflictPolicy{ConflictUpdate, ConflictMerge, ConflictSkip, ConflictError} {
		for _, key := range []Key{KeyEmail, KeyEmailPhone} {
			for path, directFrom := range paths {
				t.Run(fmt.Sprintf("%s/%s/%s", policy, key, path), func(t *testing.T) {
					t.Parallel()
					conn, schema := crmtest.Tenant(t)
					o := Options{Schema: schema, OnConflict: policy, Key: key, directFrom: directFrom}
					for seed := range uint64(4) {
						if seed >= 2 {
							o.sliceFrom = 1
						}
						undoRestores(t, conn, o, seed)
					}
				})
			}
		}
	}
}

func undoRestores(t *testing.T, conn *pgx.Conn, o Options, seed uint64) {
	t.Helper()
	crmtest.Exec(t, conn, o.Schema, "delete from contacts")
	r := rand.New(rand.NewPCG(seed, 7))
	const imports = 4
	var before [][]string
	var done []taken
	var results []Result
	for n := range imports {
		file, _ := dirtyFile(r, 1+r.IntN(20))
		before = append(before, crmtest.List(t, conn, o.Schema, everySQL))
		result, k := importKept(t, conn, file, o, n)
		done, results = append(done, k), append(results, result)
		if n == 2 { // taken back in between: what comes later stands on what was put back
			undoOf(t, conn, o.Schema, k, false)
			crmtest.SameLines(t, "taken back at once", crmtest.List(t, conn, o.Schema, everySQL), before[n])
		}
	}
	for n := imports - 1; n >= 0; n-- {
		if n == 2 {
			continue
		}
		foretold := undoOf(t, conn, o.Schema, done[n], true)
		got := undoOf(t, conn, o.Schema, done[n], false)
		if got.Removed != results[n].Inserted || got.PutBack != results[n].Updated || got.Left != 0 ||
			foretold.Removed != got.Removed || foretold.PutBack != got.PutBack {
			t.Errorf("seed %d: undo of import %d (%s): %+v, foretold %+v", seed, n, tally(results[n]), got, foretold)
		}
		crmtest.SameLines(t, fmt.Sprintf("seed %d, before import %d", seed, n), crmtest.List(t, conn, o.Schema, everySQL),
			before[n])
	}
}

// What was changed since, or is referred to, stays, and is named with the reason.
func TestUndoLeavesWhatChanged(t *testing.T) {
	t.Parallel()
	for path, directFrom := range paths {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			o := Options{Schema: schema, directFrom: directFrom}
			first, one := importKept(t, conn, "email,name\na@example.com,A\nb@example.com,B\nc@example.com,C\nd@example.com,D\n", o, 0)
			_, two := importKept(t, conn, "email,name,phone\na@example.com,AA,1\nb@example.com,BB,2\nc@example.com,CC,3\nn@example.com,N,4\n",
				o, 1)
			if first.Inserted != 4 {
				t.Fatal(tally(first))
			}
			crmtest.Exec(t, conn, schema,
				"update contacts set name = 'changed' where email = 'a@example.com'", // and not updated_at
				"delete from contacts where email = 'b@example.com'",
				"insert into conversations (contact_id, channel) select id, 'email' from contacts where email in "+
					"('n@example.com', 'd@example.com')")
			got := undoOf(t, conn, schema, two, false)
			if got.Removed != 0 || got.PutBack != 1 || fmt.Sprint(got.LeftBy) != "map[changed:1 gone:1 referenced:1]" ||
				got.Left != 3 || len(got.Kept) != 3 || got.Kept[0].Email != "a@example.com" {
				t.Errorf("the second: %+v", got)
			}
			crmtest.Exec(t, conn, schema, "delete from conversations where contact_id = (select id from contacts where email "+
				"= 'n@example.com')")
			if again := undoOf(t, conn, schema, two, false); again.Removed != 1 || again.PutBack != 0 || again.Left != 2 {
				t.Errorf("the second again: %+v", again)
			}
			got = undoOf(t, conn, schema, one, false)
			if got.Removed != 1 || fmt.Sprint(got.LeftBy) != "map[changed:1 referenced:1]" {
				t.Errorf("the first: %+v", got)
			}
			crmtest.SameLines(t, "contacts", contacts(t, conn, schema), []string{"a@example.com|1|changed||{}",
				"d@example.com||D||{}"})
			if n := crmtest.List(t, conn, schema, "select count(*) from conversations"); n[0] != "1" {
				t.Errorf("%s conversations, want 1", n[0])
			}
		})
	}
}

// An address that another contact has taken meanwhile does not go back.
func TestUndoAddressTaken(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, "insert into contacts (email, phone) values ('old@example.com', '+491')")
	_, k := importKept(t, conn, "email,phone\nnew@example.com,+491\n", Options{Schema: schema, Key: KeyPhone}, 0)
	crmtest.Exec(t, conn, schema, "insert into contacts (email) values ('old@example.com')")
	got := undoOf(t, conn, schema, k, false)
	if got.PutBack != 0 || fmt.Sprint(got.LeftBy) != "map[email_taken:1]" {
		t.Errorf("got %+v", got)
	}
	crmtest.SameLines(t, "contacts", contacts(t, conn, schema), []string{"new@example.com|+491|||{}",
		"old@example.com||||{}"})
}

// What is kept goes when its import cannot be taken back any more, a role without the
// right to make tables imports all the same, and the table of an application's own keeps
// nothing.
func TestKeptNoLongerThanAsked(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	file := func(name string) string { return "email,name\na@example.com," + name + "\n" }
	importKept(t, conn, file("A"), Options{Schema: schema}, 0)
	importKept(t, conn, file("B"), Options{Schema: schema}, 1)
	importKept(t, conn, file("C"), Options{Schema: schema}, 2)
	if n := crmtest.List(t, conn, schema, "select count(*) from "+UndoTable); n[0] != "2" {
		t.Errorf("%s are kept, want 2", n[0])
	}
	importText(t, conn, file("D"), Options{Schema: schema, Keep: keepID(3), Expired: []string{keepID(1)}})
	crmtest.SameLines(t, "kept", crmtest.List(t, conn, schema, "select import_id::text, name from "+UndoTable+
		" order by 1"),
		[]string{keepID(2) + "|B", keepID(3) + "|C"})
	all := Options{Schema: schema, Expired: []string{keepID(2), keepID(3)}}
	if r := importText(t, conn, file("E"), all); r.Part != nil {
		t.Errorf("an import that is not kept: %+v", r.Part)
	}
	if n := crmtest.List(t, conn, schema, "select count(*) from "+UndoTable); n[0] != "0" {
		t.Errorf("%s are kept, want none", n[0])
	}
}

// A contact that others change while the import reads it is kept as it is replaced.
func TestKeptIsWhatWasReplaced(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	importKept(t, conn, "email,name\na@example.com,A\n", Options{Schema: schema}, 0)
	other := crmtest.Connect(t, connString(conn))
	if _, err := other.Exec(t.Context(), "begin"); err != nil {
		t.Fatal(err)
	}
	if _, err := other.Exec(t.Context(), "update "+contactsOf(schema)+" set name = 'X', phone = '7'"); err != nil {
		t.Fatal(err)
	}
	done := make(chan taken)
	go func() {
		_, k := importKept(t, conn, "email,name\na@example.com,B\n", Options{Schema: schema,
			LockTimeout: 30 * time.Second}, 1)
		done <- k
	}()
	time.Sleep(500 * time.Millisecond) // it waits for the row by now; otherwise the test shows less
	if _, err := other.Exec(t.Context(), "commit"); err != nil {
		t.Fatal(err)
	}
	k := <-done
	crmtest.SameLines(t, "imported", contacts(t, conn, schema), []string{"a@example.com|7|B||{}"})
	if got := undoOf(t, conn, schema, k, false); got.PutBack != 1 {
		t.Errorf("got %+v", got)
	}
	crmtest.SameLines(t, "taken back", contacts(t, conn, schema), []string{"a@example.com|7|X||{}"})
}
