package backup

import (
	"errors"
	"fmt"
	"io/fs"
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
	Reason string // "day 2026-11-24", "newest", "damaged" or "" for a file that goes
}

// PlanPrune decides which of the entries of List go. Days, weeks (from Monday) and
// months are those of UTC. A period without a backup does not count, so that a
// tenant whose backups have stopped keeps its old ones. Files that are not whole
// neither count nor go, and the newest whole one of a tenant always stays.
func PlanPrune(entries []Entry, k Keep) []Pruned {
	out := make([]Pruned, len(entries))
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
		if !newest[e.Name.Slug] {
			newest[e.Name.Slug] = true
			out[i].Reason = "newest"
		}
		at := e.Name.TakenAt.UTC()
		year, week := at.ISOWeek()
		for _, rule := range []struct {
			keep   int
			period string
		}{
			{k.Days, "day " + at.Format(time.DateOnly)},
			{k.Weeks, fmt.Sprintf("week %d-%02d", year, week)},
			{k.Months, "month " + at.Format("2006-01")},
			{k.Years, "year " + at.Format("2006")},
		} {
			kind, _, _ := strings.Cut(rule.period, " ")
			s := states[e.Name.Slug+" "+kind]
			if s == nil {
				s = &seen{}
				states[e.Name.Slug+" "+kind] = s
			}
			if s.count < rule.keep && s.last != rule.period {
				s.count++
				s.last = rule.period
				if out[i].Reason == "" || out[i].Reason == "newest" {
					out[i].Reason = rule.period
				}
			}
		}
		out[i].Remove = out[i].Reason == ""
	}
	return out
}

// Prune removes the files that a plan wants removed. It goes on after a file that
// cannot be removed; the error holds all causes, and those files stay marked with
// a reason.
func (d *Dir) Prune(plan []Pruned) error {
	var failed []error
	for i := range plan {
		p := &plan[i]
		if !p.Remove {
			continue
		}
		if err := d.root.Remove(p.File); err != nil && !errors.Is(err, fs.ErrNotExist) {
			p.Remove, p.Reason = false, "cannot be removed"
			failed = append(failed, err)
		}
	}
	return errors.Join(append(failed, d.sync())...)
}
