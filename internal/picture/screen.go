package picture

import (
	"slices"
	"strings"
	"unicode/utf8"
)

// Style is how a piece of text looks. Which colour that is depends on the theme of who looks at it.
type Style string

// The styles that a picture can have: those of internal/cli, and bold for what is typed.
const (
	Plain  Style = ""
	Bold   Style = "bold"
	Dim    Style = "dim"
	Red    Style = "red"
	Yellow Style = "yellow"
	Green  Style = "green"
)

// Run is a piece of text in one style, without blanks at its ends and without two in a row.
type Run struct {
	Column  int // of its first character, from 0
	Columns int // how many it takes
	Text    string
	Style   Style
}

// Screen is what a terminal shows: the runs of each line, from left to right.
type Screen struct {
	Columns int
	Lines   [][]Run
}

// cell is a place for a character; a wide one leaves the next cell empty.
type cell struct {
	text  string
	style Style
}

// newScreen cuts lines of cells into runs, and leaves out the empty lines at the end.
func newScreen(columns int, cells [][]cell) Screen {
	s := Screen{Columns: columns}
	for _, line := range cells {
		s.Lines = append(s.Lines, runsOf(line))
	}
	for len(s.Lines) > 0 && len(s.Lines[len(s.Lines)-1]) == 0 {
		s.Lines = s.Lines[:len(s.Lines)-1]
	}
	return s
}

func runsOf(line []cell) []Run {
	var runs []Run
	for i := 0; i < len(line); {
		if line[i].text == " " {
			i++
			continue
		}
		run := Run{Column: i, Style: line[i].style}
		end := i
		for ; end < len(line) && line[end].style == run.style(line[end]); end++ {
			if line[end].text == " " && (end+1 == len(line) || line[end+1].text == " ") {
				break
			}
			run.Text += line[end].text
		}
		i = end
		run.Text = strings.TrimRight(run.Text, " ")
		run.Columns = end - run.Column
		if end > run.Column && line[end-1].text == " " {
			run.Columns--
		}
		runs = append(runs, run)
	}
	return runs
}

// style returns the style that a cell has to have to belong to the run: a blank, and what follows a wide character,
// have none that is seen.
func (r Run) style(c cell) Style {
	if c.text == " " || c.text == "" {
		return c.style
	}
	return r.Style
}

// String returns the screen as plain text.
func (s Screen) String() string { return s.write(func(r Run) string { return r.Text }) }

// Marked returns the screen as text in which what is not plain stands in braces: "{red failed}".
func (s Screen) Marked() string {
	return s.write(func(r Run) string {
		if r.Style == Plain {
			return r.Text
		}
		return "{" + string(r.Style) + " " + r.Text + "}"
	})
}

func (s Screen) write(text func(Run) string) string {
	var b strings.Builder
	for _, line := range s.Lines {
		at := 0
		for _, r := range line {
			b.WriteString(strings.Repeat(" ", max(0, r.Column-at)))
			b.WriteString(text(r))
			at = r.Column + r.Columns
		}
		b.WriteString("\n")
	}
	return b.String()
}

// Replace puts one text in place of another of the same length, such as the name of a place for one that differs
// from run to run. It panics where the lengths differ: the columns would not be where the program put them.
func (s Screen) Replace(was, is string) Screen {
	if utf8.RuneCountInString(was) != utf8.RuneCountInString(is) {
		panic("picture: " + was + " and " + is + " are not of one length")
	}
	out := Screen{Columns: s.Columns}
	for _, line := range s.Lines {
		line = slices.Clone(line)
		for i := range line {
			line[i].Text = strings.ReplaceAll(line[i].Text, was, is)
		}
		out.Lines = append(out.Lines, line)
	}
	return out
}
