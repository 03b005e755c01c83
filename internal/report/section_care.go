package report

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/doctor"
	"github.com/crmctl/crmctl/internal/registry"
)

const (
	mostGroups      = 12
	mostDifferences = 8
	mostOverdue     = 30
	mostFindings    = 40
	firstNames      = 5
)

// drift shows how tenants differ from what their migrations make.
func (v view) drift(f *Fleet) (string, []block) {
	d := f.Drift
	if d.Tenants == 0 {
		return "There are no tenants to compare.", nil
	}
	if len(d.Groups)+len(d.Missing)+len(d.Unread) == 0 {
		lead := "Each of " + v.plural(d.Tenants, "tenant") + " is as the migrations make it."
		if d.Wanted > 0 {
			lead = v.plural(d.Clean, "tenant") + " as the migrations make them, " + v.count(d.Wanted) + " as accepted."
		}
		return lead, nil
	}
	out := []block{{Title: "Tenants", Stack: v.stack(
		part{W: float64(d.Clean), Text: "as the migrations make them", Tone: good},
		part{W: float64(d.Wanted), Text: "as accepted", Tone: main},
		part{W: float64(d.Differing()), Text: "differ", Tone: warn},
		part{W: float64(len(d.Missing)), Text: "without a schema", Tone: bad},
		part{W: float64(len(d.Unread)), Text: "not read", Tone: quiet})}}
	if len(d.Groups) > 0 {
		t := &table{Head: titles("Tenants", "->Version", "Differs in")}
		for _, g := range d.Groups[:min(mostGroups, len(d.Groups))] {
			names := make([]string, len(g.Tenants))
			for i, one := range g.Tenants {
				names[i] = one.Slug
			}
			t.row(field{Text: v.plural(len(g.Tenants), "tenant"), Sub: v.firstOf(names, firstNames)},
				field{Text: strconv.FormatInt(g.Version, 10)}, v.differences(g))
		}
		out = append(out, block{Title: "Groups that differ in the same way", Table: t,
			Note: v.more(len(d.Groups) - mostGroups)})
	}
	if len(d.Missing) > 0 {
		names := make([]string, len(d.Missing))
		for i, one := range d.Missing {
			names[i] = one.Slug
		}
		out = append(out, block{Title: "Without a schema", Note: v.firstOf(names, mostOverdue)})
	}
	return "", out
}

func (v view) differences(g catalog.Group) field {
	subjects := make([]string, len(g.Differences))
	for i, d := range g.Differences {
		subjects[i] = string(d.Change) + " " + d.Subject()
	}
	if len(subjects) == 0 {
		return field{}
	}
	out := field{Text: v.w.Visible(subjects[0])}
	if len(subjects) > 1 {
		out.Sub = v.firstOf(subjects[1:], mostDifferences)
	}
	return out
}

// purges shows the deleted tenants that may be destroyed by now.
func (v view) purges(f *Fleet) (string, []block) {
	if len(f.Overdue) == 0 {
		return "No deleted tenant is past its retention.", nil
	}
	t := &table{Head: titles("Tenant", "-.Deleted", ".Due", ">Overdue for")}
	for _, one := range f.Overdue[:min(mostOverdue, len(f.Overdue))] {
		var deleted field
		if one.DeletedAt != nil {
			deleted = v.when(*one.DeletedAt)
		}
		state := ""
		if one.State() == registry.Purging {
			state = "the purge has begun"
		}
		t.row(field{Text: v.w.Visible(one.Slug), Sub: cmp.Or(state, v.w.Visible(one.DisplayName))}, deleted,
			v.when(*one.PurgeAfter), field{Text: v.ago(f.At.Sub(*one.PurgeAfter)), Tone: warn})
	}
	verb := " are past their retention: their data may be destroyed."
	if len(f.Overdue) == 1 {
		verb = " is past its retention: its data may be destroyed."
	}
	return v.plural(len(f.Overdue), "deleted tenant") + verb,
		[]block{{Table: t, Note: v.more(len(f.Overdue) - mostOverdue)}}
}

// aged is a tenant and the age of its last backup.
type aged struct {
	slug string
	age  time.Duration
}

