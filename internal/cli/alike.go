package cli

import (
	"fmt"
	"iter"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// mostNamed is how many of several alike are named; the others are counted.
const mostNamed = 3

// Alike says which rows of a table are shown as one: those that differ in nothing but
// whose they are. On a terminal it goes for more rows than can be named in a few words.
// With -o wide, and in the formats for programs, each row is there.
type Alike[T any] struct {
	Noun string // what the rows are: "tenant"
	// Own returns the words of a row that are its own, the longer ones first. They are set
	// aside where rows are compared.
	Own func(T) []OwnWord
	// Of reports whether a row may be one of several; nil stands for any.
	Of func(T) bool
	// Blank names columns that are not compared, and left empty for several rows.
	Blank []string
	// Piped puts rows together off a terminal too, where the table is the end of a log.
	Piped bool
	// Each returns the command that shows each row, which is said below a table that does
	// not name all; nil where something else says it.
	Each func() string
	// Together is set when rows were put together.
	Together *bool
}

// OwnWord is a word that belongs to one row, and what stands in its place in a text that
// speaks for several: "acme-corp" and "<tenant>".
type OwnWord struct{ Word, Place string }

// SetAside returns a text with what is a row's own replaced, so that texts about different
// rows can be compared. A word counts where it stands alone, not as a part of another.
func SetAside(text string, own []OwnWord) string {
	for _, o := range own {
		if o.Word == "" {
			continue
		}
		var b strings.Builder
		rest, last := text, ' '
		for {
			at := strings.Index(rest, o.Word)
			if at < 0 {
				break
			}
			if at > 0 {
				last, _ = utf8.DecodeLastRuneInString(rest[:at])
			}
			next, _ := utf8.DecodeRuneInString(rest[at+len(o.Word):])
			b.WriteString(rest[:at])
			if inWord(last) || inWord(next) && at+len(o.Word) < len(rest) {
				b.WriteString(o.Word)
			} else {
				b.WriteString(o.Place)
			}
			last, _ = utf8.DecodeLastRuneInString(o.Word)
			rest = rest[at+len(o.Word):]
		}
		text = b.String() + rest
	}
	return text
}

func inWord(r rune) bool {
	return r == '_' || r == '-' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

// FirstNames names a few things of many: "a, b, c and 97 more".
func FirstNames(names []string) string {
	shown, more := firstNames(names)
	if more > 0 {
		return fmt.Sprintf("%s and %s more", strings.Join(shown, ", "), HumanCount(int64(more)))
	}
	return strings.Join(shown, ", ")
}

// firstNames returns the names that are shown, and how many are not: never a single one,
// which would take as much room as its name.
func firstNames(names []string) (shown []string, more int) {
	if !Many(len(names)) {
		return names, 0
	}
	return names[:mostNamed], len(names) - mostNamed
}

// Many reports whether n things are too many to name each.
func Many(n int) bool { return n > mostNamed+1 }

// alikeRow is a row of a table, or several.
type alikeRow struct {
	members []int // rows that it stands for
	cells   []string
}

// together puts rows that are alike together. names is the column that names the rows.
func together[T any](a *Alike[T], rows []T, cells [][]string, columns []Column[T], names int) []alikeRow {
	const apart = "\x00"
	place := make(map[string]int)
	var out []alikeRow
	for i, row := range rows {
		if a.Of != nil && !a.Of(row) {
			out = append(out, alikeRow{members: []int{i}, cells: cells[i]})
			continue
		}
		own := a.Own(row)
		general := make([]string, len(cells[i]))
		for c, cell := range cells[i] {
			if c != names && !slices.Contains(a.Blank, columns[c].Name) {
				general[c] = SetAside(cell, own)
			}
		}
		key := strings.Join(general, apart)
		at, known := place[key]
		if !known {
			place[key] = len(out)
			out = append(out, alikeRow{members: []int{i}, cells: general})
			continue
		}
		out[at].members = append(out[at].members, i)
	}
	return a.split(out, cells, names)
}

// split gives rows that are few their own lines again, and texts that are the same in all
// of several rows as they are.
func (a *Alike[T]) split(grouped []alikeRow, cells [][]string, names int) []alikeRow {
	var out []alikeRow
	for _, r := range grouped {
		if !Many(len(r.members)) {
			for _, i := range r.members {
				out = append(out, alikeRow{members: []int{i}, cells: cells[i]})
			}
			continue
		}
		for c, cell := range r.cells {
			first := cells[r.members[0]][c]
			same := c != names
			for _, i := range r.members {
				same = same && cells[i][c] == first
			}
			switch {
			case same:
				r.cells[c] = first
			case strings.HasPrefix(cell, "<") && strings.Index(cell, ">") == len(cell)-1:
				r.cells[c] = "" // it held nothing but the row's own word
			}
		}
		if a.Together != nil {
			*a.Together = true
		}
		out = append(out, r)
	}
	return out
}

// putTogether makes the rows those of a table in which one row may stand for several, and
// reports whether one does. Such a row has the names in the column of names, a line each:
// next to the text that they share they take little room.
func (g *grid) putTogether(rows []alikeRow, names int, noun string) bool {
	const indent = "  "
	some := false
	var cells [][]string
	var colors [][]Color
	for _, r := range rows {
		first := r.members[0]
		if len(r.members) > 1 {
			some = true
			all := make([]string, len(r.members))
			for i, m := range r.members {
				all[i] = g.cells[m][names]
			}
			shown, more := firstNames(all)
			lines := append([]string{Plural(len(r.members), noun)}, shown...)
			if more > 0 {
				lines = append(lines, "and "+HumanCount(int64(more))+" more")
			}
			r.cells[names] = strings.Join(lines, "\n"+indent)
		}
		cells, colors = append(cells, r.cells), append(colors, g.colors[first])
	}
	g.cells, g.colors = cells, colors
	return some
}

// pipedTogether returns the cells of a table for a pipe in which one row may stand for
// several.
func pipedTogether[T any](p *Printer, l List[T], rows iter.Seq2[T, error]) ([][]string, error) {
	columns := l.shown(p)
	var all []T
	var cells [][]string
	var names []string
	for row, err := range rows {
		if err != nil {
			return nil, err
		}
		all, cells, names = append(all, row), append(cells, machineCells(columns, row)), append(names, Visible(l.Name(row)))
	}
	key := keyColumn(cells, names)
	if key < 0 {
		return cells, nil
	}
	var out [][]string
	for _, r := range together(l.Alike, all, cells, columns, key) {
		if len(r.members) > 1 {
			var of []string
			for _, i := range r.members {
				of = append(of, names[i])
			}
			r.cells[key] = Plural(len(of), l.Alike.Noun) + ": " + FirstNames(of)
		}
		out = append(out, r.cells)
	}
	return out, nil
}
