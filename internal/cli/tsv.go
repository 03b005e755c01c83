package cli

import (
	"bufio"
	"iter"
	"strings"
)

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
	write := func(cells []string) error {
		_, err := w.WriteString(strings.Join(cells, "\t") + "\n")
		return err
	}
	if l.Alike != nil && l.Alike.Piped && p.Format != "wide" {
		lines, err := pipedTogether(p, l, rows)
		for _, cells := range lines {
			if err == nil {
				err = write(cells)
			}
		}
		return err
	}
	for row, err := range rows {
		if err == nil {
			err = write(machineCells(columns, row))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func machineCells[T any](columns []Column[T], row T) []string {
	cells := make([]string, len(columns))
	for i, c := range columns {
		cells[i] = Visible(Machine(c.Value(row)))
	}
	return cells
}