// ages returns the ages of the backups, the oldest first, and how many tenants have none.
func (f *Fleet) ages() (ages []aged, never int) {
	for slug, at := range f.Backups {
		if at.IsZero() {
			never++
			continue
		}
		ages = append(ages, aged{slug, max(0, f.At.Sub(at))})
	}
	slices.SortFunc(ages, func(a, b aged) int { return cmp.Or(cmp.Compare(b.age, a.age), cmp.Compare(a.slug, b.slug)) })
	return ages, never
}

// backups shows how old the last backup of each tenant is.
func (v view) backups(f *Fleet) (string, []block) {
	if len(f.Backups) == 0 {
		return "There are no tenants to back up.", nil
	}
	ages, never := f.ages()
	const day = 24 * time.Hour
	bands := []struct {
		label string
		below time.Duration
		tone  string
		n     int
	}{{"under a day", day, good, 0}, {"1 to 7 days", 7 * day, main, 0}, {"7 to 30 days", 30 * day, warn, 0},
		{"30 days and more", 1 << 62, bad, 0}}
	for _, one := range ages {
		at := 0
		for one.age >= bands[at].below {
			at++
		}
		bands[at].n++
	}
	b := block{Title: "Age of the last backup", Half: true}
	whole := float64(len(f.Backups))
	add := func(label, tone string, n int) {
		b.Bars = append(b.Bars, bar{Label: label, Value: v.count(n), Aside: percent(float64(n), whole),
			Share: share(float64(n), whole), Tone: tone})
	}
	for _, band := range bands {
		add(band.label, band.tone, band.n)
	}
	add("never backed up", bad, never)
	out := []block{b}
	if len(ages) > 0 {
		t := &table{Head: titles("Tenant", ">Age")}
		for _, one := range ages[:min(firstNames*2, len(ages))] {
			t.row(field{Text: v.w.Visible(one.slug)}, field{Text: v.ago(one.age)})
		}
		out = append(out, block{Title: "The oldest", Half: true, Table: t})
	}
	if never > 0 {
		var names []string
		for slug, at := range f.Backups {
			if at.IsZero() {
				names = append(names, slug)
			}
		}
		slices.Sort(names)
		out = append(out, block{Title: "Never backed up", Note: v.firstOf(names, mostOverdue)})
	}
	return "As the audit has it: backups that crmctl made.", out
}

// findings shows what is wrong, and what mends it.
func (v view) findings(f *Fleet) (string, []block) {
	r := f.Findings
	lead := v.plural(len(r.Checked), "check") + " over " + v.plural(r.Tenants, "tenant") + ": "
	if len(r.Findings) == 0 {
		lead += "nothing is wrong."
	} else {
		lead += v.plural(r.Count(doctor.Error), "error") + ", " + v.plural(r.Count(doctor.Warning), "warning") + ", " +
			v.count(r.Count(doctor.Info)) + " worth knowing."
	}
	var b block
	groups := 0
	for _, class := range doctor.ByClass(r.Findings) {
		if len(class) == 0 {
			continue
		}
		for _, g := range doctor.GroupAlike(class) {
			if groups++; groups <= mostFindings {
				b.Notes = append(b.Notes, v.finding(g))
			}
		}
	}
	b.Note = v.more(groups - mostFindings)
	var out []block
	if groups > 0 {
		out = append(out, b)
	}
	if len(r.NotChecked) > 0 {
		t := &table{Head: titles("Check", "Why not")}
		for _, n := range r.NotChecked[:min(mostOverdue, len(r.NotChecked))] {
			t.row(field{Text: string(n.Class)}, field{Text: v.w.Visible(n.Why)})
		}
		out = append(out, block{Title: "Not checked", Table: t, Note: v.more(len(r.NotChecked) - mostOverdue)})
	}
	return lead, out
}

func (v view) finding(g doctor.Group) finding {
	first := g.Findings[0]
	out := finding{Word: string(first.Severity), Class: string(first.Class), Tone: quiet, Count: len(g.Findings),
		What: v.w.Visible(first.What), Why: first.Why, Command: v.w.Visible(first.Command)}
	switch first.Severity {
	case doctor.Error:
		out.Tone = bad
	case doctor.Warning:
		out.Tone = warn
	case doctor.Info:
	}
	names := make([]string, len(g.Findings))
	for i, one := range g.Findings {
		names[i] = one.Subject
	}
	out.Subjects = v.firstOf(names, firstNames)
	switch {
	case len(names) > 1:
		out.What = v.w.Visible(g.What)
	case strings.Contains(out.What, out.Subjects):
		out.Subjects = ""
	}
	return out
}
