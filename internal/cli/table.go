package cli

import (
	"bufio"
	"iter"
	"slices"
	"strings"

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
)

// grid is a table as text: what goes onto a terminal.
type grid struct {
	titles []string // nil for none
	cells  [][]string
	colors [][]Color
	right  []bool
	whole  []bool // columns that are never cut
	spare  []bool // columns that a narrow terminal does without
}

// writeTable prints an aligned table for a terminal. It has to hold all rows,
// since the width of a column is known at the end.
func writeTable[T any](p *Printer, w *bufio.Writer, l List[T], rows iter.Seq2[T, error]) error {
	columns := l.shown(p)
	g := grid{right: make([]bool, len(columns)), whole: make([]bool, len(columns)), spare: make([]bool, len(columns))}
	for i, c := range columns {
		g.right[i], g.whole[i], g.spare[i] = c.Right, c.Right, c.Spare
		if !l.NoHeader {
			g.titles = append(g.titles, c.heading())
		}
	}
	for row, err := range rows {
		if err != nil {
			return err
		}
		cells, colors := make([]string, len(columns)), make([]Color, len(columns))
		for i, c := range columns {
			v := c.Value(row)
			cells[i], colors[i] = Visible(p.Show.Human(v)), ColorOf(v)
			g.whole[i] = g.whole[i] || isNumber(v)
		}
		g.cells, g.colors = append(g.cells, cells), append(g.colors, colors)
	}
	if len(g.cells) == 0 && l.NoHeader {
		return nil
	}
	if _, total := p.shrink(&g); l.Upright && p.Format != "wide" && total > p.Width {
		return p.writeUpright(w, g)
	}
	if err := p.writeGrid(w, g); err != nil || l.Footer == nil || len(g.cells) == 0 {
		return err
	}
	_, err := w.WriteString("\n" + l.Footer() + "\n")
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
	widths, total := p.shrink(g)
	for total > p.Width && slices.Contains(g.spare, true) {
		g.drop(slices.Index(g.spare, true))
		widths, total = p.shrink(g)
	}
	for _, row := range g.cells {
		for i := range row {
			row[i] = p.Cut(row[i], widths[i])
		}
	}
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
	g.right, g.whole, g.spare = slices.Delete(g.right, i, i+1), slices.Delete(g.whole, i, i+1), slices.Delete(g.spare, i, i+1)
}

// shrink returns the widths of the columns, the widest made narrower until the table
// fits or none may be cut any more, and the width of the whole.
func (p *Printer) shrink(g *grid) (widths []int, total int) {
	widths = make([]int, len(g.right))
	measure := func(row []string) {
		for i, cell := range row {
			widths[i] = max(widths[i], twwidth.Width(cell))
		}
	}
	measure(g.titles)
	for _, row := range g.cells {
		measure(row)
	}
	total = columnGap * (len(widths) - 1)
	for _, w := range widths {
		total += w
	}
	for total > p.Width {
		widest := -1
		for i, w := range widths {
			if !g.whole[i] && w > MinColumn && (widest < 0 || w > widths[widest]) {
				widest = i
			}
		}
		if widest < 0 {
			break
		}
		widths[widest]--
		total--
	}
	return widths, total
}

// Cut shortens s to a width in terminal columns, with an ellipsis.
func (p *Printer) Cut(s string, width int) string {
	if twwidth.Width(s) <= width {
		return s
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

// writeTSV prints a table for a pipe: tab-separated, nothing cut, values as
// programs want them, on one line each whatever they hold.
func writeTSV[T any](p *Printer, w *bufio.Writer, l List[T], rows iter.Seq2[T, error]) error {
	columns := l.shown(p)
	cells := make([]string, len(columns))
	if !l.NoHeader {
		for i, c := range columns {
			cells[i] = c.heading()
		}
		if _, err := w.WriteString(strings.Join(cells, "\t") + "\n"); err != nil {
			return err
		}
	}
	for row, err := range rows {
		if err != nil {
			return err
		}
		for i, c := range columns {
			cells[i] = Visible(Machine(c.Value(row)))
		}
		if _, err := w.WriteString(strings.Join(cells, "\t") + "\n"); err != nil {
			return err
		}
	}
	return nil
}
