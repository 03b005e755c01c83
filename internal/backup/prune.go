package backup

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"
	"time"
)

// Keep says how many backups of each tenant are kept: the newest of each of the
// last so many days, weeks, months and years that have one.
type Keep struct{ Days, Weeks, Months, Years int }

// ParseKeep reads "7d,4w,6m".
func ParseKeep(text string) (Keep, error) {
	var k Keep
	for part := range strings.SplitSeq(text, ",") {
		part = strings.TrimSpace(part)
		var into *int
		switch {
		case strings.HasSuffix(part, "d"):
			into = &k.Days
		case strings.HasSuffix(part, "w"):
			into = &k.Weeks
		case strings.HasSuffix(part, "m"):
			into = &k.Months
		case strings.HasSuffix(part, "y"):
			into = &k.Years
		}
		if into == nil {
			return Keep{}, fmt.Errorf("%q: want numbers of days, weeks, months or years, like 7d,4w,6m", text)
		}
		n, err := strconv.ParseUint(part[:len(part)-1], 10, 16)
		if err != nil || *into != 0 {
			return Keep{}, fmt.Errorf("%q: want numbers of days, weeks, months or years, like 7d,4w,6m", text)
		}
		*into = int(n)
	}
	if k == (Keep{}) {
		return Keep{}, fmt.Errorf("%q keeps nothing", text)
	}
	return k, nil
}

// String returns the form that ParseKeep reads.
func (k Keep) String() string {
	var parts []string
	for _, p := range []struct {
		n    int
		unit string
	}{{k.Days, "d"}, {k.Weeks, "w"}, {k.Months, "m"}, {k.Years, "y"}} {
		if p.n > 0 {
			parts = append(parts, strconv.Itoa(p.n)+p.unit)
		}
	}
	return strings.Join(parts, ",")
}

// Pruned is what Prune thinks of one file.
type Pruned struct {
	Entry

	Remove bool
	Reason string // "day 2026-11-24", "newest", "damaged", "unproven" or "" for a file that goes
}

// PlanPrune decides which of the files of a directory go. Days, weeks (from Monday)
// and months are those of UTC. A period without a backup does not count, so that a
// tenant whose backups have stopped keeps its old ones. Files that are not whole
// neither count nor go, and the newest whole one of a tenant always stays.
//
// Whatever is kept of a tenant that loses a file was read from end to end: a file that
// turns out not to be what was written does not count, and an older one stays in its
// place. One of which that cannot be told stays where it would count, but counts for
// nothing.
func (d *Dir) PlanPrune(ctx context.Context, k Keep, o ProveOptions) ([]Pruned, error) {
	entries, err := d.List(nil)
	if err != nil {
		return nil, err
	}
	for {
		plan := planPrune(entries, k)
		losing := map[string]bool{}
		for i := range plan {
			losing[plan[i].Name.Slug] = losing[plan[i].Name.Slug] || plan[i].Remove
		}
		var unread []*Entry
		for i, p := range plan {
			if losing[p.Name.Slug] && !p.Remove && p.Err == nil && p.Proof == ProofNone {
				unread = append(unread, &entries[i])
			}
		}
		if len(unread) == 0 {
			return plan, nil
		}
		if err := d.Prove(ctx, unread, o); err != nil {
			return nil, err
		}
	}
}

// planPrune decides by what is known of the entries, which are as List returns them.
// A file that was not read is taken for a whole one.
func planPrune(entries []Entry, k Keep) []Pruned {
	out := make([]Pruned, len(entries))
	latest := latestTaken(entries)
	type seen struct {
		count int
		last  string
	}
	states := map[string]*seen{} // by tenant and kind of period
	newest := map[string]bool{}
	for i, e := range entries {
		out[i].Entry = e
		if e.Err != nil {
			out[i].Reason = "damaged"
			continue
		}
		proven := e.Proof != ProofMissing
		if !newest[e.Name.Slug] {
			newest[e.Name.Slug] = proven
			out[i].Reason = "newest"
		} else if latest[e.Name.Slug] == i {
			out[i].Reason = "the newest by what it holds"
		}
		for _, rule := range k.rules(e.Name.TakenAt) {
			kind, _, _ := strings.Cut(rule.period, " ")
			s := states[e.Name.Slug+" "+kind]
			if s == nil {
				s = &seen{}
				states[e.Name.Slug+" "+kind] = s
			}
			if s.count >= rule.keep || s.last == rule.period {
				continue
			}
			if proven {
				s.count++
				s.last = rule.period
			}
			if out[i].Reason == "" || out[i].Reason == "newest" {
				out[i].Reason = rule.period
			}
		}
		out[i].Remove = out[i].Reason == ""
		if !proven && !out[i].Remove {
			out[i].Reason = "unproven"
		}
	}
	return out
}

