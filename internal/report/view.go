package report

import (
	"fmt"
	"html/template"
	"math"
	"slices"
	"strings"
	"time"
)

// The page as its template takes it: sections made of blocks of a few kinds.
type (
	page struct {
		CSS                       template.CSS
		Title, Place, At, Program string
		Figures                   []figure
		Sections                  []section
	}
	// figure is a number that says the most.
	figure struct{ Label, Value, Note, Tone string }

	section struct {
		ID, Title, Lead string
		Blocks          []block
	}
	// block has one of its kinds.
	block struct {
		Title, Note string
		Maps        []treemap
		Line        *line
		Stack       []part
		Bars        []bar
		Cells       []cell
		Table       *table
		Notes       []finding
		Legend      []legend
		Half        bool // stands beside another one where there is room
	}

	legend struct{ Tone, Text string }
	part   struct {
		X, W             float64 // percent
		Tone, Text, Full string
	}
	bar struct {
		Label, Value, Aside, Tone string
		Share                     float64 // percent
	}
	cell  struct{ Tone, Text string }
	table struct {
		Head []column
		Rows [][]field
	}
	column struct {
		Text string
		// Place is the class of the page's style: "right" for numbers, "short" for words that are
		// not broken, "spare" for what a phone leaves out.
		Place string
	}
	field struct {
		Text, Sub, Tone string
		Place           string // as its column's
		Code            bool
		Indent          string // drawn before it
	}
	finding struct {
		Tone, Word, Class, What, Subjects, Why, Command string
		Count                                           int
	}
	line struct {
		Path, Area                 string
		First, FirstAt, Last, Till string
		Top                        string
	}
)

// The tones. What is as it should be, or has nothing to it, has none.
const (
	good  = "good"
	warn  = "warn"
	bad   = "bad"
	quiet = "quiet"
	main  = "main"
)

// view makes the page.
type view struct{ w Words }

func (v view) page(title string, h Head) *page {
	return &page{Title: title, Place: v.w.Visible(h.Place), At: v.w.Minute(h.At), Program: v.w.Visible(h.Program)}
}

func (v view) count(n int) string { return v.w.Count(int64(n)) }

// plural returns "1 tenant", "3 tenants".
func (v view) plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return v.count(n) + " " + noun + "s"
}

// percent returns "41 %", and never 0 or 100 for what is not quite.
func percent(part, whole float64) string {
	switch p := 100 * part / whole; {
	case whole <= 0:
		return "–"
	case p > 0 && p < 0.1:
		return "<0.1 %"
	case p > 0 && p < 1 || p > 99 && p < 100:
		return fmt.Sprintf("%.1f %%", min(p, 99.9))
	default:
		return fmt.Sprintf("%.0f %%", p)
	}
}

func share(part, whole float64) float64 {
	if whole <= 0 || part <= 0 {
		return 0
	}
	return math.Round(1e4*part/whole) / 100
}

// ago returns "3 days" and the like: as exact as matters for an age.
func (v view) ago(d time.Duration) string {
	const day = 24 * time.Hour
	switch {
	case d < time.Minute:
		return "under a minute"
	case d < 2*time.Hour:
		return v.plural(int(d/time.Minute), "minute")
	case d < 2*day:
		return v.plural(int(d/time.Hour), "hour")
	}
	return v.plural(int(d/day), "day")
}

// firstOf returns the first names of a list, and how many more there are.
func (v view) firstOf(names []string, most int) string {
	shown := make([]string, 0, most+1)
	for _, name := range names[:min(most, len(names))] {
		shown = append(shown, v.w.Visible(name))
	}
	text := strings.Join(shown, ", ")
	if more := len(names) - most; more > 0 {
		text += " and " + v.count(more) + " more"
	}
	return text
}

// more returns a note of what a list leaves out, "" for nothing.
func (v view) more(n int) string {
	if n <= 0 {
		return ""
	}
	return "and " + v.count(n) + " more"
}

// stack returns parts that lie one behind the other. Those of nothing are left out.
func (v view) stack(parts ...part) []part {
	var whole, at float64
	for _, p := range parts {
		whole += p.W
	}
	parts = slices.DeleteFunc(parts, func(p part) bool { return p.W <= 0 })
	for i := range parts {
		p := &parts[i]
		n := p.W
		p.X, p.W = at, share(n, whole)
		at += p.W
		p.Text = v.w.Count(int64(n)) + " " + p.Text
		p.Full = p.Text + ", " + percent(n, whole)
	}
	return parts
}

// titles returns the columns of a table: "-" begins one that is left out on a phone, ">"
// one of numbers, "." one of words that are not broken.
func titles(names ...string) []column {
	out := make([]column, len(names))
	for i, name := range names {
		place := ""
		if rest, is := strings.CutPrefix(name, "-"); is {
			name, place = rest, "spare"
		}
		if rest, is := strings.CutPrefix(name, ">"); is {
			name, place = rest, strings.TrimSpace("right "+place)
		}
		if rest, is := strings.CutPrefix(name, "."); is {
			name, place = rest, strings.TrimSpace("short "+place)
		}
		out[i] = column{Text: name, Place: place}
	}
	return out
}

// row returns a row of a table: its fields stand as their columns do.
func (t *table) row(fields ...field) {
	for i := range fields {
		fields[i].Place = t.Head[i].Place
	}
	t.Rows = append(t.Rows, fields)
}

// pair gives a block that would stand alone beside nothing the whole width.
func pair(blocks []block) []block {
	for i := 0; i < len(blocks); i++ {
		switch {
		case blocks[i].Half && i+1 < len(blocks) && blocks[i+1].Half:
			i++
		case blocks[i].Half:
			blocks[i].Half = false
		}
	}
	return blocks
}

// when returns a time as a field: the day, and the time of the day below it.
func (v view) when(t time.Time) field {
	day, clock, _ := strings.Cut(v.w.Minute(t), " ")
	return field{Text: day, Sub: clock}
}
