package main

import (
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tabular"
)

// Each phase of an import says what it does, and rows a second have their unit.
func TestImportPhasesAreNamed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	w := &importWatch{f: b.factory(t)}
	w.Progressed(importer.Progress{Phase: importer.PhaseReceive, Bytes: 4 << 20, Elapsed: 2 * time.Second})
	steps := []struct {
		at           importer.Progress
		status, rate string
	}{
		{importer.Progress{Phase: importer.PhaseLoad, Read: 3000, Rejected: 2, Elapsed: 2 * time.Second},
			"read 3,000   rejected 2", "1,500 rows/s"},
		{importer.Progress{Phase: importer.PhaseMerge, Read: 3000, Elapsed: 3 * time.Second, Step: 1499, Steps: 2998,
			What: "2998"},
			"merging 2998 rows for ", "1,000 rows/s"},
		{importer.Progress{Phase: importer.PhaseIndex, Read: 3000, Elapsed: 4 * time.Second, Step: 1, Steps: 4,
			What: "idx_contacts_phone"}, "building index 2 of 4, idx_contacts_phone, for ", "750 rows/s"},
	}
	if got := w.status() + w.rate(); !strings.Contains(got, "nothing is locked") || strings.Contains(got, "rows") {
		t.Errorf("while receiving: %s", got)
	}
	w.Planned(importer.Plan{FileName: "leads.csv", Size: 4 << 20, Format: tabular.Format{Encoding: "utf-8", Delimiter: ',',
		HeaderRow: 1}})
	for _, step := range steps {
		w.Progressed(step.at)
		if got := w.status(); !strings.Contains(got, step.status) || w.rate() != step.rate {
			t.Errorf("%s: %q, %q", step.at.Phase, got, w.rate())
		}
	}
	w.finish()
}

// When a file was imported before is told in the time zone that was asked for.
func TestImportedBeforeInTheZoneAskedFor(t *testing.T) {
	t.Parallel()
	before := registry.Import{StartedAt: time.Date(2026, 11, 23, 20, 15, 4, 0, time.UTC), Actor: "alice@desk"}
	got := sameFileText(cli.Presentation{Loc: time.FixedZone("east", 5*3600)}, before)
	if want := "imported 2026-11-24 01:15 by alice@desk"; !strings.Contains(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Where most rows have no address but a number, it is said by which key they could be known.
func TestAnotherKeyIsNamed(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		r    importer.Result
		key  importer.Key
		want bool
	}{
		{importer.Result{Read: 10, NoAddress: 8, ByPhone: 7}, importer.KeyEmail, true},
		{importer.Result{Read: 10, NoAddress: 8, ByPhone: 7}, importer.KeyPhone, false},
		{importer.Result{Read: 10, NoAddress: 5, ByPhone: 5}, importer.KeyEmail, false},
		{importer.Result{Read: 10, NoAddress: 8, ByPhone: 4}, importer.KeyEmail, false},
		{importer.Result{}, importer.KeyEmail, false},
	} {
		if got := keyHint(tt.r, tt.key); (got != "") != tt.want || len(got) > 80 {
			t.Errorf("%+v by %s: %q", tt.r, tt.key, got)
		}
	}
}
