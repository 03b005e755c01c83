package cli

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
)

// DocumentVersion is the version of the JSON and YAML documents. It grows when
// a name or a meaning changes, not when a field is added.
const DocumentVersion = 1

// Printer writes the answer of a command on stdout in the format that
// --output asks for.
type Printer struct {
	Out      io.Writer
	ErrOut   io.Writer
	Format   string // table, wide, json, yaml, csv, ndjson
	Terminal bool   // stdout is a terminal
	Quiet    bool   // --quiet: names alone, no notes
	Width    int    // columns of the terminal
	Unicode  bool
	Painter  Painter
	Show     Presentation
}

// IsTable reports whether the answer is for people, or lines for cut and awk.
func (p *Printer) IsTable() bool { return p.Format == "table" || p.Format == "wide" }

// IsDocument reports whether the answer is made of records, and not of columns.
func (p *Printer) IsDocument() bool {
	return p.Format == "json" || p.Format == "yaml" || p.Format == "ndjson"
}

// NamesOnly reports whether --quiet reduces the answer to names. With a format
// for programs --quiet only silences stderr.
func (p *Printer) NamesOnly() bool { return p.Quiet && p.IsTable() }

// Column is one fact of the rows of a list, under one name in every format.
type Column[T any] struct {
	Name     string // in JSON, YAML and CSV: "created_at"
	Title    string // in tables: "CREATED"; "" takes the name in capitals
	Blank    bool   // no title on a terminal, where the values say enough
	Key      bool   // names the row beside Name: cut last
	Spare    bool   // a narrow terminal does without it
	Dear     bool   // the same, when there is no other column to do without
	Text     bool   // of several words: broken into lines where there is no room, not cut
	Copied   bool   // never cut: a line of its own below the row where there is no room
	Right    bool   // aligned to the right, for numbers
	Wide     bool   // in tables only with -o wide
	Document bool   // only in JSON, YAML and NDJSON
	Optional bool   // these leave it out where it is empty
	// Value returns the fact: a type of this package, what Presentation.Human knows, or
	// whatever JSON can encode.
	Value func(T) any
}

// heading returns the title of a column.
func (c Column[T]) heading() string {
	if c.Title != "" {
		return c.Title
	}
	return Visible(strings.ToUpper(strings.ReplaceAll(c.Name, "_", " ")))
}

// List says how rows of one kind are shown in every format.
type List[T any] struct {
	Plural  string // key of the array in JSON and YAML: "tenants"
	Columns []Column[T]
	// Name returns what --quiet prints of a row.
	Name func(T) string
	// Record returns what JSON, YAML and NDJSON encode of a row where that is not
	// its columns: rows whose names are made by somebody else.
	Record func(T) any
	// Summary returns what JSON and YAML have beside the rows, under "summary";
	// nil for nothing. It is called after the last row.
	Summary func() any
	// Empty is the line on stderr when there are no rows: "no tenants".
	Empty string
	// Footer returns the lines below a table on a terminal; nil for none.
	Footer func() string
	// Alike puts rows together that differ in nothing but whose they are; nil for none.
	Alike *Alike[T]
	// NoHeader leaves out the titles in tables, for results of a change:
	// "created  acme-corp  tenant_acme_corp  version 4  18 ms".
	NoHeader bool
	// Upright prints a row as a block of lines, the first column above them, where
	// the columns do not fit the terminal. It wants titles.
	Upright bool
}

// PrintList prints rows that are all there.
func PrintList[T any](p *Printer, l List[T], rows []T) error {
	return PrintRows(p, l, func(yield func(T, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
	})
}

// PrintRows prints rows as they come. Every format but the table on a terminal
// streams: memory does not grow with the number of rows. An error among the
// rows ends the output and is returned.
func PrintRows[T any](p *Printer, l List[T], rows iter.Seq2[T, error]) error {
	w := bufio.NewWriter(p.Out)
	count := 0
	counted := func(yield func(T, error) bool) {
		for row, err := range rows {
			if err == nil {
				count++
			}
			if !yield(row, err) {
				return
			}
		}
	}
	err := writeRows(p, w, l, counted)
	if flushErr := w.Flush(); err == nil {
		err = flushErr
	}
	if err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	if count == 0 && l.Empty != "" && !p.Quiet {
		fmt.Fprintln(p.ErrOut, l.Empty)
	}
	return nil
}

func writeRows[T any](p *Printer, w *bufio.Writer, l List[T], rows iter.Seq2[T, error]) error {
	switch {
	case p.NamesOnly():
		return writeNames(p, w, l, rows)
	case p.Format == "json":
		return writeJSON(w, l, rows)
	case p.Format == "yaml":
		return writeYAML(w, l, rows)
	case p.Format == "ndjson":
		return writeNDJSON(w, l, rows)
	case p.Format == "csv":
		return writeCSV(p, w, l, rows)
	case p.Terminal:
		return writeTable(p, w, l, rows)
	}
	return writeTSV(p, w, l, rows)
}

func writeNames[T any](p *Printer, w *bufio.Writer, l List[T], rows iter.Seq2[T, error]) error {
	for row, err := range rows {
		if err != nil {
			return err
		}
		name := l.Name(row)
		if p.Terminal {
			name = Visible(name)
		}
		if _, err := w.WriteString(name + "\n"); err != nil {
			return err
		}
	}
	return nil
}

func (l List[T]) encode(row T) any {
	if l.Record != nil {
		return l.Record(row)
	}
	facts := make(record, 0, len(l.Columns))
	for _, c := range l.Columns {
		facts = facts.add(c.Name, c.Value(row), c.Optional)
	}
	return facts
}

// cells returns the columns of a row on one line: all but those of documents alone.
func (l List[T]) cells() []Column[T] {
	return slices.DeleteFunc(slices.Clone(l.Columns), func(c Column[T]) bool { return c.Document })
}

// shown returns the columns of a table.
func (l List[T]) shown(p *Printer) []Column[T] {
	var columns []Column[T]
	for _, c := range l.cells() {
		if !c.Wide || p.Format == "wide" {
			columns = append(columns, c)
		}
	}
	return columns
}
