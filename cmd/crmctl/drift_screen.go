package main

import (
	"bufio"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/cli"
)

// printDrift shows what differs: to people shape by shape, to programs a line for
// each difference of each tenant or a record for each shape.
func (f *factory) printDrift(p *cli.Printer, d catalog.Drift) error {
	for _, t := range d.Accepted {
		for _, diff := range t.Differences {
			f.Verbose("%s: accepted: %s %s", cli.Visible(t.Slug), diff.Change, cli.Visible(diff.Subject()))
		}
	}
	switch {
	case p.NamesOnly():
		return cli.PrintList(p, cli.List[string]{Name: func(s string) string { return s }}, driftedNames(d))
	case !p.IsTable() && p.Format != "csv":
		shapes := shapeList(d)
		if err := cli.PrintList(p, shapes, d.Groups); err != nil || p.Format != "ndjson" {
			return err
		}
		// Missing and unread tenants have no shape; and no line at all would leave it
		// open whether anything was compared.
		return cli.PrintObject(p, cli.Object{Record: map[string]any{"summary": shapes.Summary()}})
	case !p.IsTable() || !p.Terminal:
		if err := cli.PrintList(p, driftList(), driftRows(d)); err != nil {
			return err
		}
		f.Note("%s", cli.Visible(driftLine(d)))
		return nil
	}
	s := driftScreen{p: p, w: bufio.NewWriter(p.Out), drift: d}
	s.print()
	if err := s.w.Flush(); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	if len(d.Groups) > 0 {
		f.Note("next: crmctl migrate drift --fix-sql")
	}
	return nil
}

// driftedNames returns the tenants that are not as they should be, or were not
// read.
func driftedNames(d catalog.Drift) []string {
	var names []string
	for _, g := range d.Groups {
		for _, t := range g.Tenants {
			names = append(names, t.Slug)
		}
	}
	for _, t := range d.Missing {
		names = append(names, t.Slug)
	}
	for _, u := range d.Unread {
		names = append(names, u.Slug)
	}
	slices.Sort(names)
	return names
}

// driftLine returns "5,000 tenants: 4,996 as the migrations make them, 3 differ in
// 2 ways, 1 schema is missing".
func driftLine(d catalog.Drift) string {
	if d.Tenants == 0 {
		return "no tenants"
	}
	parts := []string{cli.HumanCount(int64(d.Clean)) + " as the migrations make them"}
	if d.Wanted > 0 {
		parts = append(parts, cli.HumanCount(int64(d.Wanted))+" as accepted")
	}
	if n := d.Differing(); n > 0 {
		verb := "differ"
		if n == 1 {
			verb = "differs"
		}
		parts = append(parts, fmt.Sprintf("%s %s in %s", cli.HumanCount(int64(n)), verb, cli.Plural(len(d.Groups), "way")))
	}
	if n := len(d.Missing); n > 0 {
		parts = append(parts, cli.Plural(n, "schema")+" missing")
	}
	if n := len(d.Unread); n > 0 {
		parts = append(parts, cli.HumanCount(int64(n))+" not read")
	}
	return cli.Plural(d.Tenants, "tenant") + ": " + strings.Join(parts, ", ")
}

// unreadReason says why a tenant was not compared.
func unreadReason(u catalog.Unread) string {
	switch {
	case errors.Is(u.Err, catalog.ErrLocked):
		return "locked"
	case errors.Is(u.Err, catalog.ErrChanging):
		return "changed meanwhile"
	}
	return textOf(u.Err)
}

// driftRow is a difference of a tenant.
type driftRow struct {
	tenant catalog.Tenant
	shape  string
	difference
}

// difference is one between a schema and what the migrations make, or says why nothing
// was compared.
type difference struct {
	change, object string
	of             catalog.Difference
}

func differenceOf(d catalog.Difference) difference {
	return difference{change: string(d.Change), object: d.Subject(), of: d}
}

func driftRows(d catalog.Drift) []driftRow {
	var rows []driftRow
	for _, g := range d.Groups {
		for _, t := range g.Tenants {
			for _, diff := range g.Differences {
				rows = append(rows, driftRow{tenant: t, shape: g.Fingerprint.String(), difference: differenceOf(diff)})
			}
		}
	}
	for _, t := range d.Missing {
		rows = append(rows, driftRow{tenant: t, difference: difference{change: string(catalog.Missing),
			object: "schema " + t.Schema.String()}})
	}
	for _, u := range d.Unread {
		rows = append(rows, driftRow{tenant: u.Tenant, difference: difference{change: "not read", object: unreadReason(u)}})
	}
	slices.SortStableFunc(rows, func(a, b driftRow) int { return strings.Compare(a.tenant.Slug, b.tenant.Slug) })
	return rows
}

