package exporter

import (
	"context"
	"encoding/binary"
	"fmt"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Measure is what is known of rows before they are written.
type Measure struct {
	Rows    int64
	Longest []int64 // text of each column, in bytes; nil where only a sheet would want it
}

// MaxSheetRows is how many rows a sheet of XLSX has beside its header.
const MaxSheetRows = 1<<20 - 1

// SheetError says that rows do not fit into a sheet of XLSX.
type SheetError struct {
	Rows    int64 // 0 where it is the columns
	Columns int
}

func (e *SheetError) Error() string {
	if e.Rows > 0 {
		return fmt.Sprintf("a sheet has %d rows beside its header, and there are %d", MaxSheetRows, e.Rows)
	}
	return fmt.Sprintf("a sheet has %d columns, and there would be %d: a cell holds %d characters, and longer texts "+
		"take several", maxSheetColumns, e.Columns, maxSheetCell)
}

// Measure counts the rows of a tenant, and adds what it finds to what is known of the file.
// It returns the number of rows. Of a sheet everything is measured before the first row.
func (e *Export) Measure(ctx context.Context, conn *pgx.Conn, s Source) (int64, error) {
	columns := e.columns
	if e.o.Format != XLSX {
		columns = nil
	}
	var found Measure
	err := e.read(ctx, conn, s, make([]Column, 1+len(columns)), func(shape *shape, named names) string {
		parts, largest := make([]string, len(columns)), []string{"pg_catalog.count(*)"}
		for i, c := range columns {
			name := "c" + strconv.Itoa(i)
			parts[i] = shape.expression(c) + " as " + name
			largest = append(largest, "pg_catalog.max(pg_catalog.octet_length(x."+name+"::pg_catalog.text))::bigint")
		}
		return "copy (select " + strings.Join(largest, ", ") + " from (select " + strings.Join(parts, ", ") + " from " +
			named(string(e.o.Table)) + " c" + e.filter.where(named) + ") x) to stdout (format binary)"
	}, func(fields [][]byte) error {
		for i, field := range fields {
			n := int64(0)
			if field != nil {
				n = int64(binary.BigEndian.Uint64(field))
			}
			if i == 0 {
				found.Rows = n
				continue
			}
			found.Longest = append(found.Longest, n)
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	e.total.add(found)
	return found.Rows, e.total.fits()
}

// add joins what was found of another tenant.
func (m *Measure) add(other Measure) {
	m.Rows += other.Rows
	for i, n := range other.Longest {
		if i == len(m.Longest) {
			m.Longest = append(m.Longest, 0)
		}
		m.Longest[i] = max(m.Longest[i], n)
	}
}

// fits returns a *SheetError where the rows are too many or too wide. Without lengths they
// are for no sheet.
func (m *Measure) fits() error {
	if m.Longest == nil {
		return nil
	}
	columns := 1
	for _, n := range m.Longest {
		columns += cellsFor(n)
	}
	switch {
	case m.Rows > MaxSheetRows:
		return &SheetError{Rows: m.Rows}
	case columns > maxSheetColumns:
		return &SheetError{Columns: columns}
	}
	return nil
}

// cellsFor returns how many cells a text takes. No text has more characters of a sheet,
// which are those of UTF-16, than bytes.
func cellsFor(bytes int64) int { return int(max(1, (bytes+maxSheetCell-1)/maxSheetCell)) }
