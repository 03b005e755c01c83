package importer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/db"
)

// errStopped stands for whatever ends an import in the middle.
var errStopped = errors.New("stopped")

// importStopped imports in batches and is stopped before the commit of the n-th; it
// returns how far it came as the last commit says.
func importStopped(t *testing.T, conn *pgx.Conn, text string, o Options, n int) (Result, *Checkpoint, []Part) {
	t.Helper()
	var at *Checkpoint
	var parts []Part
	o.AfterLoad = func(_ context.Context, _ db.Querier, r Result) error {
		if n--; n < 0 {
			return errStopped
		}
		c := r.Checkpoint
		c.Counts = r.Counts()
		at = &c
		if r.Part != nil {
			parts = append(parts, *r.Part)
		}
		return nil
	}
	r, err := Import(t.Context(), conn, bytes.NewReader([]byte(text)), o)
	if err != nil && !errors.Is(err, errStopped) {
		t.Fatal(err)
	}
	return r, at, parts
}

// Wherever an import in batches is stopped, it goes on there: the contacts, the counts and
// the rejected rows are those of one that was never stopped, and all of it can be taken
// back.
func TestBatchesGoOn(t *testing.T) {
	t.Parallel()
	for _, policy := range []ConflictPolicy{ConflictUpdate, ConflictMerge, ConflictSkip, ConflictError} {
		for _, key := range []Key{KeyEmail, KeyEmailPhone} {
			t.Run(fmt.Sprintf("%s/%s", policy, key), func(t *testing.T) {
				t.Parallel()
				for seed := range uint64(3) {
					batchesGoOn(t, policy, key, seed)
				}
			})
		}
	}
}

func batchesGoOn(t *testing.T, policy ConflictPolicy, key Key, seed uint64) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 11))
	before, _ := dirtyFile(r, 5)
	file, rows := dirtyFile(r, 20+r.IntN(15))
	batch := int64(1 + r.IntN(7))
	tenant := func(name string) (*pgx.Conn, Options) {
		conn, schema := crmtest.Tenant(t)
		importText(t, conn, before, Options{Schema: schema})
		return conn, Options{Schema: schema, OnConflict: policy, Key: key, Batch: batch,
			RejectPath: filepath.Join(t.TempDir(), name+".csv")}
	}
	conn, o := tenant("whole")
	whole := importText(t, conn, file, o)
	want, wantRejects := contacts(t, conn, o.Schema), rejectText(t, whole)

	stopped, o2 := tenant("stopped")
	o2.Keep = keepID(0)
	untouched := crmtest.List(t, stopped, o2.Schema, everySQL)
	var parts []Part
	var got Result
	for o2.From == nil || got.Unfinished {
		n := r.IntN(3)
		result, at, done := importStopped(t, stopped, file, o2, n)
		if at != nil {
			if c := result.Counts(); fmt.Sprint(c) != fmt.Sprint(at.Counts) {
				t.Fatalf("seed %d: the result says %+v, the last commit %+v", seed, c, at.Counts)
			}
			o2.From = at
		}
		got, parts = result, append(parts, done...)
		if at == nil && n > 0 {
			break
		}
	}
	if tally(got) != tally(whole) || got.Read != int64(len(rows)) {
		t.Errorf("seed %d, batches of %d: got %s, want %s", seed, batch, tally(got), tally(whole))
	}
	crmtest.SameLines(t, fmt.Sprintf("seed %d: contacts", seed), contacts(t, stopped, o2.Schema), want)
	if gotRejects := rejectText(t, got); gotRejects != wantRejects {
		t.Errorf("seed %d: rejected rows\n%s\nwant\n%s", seed, gotRejects, wantRejects)
	}
	undone := undoOf(t, stopped, o2.Schema, taken{key: o2.Keep, parts: parts}, false)
	if undone.Left != 0 {
		t.Errorf("seed %d: %+v", seed, undone)
	}
	crmtest.SameLines(t, fmt.Sprintf("seed %d: taken back", seed), crmtest.List(t, stopped, o2.Schema,
		everySQL), untouched)
}

// rejectText returns what is in a result's reject file, "" where there is none.
func rejectText(t *testing.T, r Result) string {
	t.Helper()
	if r.RejectFile == "" {
		return ""
	}
	return readFile(t, r.RejectFile)
}
