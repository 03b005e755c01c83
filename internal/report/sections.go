package report

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"

	"github.com/crmctl/crmctl/internal/doctor"
	"github.com/crmctl/crmctl/internal/registry"
)

// section returns a section of a fleet's page. What was not read says so in its place.
func (v view) section(f *Fleet, s Section) section {
	kinds := map[Section]struct {
		title string
		make  func(*Fleet) (lead string, blocks []block)
	}{
		Sizes:    {"Sizes and growth", v.sizes},
		Versions: {"Versions", v.versions},
		Drift:    {"Drift", v.drift},
		Runs:     {"Runs", v.runs},
		Locks:    {"Locks", v.locks},
		Purges:   {"Purges", v.purges},
		Backups:  {"Backups", v.backups},
		Findings: {"Findings", v.findings},
	}
	k := kinds[s]
	out := section{ID: string(s), Title: k.title}
	switch err := f.Unread[s]; {
	case slices.Contains(f.Skipped, s):
		out.Lead = "Left out of this report."
	case err != nil:
		out.Lead = "Not read."
		out.Blocks = []block{{Notes: []finding{{Tone: bad, Word: "failed", What: v.w.Visible(v.w.Error(err))}}}}
	default:
		out.Lead, out.Blocks = k.make(f)
		out.Blocks = pair(out.Blocks)
	}
	return out
}

// missing reports whether a section was not read.
func (f *Fleet) missing(s Section) bool { return f.Unread[s] != nil || slices.Contains(f.Skipped, s) }

// figures are the numbers at the top.
func (v view) figures(f *Fleet) []figure {
	var out []figure
	add := func(s Section, label string, fill func(*figure)) {
		one := figure{Label: label, Value: "–", Note: "not read", Tone: quiet}
		if !f.missing(s) {
			one.Note, one.Tone = "", ""
			fill(&one)
		}
		out = append(out, one)
	}
	add(Versions, "Tenants", func(o *figure) {
		n := f.Counts.Statuses
		all := n[registry.Active] + n[registry.Suspended]
		o.Value, o.Note = v.count(all), v.count(n[registry.Suspended])+" suspended, "+v.count(n[registry.Deleted])+" deleted"
	})
	add(Versions, "At the newest version", func(o *figure) {
		at, all := f.atNewest()
		o.Value, o.Note, o.Tone = percent(float64(at), float64(all)), "version "+strconv.FormatInt(f.Newest, 10), good
		if at < all {
			o.Note, o.Tone = v.count(all-at)+" not at version "+strconv.FormatInt(f.Newest, 10), warn
		}
		if all == 0 {
			o.Tone = quiet
		}
	})
	add(Sizes, "Size", func(o *figure) {
		o.Value, o.Note = v.w.Size(f.total()), "no samples to compare with"
		if perDay, known := f.Sizes.PerDay(); known {
			o.Note = v.signed(int64(perDay*30)) + " in 30 days"
		}
	})
	add(Backups, "Oldest backup", func(o *figure) {
		ages, never := f.ages()
		switch {
		case len(f.Backups) == 0:
			o.Value, o.Note, o.Tone = "–", "no tenants", quiet
		case len(ages) == 0:
			o.Value, o.Note, o.Tone = "none", "no tenant was ever backed up", warn
		default:
			o.Value, o.Note = v.ago(ages[0].age), "each tenant has one"
			if never > 0 {
				o.Label, o.Value, o.Note, o.Tone = "Without a backup", v.count(never), "the oldest is "+o.Value+" old", warn
			}
		}
	})
	add(Findings, "Findings", func(o *figure) {
		errs, warnings := f.Findings.Count(doctor.Error), f.Findings.Count(doctor.Warning)
		o.Value, o.Note, o.Tone = v.count(len(f.Findings.Findings)),
			v.plural(errs, "error")+", "+v.plural(warnings, "warning"), good
		switch {
		case errs > 0:
			o.Tone = bad
		case warnings > 0:
			o.Tone = warn
		}
	})
	return out
}

// atNewest returns how many of the tenants that runs migrate are at the newest version.
func (f *Fleet) atNewest() (at, all int) {
	for _, n := range f.Counts.Versions {
		all += n
	}
	return f.Counts.Versions[f.Newest], all
}

// versions shows the versions over the fleet.
func (v view) versions(f *Fleet) (string, []block) {
	at, all := f.atNewest()
	if all == 0 {
		return "There are no tenants yet.", nil
	}
	lead := fmt.Sprintf("The newest migration is version %d; %s of %s are there.", f.Newest, v.count(at),
		v.plural(all, "tenant"))
	if f.Counts.Dirty > 0 {
		lead += fmt.Sprintf(" %s in the middle of a migration without a transaction.", v.isAre(f.Counts.Dirty))
	}
	const most = 12
	b := block{Title: "Tenants by version", Half: true}
	versions := slices.SortedFunc(maps.Keys(f.Counts.Versions), func(a, b int64) int { return cmp.Compare(b, a) })
	older := 0
	for i, version := range versions {
		n := f.Counts.Versions[version]
		if i >= most {
			older += n
			continue
		}
		one := bar{Label: "version " + strconv.FormatInt(version, 10), Value: v.count(n),
			Aside: percent(float64(n), float64(all)), Share: share(float64(n), float64(all)), Tone: warn}
		switch {
		case version == f.Newest:
			one.Tone = good
		case version < 0:
			one.Label, one.Tone = "unknown", quiet
		case version > f.Newest:
			one.Tone = bad
		}
		b.Bars = append(b.Bars, one)
	}
	if older > 0 {
		b.Bars = append(b.Bars, bar{Label: "older", Value: v.count(older), Aside: percent(float64(older), float64(all)),
			Share: share(float64(older), float64(all)), Tone: warn})
	}
	n := f.Counts.Statuses
	status := block{Title: "Tenants by status", Half: true, Stack: v.stack(
		part{W: float64(n[registry.Active]), Text: "active", Tone: main},
		part{W: float64(n[registry.Suspended]), Text: "suspended", Tone: warn},
		part{W: float64(n[registry.Leaving] + n[registry.Incoming]), Text: "being transferred", Tone: warn},
		part{W: float64(n[registry.Moved]), Text: "moved elsewhere", Tone: quiet},
		part{W: float64(n[registry.Gone]), Text: "gone", Tone: quiet},
		part{W: float64(n[registry.Deleted]), Text: "deleted", Tone: bad})}
	return lead, []block{b, status}
}

func (v view) isAre(n int) string {
	if n == 1 {
		return "1 tenant is"
	}
	return v.count(n) + " tenants are"
}
