package catalog

import (
	"slices"
	"strings"
)

// Acceptance is a difference of one tenant that is wanted: the object, and how it was found.
type Acceptance struct {
	Change       Change
	Kind         Kind
	Parent, Name string
	Found        string // the definition, "" where it is Missing
}

// Accepts returns what accepts a difference.
func Accepts(d Difference) Acceptance {
	return Acceptance{d.Change, d.Object.Kind, d.Object.Parent, d.Object.Name, d.Got}
}

// AcceptedTenant is a tenant that is not what its migrations make, where that is wanted.
type AcceptedTenant struct {
	Tenant

	Differences []Difference // that are accepted, as Diff lists them
	Whole       bool         // it differs in nothing else
}

// Whole returns the names of the tenants that differ in what is accepted alone.
func (d Drift) Whole() []string {
	names := []string{}
	for _, t := range d.Accepted {
		if t.Whole {
			names = append(names, t.Slug)
		}
	}
	return names
}

// split puts the tenants of a group apart by what of their differences is not accepted. The
// differences are all there are, those of a table that is extra as a whole too: a column
// that such a table gets later was not accepted.
func (c *comparison) split(drift *Drift, k shapeKey, tenants []Tenant, want, got *Shape) {
	all := c.ours(compare(want, got))
	if len(all) == 0 {
		drift.Clean += len(tenants)
		return
	}
	at := map[string]int{}
	for _, t := range tenants {
		known := c.Accepted[t.Slug]
		isAccepted := func(d Difference) bool { return slices.Contains(known, Accepts(d)) }
		rest := all
		if len(known) > 0 {
			rest = slices.DeleteFunc(slices.Clone(all), isAccepted)
			if wanted := slices.DeleteFunc(slices.Clone(all),
				func(d Difference) bool { return !isAccepted(d) }); len(wanted) > 0 {
				drift.Accepted = append(drift.Accepted, AcceptedTenant{t, outer(wanted), len(rest) == 0})
			}
		}
		if len(rest) == 0 {
			drift.Wanted++
			continue
		}
		var id strings.Builder
		for _, d := range rest {
			id.WriteString(d.Object.line() + "\x1e")
		}
		i, there := at[id.String()]
		if !there {
			i = len(drift.Groups)
			at[id.String()] = i
			drift.Groups = append(drift.Groups, Group{Version: k.version, Fingerprint: k.fingerprint,
				Differences: outer(slices.Clone(rest)), All: rest, want: want, got: got})
		}
		drift.Groups[i].Tenants = append(drift.Groups[i].Tenants, t)
	}
}
