package cli

import (
	"bufio"
	"iter"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/olekukonko/tablewriter"
	"github.com/olekukonko/tablewriter/pkg/twwidth"
	"github.com/olekukonko/tablewriter/renderer"
	"github.com/olekukonko/tablewriter/tw"
)

const (
	columnGap = 2
	// MinColumn is the width below which a text is not cut: half a name says
	// nothing.
	MinColumn = 12
	// readable is the width that a text of several lines should have.
	readable = 24
)

// grid is a table as text: what goes onto a terminal.
type grid struct {
	titles []string // nil for none
	cells  [][]string
	colors [][]Color
	right  []bool
	whole  []bool // columns that are never cut
	spare  []bool // columns that a narrow terminal does without
	dear   []bool // columns that go after those
	key    []bool // the column that names the rows: the last to be cut
	text   []bool // columns that are broken into lines instead of being cut
	copied []bool // columns that are whole, or go below
	below  [][]belowRow
}

// belowRow is a value that stands below a row.
type belowRow struct {
	value string
	text  bool // of several words, to be broken
}

// writeTable prints an aligned table for a terminal. It has to hold all rows,
// since the width of a column is known at the end.
func writeTable[T any](p *Printer, w *bufio.Writer, l List[T], rows iter.Seq2[T, error]) error {
	columns := l.shown(p)
	g := grid{right: make([]bool, len(columns)), whole: make([]bool, len(columns)), spare: make([]bool, len(columns)),
		text: make([]bool, len(columns)), key: make([]bool, len(columns)), copied: make([]bool, len(columns)),
		dear: make([]bool, len(columns))}
	for i, c := range columns {
		g.right[i], g.whole[i], g.spare[i], g.text[i] = c.Right, c.Right, c.Spare, c.Text
		g.copied[i], g.key[i], g.dear[i] = c.Copied, c.Key, c.Dear
		switch {
		case l.NoHeader:
		case c.Blank:
			g.titles = append(g.titles, "")
		default:
			g.titles = append(g.titles, c.heading())
		}
	}
	var names []string
	var all []T
	for row, err := range rows {
		if err != nil {
			return err
		}
		if l.Alike != nil {
			all = append(all, row)
		}
		cells, colors := make([]string, len(columns)), make([]Color, len(columns))
		for i, c := range columns {
			v := c.Value(row)
			cells[i], colors[i] = Visible(p.Show.Human(v)), ColorOf(v)
			g.whole[i] = g.whole[i] || isNumber(v)
		}
		g.cells, g.colors = append(g.cells, cells), append(g.colors, colors)
		if l.Name != nil {
			names = append(names, Visible(l.Name(row)))
		}
	}
	each := false
	if i := keyColumn(g.cells, names); i >= 0 {
		g.key[i] = true
		if l.Alike != nil && p.Format != "wide" {
			each = g.putTogether(together(l.Alike, all, g.cells, columns, i), i, l.Alike.Noun)
		}
	}
	if len(g.cells) == 0 && l.NoHeader {
		return nil
	}
	if _, total := p.shrink(&g); l.Upright && p.Format != "wide" && total > p.Width {
		return p.writeUpright(w, g)
	}
	if err := p.writeGrid(w, g); err != nil || len(g.cells) == 0 {
		return err
	}
	text := ""
	if l.Footer != nil {
		text = Fold(l.Footer(), p.Width, "") + "\n"
	}
	if each && l.Alike.Each != nil {
		text += "each " + l.Alike.Noun + ": " + l.Alike.Each() + "\n"
	}
	if text == "" {
		return nil
	}
	_, err := w.WriteString("\n" + text)
	return err
}

// writeGrid lays a grid out within the width of the terminal.
func (p *Printer) writeGrid(w *bufio.Writer, g grid) error {
	p.fit(&g)
	var text strings.Builder
	table := tablewriter.NewTable(&text,
		tablewriter.WithRenderer(renderer.NewBlueprint(tw.Rendition{
			Borders: tw.BorderNone,
			Settings: tw.Settings{
				Lines:      tw.LinesNone,
				Separators: tw.SeparatorsNone,
			},
		})),
		tablewriter.WithHeaderAutoFormat(tw.Off),
		tablewriter.WithHeaderAutoWrap(tw.WrapNone),
		tablewriter.WithRowAutoWrap(tw.WrapNone),
		tablewriter.WithTrimSpace(tw.Off),
		tablewriter.WithPadding(tw.Padding{Right: strings.Repeat(" ", columnGap), Overwrite: true}),
		tablewriter.WithAlignment(g.alignment()),
	)
	if g.titles != nil {
		table.Header(g.titles)
	}
	for _, row := range g.cells {
		if err := table.Append(row); err != nil {
			return err
		}
	}
	if err := table.Render(); err != nil {
		return err
	}
	row := 0
	if g.titles != nil {
		row = -1
	}
	for line := range strings.Lines(text.String()) {
		line = strings.TrimRight(line, " \n")
		if row >= 0 && p.Painter.On {
			line = p.paintRow(line, g.cells[row], g.colors[row])
		}
		if _, err := w.WriteString(line + "\n"); err != nil {
			return err
		}
		if row >= 0 && g.below != nil {
			if err := p.writeBelow(w, g.below[row]); err != nil {
				return err
			}
		}
		row++
	}
	return nil
}