func driftList() cli.List[driftRow] {
	l := cli.List[driftRow]{
		Columns: []cli.Column[driftRow]{
			{Name: "tenant", Value: func(r driftRow) any { return r.tenant.Slug }},
			{Name: "schema_version", Title: "VERSION", Value: func(r driftRow) any { return r.tenant.Version }},
			{Name: "shape", Value: func(r driftRow) any { return r.shape }},
		},
	}
	for _, c := range differenceColumns() {
		l.Columns = append(l.Columns, cli.Column[driftRow]{Name: c.Name, Document: c.Document,
			Value: func(r driftRow) any { return c.Value(r.difference) }})
	}
	return l
}

// differenceColumns are the columns of a difference, a row of its own in tables and CSV and
// one of its shape's in documents.
func differenceColumns() []cli.Column[difference] {
	// definition is null in documents where there is none; its outline is enough for a row.
	definition := func(absent catalog.Change, of func(catalog.Difference) string) func(difference) any {
		return func(d difference) any {
			whole := any(of(d.of))
			if d.of.Change == absent {
				whole = (*string)(nil)
			}
			text := outline(d.of, of(d.of))
			return cli.Either{Human: text, Machine: text, Document: whole}
		}
	}
	return []cli.Column[difference]{
		{Name: "change", Value: func(d difference) any { return d.change }},
		{Name: "kind", Document: true, Value: func(d difference) any { return string(d.of.Object.Kind) }},
		{Name: "parent", Document: true, Optional: true, Value: func(d difference) any { return d.of.Object.Parent }},
		{Name: "name", Document: true, Value: func(d difference) any { return d.of.Object.Name }},
		{Name: "object", Value: func(d difference) any { return d.object }},
		{Name: "want", Value: definition(catalog.Extra, func(d catalog.Difference) string { return d.Want })},
		{Name: "found", Value: definition(catalog.Missing, func(d catalog.Difference) string { return d.Got })},
	}
}

// outline leaves out the body of a function that is missing or extra as a whole: a
// row is no place for it.
func outline(d catalog.Difference, definition string) string {
	if d.Change == catalog.Changed {
		return definition
	}
	head, _, cut := strings.Cut(definition, "\nAS $")
	if cut {
		head += " ..."
	}
	return head
}

// What JSON and YAML have beside the shapes.
type (
	driftSummary struct {
		Tenants   int              `json:"tenants"`
		Clean     int              `json:"clean"`
		Accepted  []string         `json:"accepted"` // that differ in what is accepted alone
		Differing int              `json:"differing"`
		Expected  map[int64]string `json:"expected"` // version -> shape
		Missing   []string         `json:"missing_schemas"`
		Unread    []unreadRecord   `json:"not_read"`
	}
	unreadRecord struct {
		Tenant string `json:"tenant"`
		Reason string `json:"reason"`
	}
)

func shapeList(d catalog.Drift) cli.List[catalog.Group] {
	return cli.List[catalog.Group]{
		Plural: "shapes",
		Columns: []cli.Column[catalog.Group]{
			{Name: "shape", Value: func(g catalog.Group) any { return g.Fingerprint.String() }},
			{Name: "schema_version", Value: func(g catalog.Group) any { return g.Version }},
			{Name: "tenants", Value: func(g catalog.Group) any { return slugsOf(g.Tenants) }},
			{Name: "differences", Value: func(g catalog.Group) any {
				rows := make([]difference, len(g.Differences))
				for i, diff := range g.Differences {
					rows[i] = differenceOf(diff)
				}
				return cli.Documents(differenceColumns(), rows)
			}},
		},
		Summary: func() any {
			s := driftSummary{
				Tenants: d.Tenants, Clean: d.Clean, Differing: d.Differing(), Expected: map[int64]string{},
				Missing: slugsOf(d.Missing),
				Unread:  []unreadRecord{}, Accepted: d.Whole(),
			}
			for version, shape := range d.Expected {
				s.Expected[version] = shape.String()
			}
			for _, u := range d.Unread {
				s.Unread = append(s.Unread, unreadRecord{u.Slug, unreadReason(u)})
			}
			return s
		},
	}
}

func slugsOf(tenants []catalog.Tenant) []string {
	slugs := make([]string, len(tenants))
	for i, t := range tenants {
		slugs[i] = t.Slug
	}
	return slugs
}

// driftScreen shows a comparison on a terminal.
type driftScreen struct {
	p     *cli.Printer
	w     *bufio.Writer
	drift catalog.Drift
}

func (s driftScreen) line(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !s.p.Painter.On { // escape sequences count for nothing
		text = cli.Fold(text, s.p.Width, "  ")
	}
	fmt.Fprintln(s.w, text)
}

