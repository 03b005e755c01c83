package main

import (
	"bufio"
	"fmt"
	"io"
	"iter"
	"strings"
)

// documentVersion is the version of the JSON and YAML documents. It grows when
// a name or a meaning changes, not when a field is added.
const documentVersion = 1

// printer writes the answer of a command on stdout in the format that
// --output asks for.
type printer struct {
	out      io.Writer
	errOut   io.Writer
	format   string // table, wide, json, yaml, csv, ndjson
	terminal bool   // stdout is a terminal
	quiet    bool   // --quiet: names alone, no notes
	width    int    // columns of the terminal
	unicode  bool
	painter  painter
	show     presentation
}

// isTable tells whether the answer is for people, or lines for cut and awk.
func (p *printer) isTable() bool { return p.format == "table" || p.format == "wide" }

// isDocument tells whether the answer is made of records, and not of columns.
func (p *printer) isDocument() bool {
	return p.format == "json" || p.format == "yaml" || p.format == "ndjson"
}

// namesOnly tells whether --quiet reduces the answer to names. With a format
// for programs --quiet only silences stderr.
func (p *printer) namesOnly() bool { return p.quiet && p.isTable() }

// column is one column of a list.
type column[T any] struct {
	name  string      // in CSV: "created_at"
	title string      // in tables: "CREATED"; "" takes the name in capitals
	blank bool        // no title at all in tables
	spare bool        // a narrow terminal does without it
	right bool        // aligned to the right, for numbers
	wide  bool        // in tables only with -o wide
	value func(T) any // string, int, int64, byteSize, time.Duration, time.Time, day, bool, styled, either or nil
}

func (c column[T]) heading() string {
	switch {
	case c.blank:
		return ""
	case c.title != "":
		return c.title
	}
	return visible(strings.ToUpper(strings.ReplaceAll(c.name, "_", " ")))
}

// list says how rows of one kind are shown in every format.
type list[T any] struct {
	plural  string // key of the array in JSON and YAML: "tenants"
	columns []column[T]
	// name returns what --quiet prints of a row.
	name func(T) string
	// record returns what JSON, YAML and NDJSON encode of a row; nil encodes
	// the row itself. Sizes are bytes, durations seconds, times RFC 3339 in UTC.
	record func(T) any
	// summary returns what JSON and YAML have beside the rows, under "summary";
	// nil for nothing. It is called after the last row.
	summary func() any
	// empty is the line on stderr when there are no rows: "no tenants".
	empty string
	// footer returns the lines below a table on a terminal; nil for none.
	footer func() string
	// noHeader leaves out the titles in tables, for results of a change:
	// "created  acme-corp  tenant_acme_corp  version 4  18 ms".
	noHeader bool
	// upright prints a row as a block of lines, the first column above them, where
	// the columns do not fit the terminal. It wants titles.
	upright bool
}

// printList prints rows that are all there.
func printList[T any](p *printer, l list[T], rows []T) error {
	return printRows(p, l, func(yield func(T, error) bool) {
		for _, row := range rows {
			if !yield(row, nil) {
				return
			}
		}
	})
}

// printRows prints rows as they come. Every format but the table on a terminal
// streams: memory does not grow with the number of rows. An error among the
// rows ends the output and is returned.
func printRows[T any](p *printer, l list[T], rows iter.Seq2[T, error]) error {
	w := bufio.NewWriter(p.out)
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
	if count == 0 && l.empty != "" && !p.quiet {
		fmt.Fprintln(p.errOut, l.empty)
	}
	return nil
}

func writeRows[T any](p *printer, w *bufio.Writer, l list[T], rows iter.Seq2[T, error]) error {
	switch {
	case p.namesOnly():
		return writeNames(p, w, l, rows)
	case p.format == "json":
		return writeJSON(w, l, rows)
	case p.format == "yaml":
		return writeYAML(w, l, rows)
	case p.format == "ndjson":
		return writeNDJSON(w, l, rows)
	case p.format == "csv":
		return writeCSV(p, w, l, rows)
	case p.terminal:
		return writeTable(p, w, l, rows)
	}
	return writeTSV(p, w, l, rows)
}

func writeNames[T any](p *printer, w *bufio.Writer, l list[T], rows iter.Seq2[T, error]) error {
	for row, err := range rows {
		if err != nil {
			return err
		}
		name := l.name(row)
		if p.terminal {
			name = visible(name)
		}
		if _, err := w.WriteString(name + "\n"); err != nil {
			return err
		}
	}
	return nil
}

func (l list[T]) encode(row T) any {
	if l.record == nil {
		return row
	}
	return l.record(row)
}

// shown returns the columns of a table.
func (l list[T]) shown(p *printer) []column[T] {
	var columns []column[T]
	for _, c := range l.columns {
		if !c.wide || p.format == "wide" {
			columns = append(columns, c)
		}
	}
	return columns
}