// latestTaken returns for each tenant which of the files holds its latest moment,
// where they say so: a file may have been given the name of another time.
func latestTaken(entries []Entry) map[string]int {
	latest := map[string]int{}
	for i, e := range entries {
		if e.Err != nil || e.Manifest == nil {
			continue
		}
		if j, ok := latest[e.Name.Slug]; !ok || e.Manifest.TakenAt.After(entries[j].Manifest.TakenAt) {
			latest[e.Name.Slug] = i
		}
	}
	return latest
}

type keepRule struct {
	keep   int
	period string // "day 2026-11-24"
}

// rules returns the periods that a moment falls into, and how many of each kind are
// kept.
func (k Keep) rules(at time.Time) []keepRule {
	at = at.UTC()
	year, week := at.ISOWeek()
	return []keepRule{
		{k.Days, "day " + at.Format(time.DateOnly)},
		{k.Weeks, fmt.Sprintf("week %d-%02d", year, week)},
		{k.Months, "month " + at.Format("2006-01")},
		{k.Years, "year " + at.Format("2006")},
	}
}

// LockPrune keeps another prune out of the directory until the lock is released, by
// the end of the process too: two rules at once could remove what each of them relies
// on. The error is ErrLocked where one is at work. File systems without locks have
// none.
func (d *Dir) LockPrune() (release func(), err error) {
	f, err := d.root.Open(".")
	if err != nil {
		return nil, err
	}
	if locked(f) {
		_ = f.Close()
		return nil, ErrLocked
	}
	return func() { _ = f.Close() }, nil
}

// Prune removes the files that a plan wants removed, each with its checksum, and
// checksums whose files are gone. It goes on after a file that cannot be removed; the
// error holds all causes, and those files stay marked with a reason. Of a tenant whose
// kept files are not those any more that were read, nothing is removed.
func (d *Dir) Prune(plan []Pruned) error {
	var failed []error
	whole, moved := map[string]bool{}, map[string]bool{}
	for _, p := range plan {
		if p.Remove || p.Err != nil || p.Proof != ProofWhole {
			continue
		}
		whole[p.Name.Slug] = true
		if now, err := d.root.Lstat(p.File); err != nil || !sameFile(p.seen, now) {
			moved[p.Name.Slug] = true
			failed = append(failed, fmt.Errorf("%s was changed after it had been read: nothing that relies on it was removed",
				d.Path(p.File)))
		}
	}
	for i := range plan {
		p := &plan[i]
		if !p.Remove {
			continue
		}
		if moved[p.Name.Slug] || !whole[p.Name.Slug] {
			p.Remove, p.Reason = false, "what is kept was changed"
			continue
		}
		if err := d.Remove(p.File); err != nil {
			p.Remove, p.Reason = false, "cannot be removed"
			failed = append(failed, err)
		}
	}
	gone, err := d.orphans()
	failed = append(failed, err)
	for _, beside := range gone {
		failed = append(failed, d.removeOrphan(beside))
	}
	return errors.Join(append(failed, d.sync())...)
}

// Remove removes a backup and its checksum.
func (d *Dir) Remove(file string) error {
	if err := ignoreGone(d.root.Remove(file)); err != nil {
		return err
	}
	if name, ok := ParseName(file); ok && name.needsChecksum() {
		// It is of no use alone: the next prune tries again.
		_ = d.root.Remove(file + checksumSuffix)
	}
	return nil
}

func sameFile(a, b fs.FileInfo) bool {
	return a != nil && os.SameFile(a, b) && a.Size() == b.Size() && a.ModTime().Equal(b.ModTime())
}