// writeUpright prints each row as lines of a name and a value below what stands in
// the first column, where a table has more columns than the terminal has room for.
func (p *Printer) writeUpright(w *bufio.Writer, g grid) error {
	const indent = 2
	width := 0
	for _, title := range g.titles[1:] {
		width = max(width, twwidth.Width(title))
	}
	for i, row := range g.cells {
		head := row[0]
		if i > 0 {
			head = "\n" + head
		}
		if _, err := w.WriteString(head + "\n"); err != nil {
			return err
		}
		for j, title := range g.titles[1:] {
			line := strings.Repeat(" ", indent) + title + strings.Repeat(" ", width-twwidth.Width(title)+columnGap)
			line = p.Cut(line+row[j+1], p.Width)
			if _, err := w.WriteString(strings.TrimRight(line, " ") + "\n"); err != nil {
				return err
			}
		}
	}
	return nil
}

// paintRow colours the cells of a line that is laid out already: escape
// sequences would be in the way of the layout.
func (p *Printer) paintRow(line string, cells []string, colors []Color) string {
	var b strings.Builder
	for i, cell := range cells {
		at := strings.Index(line, cell)
		if at < 0 {
			continue
		}
		b.WriteString(line[:at] + p.Painter.Paint(colors[i], cell))
		line = line[at+len(cell):]
	}
	return b.String() + line
}

func (g grid) alignment() tw.Alignment {
	alignment := make(tw.Alignment, len(g.right))
	for i, right := range g.right {
		alignment[i] = tw.AlignLeft
		if right {
			alignment[i] = tw.AlignRight
		}
	}
	return alignment
}

// fit cuts the widest texts until the table fits the terminal: a wrapped line
// is harder to read than a cut one, and a pipe or -o json has it all. Numbers
// and times are never cut. Columns that can be spared go where that is not enough.
// Nothing does with -o wide, which is asked for to see everything.
func (p *Printer) fit(g *grid) {
	if p.Format == "wide" {
		return
	}
	p.putBelow(g)
	widths, total := p.shrink(g)
	for total > p.Width || g.tooNarrow(widths) {
		i := slices.Index(g.spare, true)
		if i < 0 && total > p.Width {
			i = slices.Index(g.dear, true)
		}
		if i < 0 {
			break
		}
		g.drop(i)
		widths, total = p.shrink(g)
	}
	g.breakTexts(widths)
	for _, row := range g.cells {
		for i := range row {
			row[i] = p.Cut(row[i], widths[i])
		}
	}
}

// breakTexts breaks texts that are wider than their column into lines, each a row of its
// own.
func (g *grid) breakTexts(widths []int) {
	var cells [][]string
	var below [][]belowRow
	var colors [][]Color
	for r, row := range g.cells {
		var parts [][]string
		height := 1
		for i, cell := range row {
			part := strings.Split(cell, "\n") // the names of several rows
			if len(part) == 1 && g.text[i] && twwidth.Width(cell) > widths[i] {
				part = breakWords(Wrap(cell, widths[i]), widths[i])
			}
			parts, height = append(parts, part), max(height, len(part))
		}
		for line := range height {
			broken := make([]string, len(row))
			for i, part := range parts {
				if line < len(part) {
					broken[i] = part[line]
				}
			}
			cells, colors = append(cells, broken), append(colors, g.colors[r])
			if g.below != nil {
				below = append(below, nil)
			}
		}
		if g.below != nil {
			below[len(below)-1] = g.below[r]
		}
	}
	g.cells, g.colors, g.below = cells, colors, below
}

// putBelow takes columns that are never cut out of a table that does not fit, the last one
// first. Their values stand below the row, in their order.
func (p *Printer) putBelow(g *grid) {
	for {
		widths, total := g.natural()
		for i, w := range widths {
			if g.text[i] && !g.copied[i] {
				total -= max(0, w-readable) // it can be broken
			}
		}
		if total <= p.Width {
			return
		}
		last := -1
		for i, copied := range g.copied {
			if copied {
				last = i
			}
		}
		if last < 0 || len(g.copied) == 1 {
			return
		}
		if g.below == nil {
			g.below = make([][]belowRow, len(g.cells))
		}
		for r, row := range g.cells {
			if row[last] != "" {
				g.below[r] = append([]belowRow{{row[last], g.text[last]}}, g.below[r]...)
			}
		}
		g.drop(last)
	}
}

