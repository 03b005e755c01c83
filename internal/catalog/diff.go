package catalog

import (
	"encoding/json"
	"slices"
	"strings"
)

// Change is how two shapes differ in one object.
type Change string

// What is wanted and not there, there and not wanted, or there in another way.
const (
	Missing Change = "missing"
	Extra   Change = "extra"
	Changed Change = "different"
)

// Difference is one object in which a shape is not what it should be.
type Difference struct {
	Change Change
	Object Object // as wanted; as found where it is Extra
	Want   string // the definition, "" where it is Extra
	Got    string // the definition, "" where it is Missing
}

// Subject names the object: `index idx_contacts_phone on contacts`.
func (d Difference) Subject() string { return d.Object.Subject() }

// Subject names the object: `column contacts.email`, `index idx_contacts_phone on
// contacts`, `comment on table contacts`.
func (o Object) Subject() string {
	switch o.Kind {
	case KindColumn:
		return "column " + o.Parent + "." + o.Name
	case KindColumnOrder:
		return "column order of " + o.Parent
	case KindComment:
		return "comment on " + o.commented(o.Parent)
	case KindGrant:
		return "grant on " + o.Name
	case KindDefaultPrivileges:
		return "default privileges on " + o.Name
	case KindOwner:
		return "owner of " + o.Name
	}
	if o.Parent != "" {
		return string(o.Kind) + " " + o.Name + " on " + o.Parent
	}
	return string(o.Kind) + " " + o.Name
}

// commented returns what a comment is about, the way SQL has it, with the name of
// the table as given: `column contacts.email`, `constraint … on contacts`.
func (o Object) commented(parent string) string {
	kind, name, _ := strings.Cut(o.Name, " ")
	switch {
	case kind == "column":
		return "column " + parent + "." + name
	case (kind == "constraint" || kind == "trigger" || kind == "policy" || kind == "rule") &&
		!strings.Contains(o.Name, " on domain "):
		return o.Name + " on " + parent
	}
	return o.Name
}

// Diff returns what is different in got, in the order of the objects. What
// belongs to a table, a view or a function that is missing or extra as a whole is
// not listed beside it, nor is the comment on a column or an index that is.
func Diff(want, got *Shape) []Difference { return outer(compare(want, got)) }

// outer leaves out what belongs to something that is missing or extra as a whole.
func outer(all []Difference) []Difference {
	whole := map[key]Change{}
	for _, d := range all {
		if d.Change != Changed {
			o := d.Object
			whole[key{parent: o.Parent, name: o.Name}] = d.Change
			whole[key{o.Kind, o.Parent, o.Name}] = d.Change
		}
	}
	return slices.DeleteFunc(all, func(d Difference) bool {
		o := d.Object
		if d.Change == Changed || o.Parent == "" {
			return false
		}
		if whole[key{name: o.Parent}] == d.Change {
			return true
		}
		kind, name, _ := strings.Cut(o.Name, " ")
		return o.Kind == KindComment && whole[key{Kind(kind), o.Parent, unquote(name)}] == d.Change
	})
}

// compare returns every difference, object by object.
func compare(want, got *Shape) []Difference {
	var out []Difference
	for _, w := range want.Objects {
		g, found := got.find(w.key())
		switch {
		case !found:
			out = append(out, Difference{Change: Missing, Object: w, Want: w.Definition})
		case w.Definition != g.Definition && (w.Kind != KindColumnOrder || !sameOrder(w, g)):
			out = append(out, Difference{Change: Changed, Object: w, Want: w.Definition, Got: g.Definition})
		}
	}
	for _, g := range got.Objects {
		if _, found := want.find(g.key()); !found {
			out = append(out, Difference{Change: Extra, Object: g, Got: g.Definition})
		}
	}
	slices.SortStableFunc(out, func(a, b Difference) int { return rank(a.Object.Kind) - rank(b.Object.Kind) })
	return out
}

// rank orders kinds as Kinds lists them: tables before what hangs on them.
func rank(k Kind) int { return slices.Index(Kinds(), k) }

// sameOrder reports whether the columns that two tables have in common stand in the
// same order in both.
func sameOrder(a, b Object) bool {
	inA, inB := columnsOf(a), columnsOf(b)
	common := func(columns, others []string) []string {
		return slices.DeleteFunc(slices.Clone(columns), func(c string) bool { return !slices.Contains(others, c) })
	}
	return slices.Equal(common(inA, inB), common(inB, inA))
}

// columnsOf returns the names in a column order.
func columnsOf(o Object) []string {
	var names []string
	if err := json.Unmarshal(o.detail, &names); err != nil {
		return []string{o.Definition}
	}
	return names
}

// unquote returns the name that an identifier means.
func unquote(identifier string) string {
	if inner, ok := strings.CutPrefix(identifier, `"`); ok {
		return strings.ReplaceAll(strings.TrimSuffix(inner, `"`), `""`, `"`)
	}
	return identifier
}