func (s driftScreen) print() {
	d := s.drift
	for _, g := range d.Groups {
		s.line("%s at version %d: %s", cli.Plural(len(g.Tenants), "tenant"), g.Version, s.names(g.Tenants))
		for _, diff := range g.Differences {
			s.difference(diff)
		}
		s.line("")
	}
	if len(d.Missing) > 0 {
		s.line("%s %s: %s", s.p.Painter.Paint(cli.Red, "missing"), cli.Plural(len(d.Missing), "schema"), s.names(d.Missing))
	}
	unread := s.unread()
	for _, reason := range slices.Sorted(maps.Keys(unread)) {
		s.line("%s, %s: %s", s.p.Painter.Paint(cli.Yellow, "not read"), cli.Visible(reason), s.names(unread[reason]))
	}
	if len(d.Missing)+len(d.Unread) > 0 {
		s.line("")
	}
	s.line("%s", driftLine(d))
}

func (s driftScreen) unread() map[string][]catalog.Tenant {
	out := map[string][]catalog.Tenant{}
	for _, u := range s.drift.Unread {
		out[unreadReason(u)] = append(out[unreadReason(u)], u.Tenant)
	}
	return out
}

// names returns "acme, globex and 4,810 more"; with -o wide all of them.
func (s driftScreen) names(tenants []catalog.Tenant) string {
	const room = 60
	text := ""
	for i, t := range tenants {
		name := cli.Visible(t.Slug)
		if s.p.Format != "wide" && i > 0 && len(text)+len(name) > room {
			return fmt.Sprintf("%s and %s more", text, cli.HumanCount(int64(len(tenants)-i)))
		}
		if i > 0 {
			text += ", "
		}
		text += name
	}
	return text
}

// difference shows the object, and below it what is wanted and what was found:
//
//	different  column contacts.name
//	           want   character varying(200)
//	           found  text
func (s driftScreen) difference(d catalog.Difference) {
	colors := map[catalog.Change]cli.Color{catalog.Missing: cli.Red, catalog.Extra: cli.Yellow,
		catalog.Changed: cli.Yellow}
	change := fmt.Sprintf("%-9s", d.Change)
	s.line("  %s  %s", s.p.Painter.Paint(colors[d.Change], change), cli.Visible(d.Subject()))
	want, found := d.Differing()
	if d.Change != catalog.Extra {
		s.definition("want ", want)
	}
	if d.Change != catalog.Missing {
		s.definition("found", found)
	}
}

// definition shows a text, each of its lines cut at the edge of the terminal.
func (s driftScreen) definition(label, text string) {
	const indent = "             "
	room := s.p.Width - len(indent) - len(label) - 2
	for i, line := range strings.Split(strings.TrimRight(text, "\n "), "\n") {
		line = cli.Visible(strings.ReplaceAll(strings.TrimRight(line, "\r "), "\t", "    "))
		if runes := []rune(line); s.p.Format != "wide" && room > cli.MinColumn && len(runes) > room {
			line = string(runes[:room-1]) + s.ellipsis()
		}
		if i > 0 {
			label = strings.Repeat(" ", len(label))
		}
		s.line("%s%s  %s", indent, s.p.Painter.Paint(cli.Dim, label), line)
	}
}

func (s driftScreen) ellipsis() string {
	if s.p.Unicode {
		return "…"
	}
	return "~"
}

// printFix prints the SQL that mends, shape by shape and tenant by tenant.
func (f *factory) printFix(p *cli.Printer, d catalog.Drift) error {
	target, err := f.target()
	if err != nil {
		return err
	}
	w := bufio.NewWriter(p.Out)
	say := func(format string, args ...any) { fmt.Fprintln(w, "-- "+cli.Visible(fmt.Sprintf(format, args...))) }
	say("Drift of %s: %s.", target.Place(), driftLine(d))
	say("These statements add what is missing. They drop and replace nothing. Read them, then run them")
	say("one by one, as psql -f does; an index is built outside of transactions.")
	for _, g := range d.Groups {
		fix := g.Fix()
		fmt.Fprintln(w)
		names := make([]string, len(g.Tenants))
		for i, t := range g.Tenants {
			names[i] = t.Slug
		}
		say("%s at version %d: %s", cli.Plural(len(g.Tenants), "tenant"), g.Version, strings.Join(names, ", "))
		for _, diff := range fix.Unmended {
			say("not mended: %s %s", diff.Change, diff.Subject())
		}
		for _, note := range fix.Notes {
			say("note: %s", note)
		}
		if fix.Empty() {
			continue
		}
		for _, t := range g.Tenants {
			fmt.Fprintln(w)
			say("tenant %s", t.Slug)
			for _, sql := range fix.SQL(t.Schema) {
				fmt.Fprintln(w, sql+";")
			}
		}
	}
	for _, t := range d.Missing {
		say("not mended: tenant %s has no schema %s", t.Slug, t.Schema)
	}
	for _, u := range d.Unread {
		say("not read: tenant %s: %s", u.Slug, unreadReason(u))
	}
	if err := w.Flush(); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}