// writeBelow writes the values that stand below a row. A text is broken into lines, another
// value stays whole, however long it is: it is there to be copied.
func (p *Printer) writeBelow(w *bufio.Writer, values []belowRow) error {
	const indent = "  "
	for _, v := range values {
		line := indent + v.value
		if v.text {
			line = Fold(line, p.Width, indent)
		}
		if _, err := w.WriteString(line + "\n"); err != nil {
			return err
		}
	}
	return nil
}

// tooNarrow reports whether names of rows would be cut, which say what row it is, or a
// text broken into so many lines that nobody reads them.
func (g *grid) tooNarrow(widths []int) bool {
	return slices.ContainsFunc(g.cells, func(row []string) bool {
		for i, cell := range row {
			if cellWidth(cell) > widths[i] && (g.key[i] || g.text[i] && widths[i] < readable) {
				return true
			}
		}
		return false
	})
}

// drop takes a column out.
func (g *grid) drop(i int) {
	if g.titles != nil {
		g.titles = slices.Delete(g.titles, i, i+1)
	}
	for row := range g.cells {
		g.cells[row] = slices.Delete(g.cells[row], i, i+1)
		g.colors[row] = slices.Delete(g.colors[row], i, i+1)
	}
	g.right, g.whole = slices.Delete(g.right, i, i+1), slices.Delete(g.whole, i, i+1)
	g.spare, g.text, g.key = slices.Delete(g.spare, i, i+1), slices.Delete(g.text, i, i+1), slices.Delete(g.key, i, i+1)
	g.copied, g.dear = slices.Delete(g.copied, i, i+1), slices.Delete(g.dear, i, i+1)
}

// natural returns the widths of the columns with nothing cut, and that of the whole.
func (g *grid) natural() (widths []int, total int) {
	widths = make([]int, len(g.right))
	for _, row := range append([][]string{g.titles}, g.cells...) {
		for i, cell := range row {
			widths[i] = max(widths[i], cellWidth(cell))
		}
	}
	total = columnGap * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	return widths, total
}

// shrink returns the widths of the columns, the widest made narrower until the table
// fits or none may be cut any more, and the width of the whole.
func (p *Printer) shrink(g *grid) (widths []int, total int) {
	widths, total = g.natural()
	for total > p.Width {
		widest := g.widest(widths, false)
		if widest < 0 {
			widest = g.widest(widths, true)
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		total--
	}
	return widths, total
}

// cellWidth returns the width of a cell, which may have several lines.
func cellWidth(cell string) int {
	width := 0
	for line := range strings.SplitSeq(cell, "\n") {
		width = max(width, twwidth.Width(line))
	}
	return width
}

// widest returns the widest column that may be made narrower, -1 for none. The one that
// names the rows counts on its own.
func (g *grid) widest(widths []int, key bool) int {
	widest := -1
	for i, w := range widths {
		if !g.whole[i] && g.key[i] == key && w > MinColumn && (widest < 0 || w > widths[widest]) {
			widest = i
		}
	}
	return widest
}

// keyColumn returns the first column that holds nothing but the names of the rows, -1 for
// none.
func keyColumn(cells [][]string, names []string) int {
	if len(names) == 0 || len(names) != len(cells) {
		return -1
	}
	for i := range cells[0] {
		same := true
		for r, name := range names {
			same = same && cells[r][i] == name
		}
		if same {
			return i
		}
	}
	return -1
}

// breakWords breaks words that are wider than their column.
func breakWords(parts []string, width int) []string {
	var out []string
	for _, part := range parts {
		for twwidth.Width(part) > width {
			at, used := 0, 0
			for i, r := range part {
				if used += twwidth.Width(string(r)); used > width && i > 0 {
					break
				}
				at = i + utf8.RuneLen(r)
			}
			out, part = append(out, part[:at]), part[at:]
		}
		out = append(out, part)
	}
	return out
}

// Cut shortens s to a width in terminal columns, with an ellipsis.
func (p *Printer) Cut(s string, width int) string {
	if twwidth.Width(s) <= width {
		return s
	}
	if short := strings.TrimRight(s, " "); twwidth.Width(short) <= width {
		return Pad(short, width) // blanks are no loss
	}
	mark := "..."
	if p.Unicode {
		mark = "…"
	}
	room := width - twwidth.Width(mark)
	var b strings.Builder
	used := 0
	for _, r := range s {
		used += twwidth.Width(string(r))
		if used > room {
			break
		}
		b.WriteRune(r)
	}
	return b.String() + mark
}
