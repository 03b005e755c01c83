package doctor

import "strings"

// Group is findings of one class that say the same of different subjects.
type Group struct {
	What     string // with * for the subject
	Findings []Finding
}

// GroupAlike puts findings of a class together that differ in nothing but their subject,
// in the order in which they come first.
func GroupAlike(findings []Finding) []Group {
	var groups []Group
	at := map[string]int{}
	for _, d := range findings {
		what := d.common()
		i, known := at[what]
		if !known {
			i = len(groups)
			at[what] = i
			groups = append(groups, Group{What: what})
		}
		groups[i].Findings = append(groups[i].Findings, d)
	}
	return groups
}

// common returns what a finding says, without its subject.
func (d Finding) common() string {
	what := strings.ReplaceAll(d.What, strings.ReplaceAll(d.Subject, "-", "_"), "*")
	what = strings.ReplaceAll(what, d.Subject, "*")
	if d.Tenant != "" && d.Tenant != d.Subject {
		what = strings.ReplaceAll(what, d.Tenant, "*")
	}
	return what
}

// ByClass cuts findings into stretches of one class and severity.
func ByClass(findings []Finding) [][]Finding {
	var out [][]Finding
	for start, i := 0, 1; i <= len(findings); i++ {
		if i < len(findings) && findings[i].Class == findings[start].Class &&
			findings[i].Severity == findings[start].Severity {
			continue
		}
		out = append(out, findings[start:i])
		start = i
	}
	return out
}
