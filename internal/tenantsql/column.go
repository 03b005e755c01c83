package tenantsql

import (
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// Column is a column of the result. A domain counts as the type below it.
type Column struct {
	Name string
	OID  uint32 // of its type
}

// Kind says what a column's text means beyond text.
type Kind int

// Everything that has no kind of its own is Text: times, arrays, enums and so on.
const (
	Text Kind = iota
	Number
	Bool
	JSON
)

// Kind returns what the values of a column are.
func (c Column) Kind() Kind {
	switch c.OID {
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID, pgtype.Float4OID, pgtype.Float8OID, pgtype.NumericOID,
		pgtype.OIDOID:
		return Number
	case pgtype.BoolOID:
		return Bool
	case pgtype.JSONOID, pgtype.JSONBOID:
		return JSON
	}
	return Text
}

// firstUserOID is where the types begin that PostgreSQL does not bring along. A
// tenant's own types differ from those of its neighbour by nothing but this number.
const firstUserOID = 16384

func (c Column) agrees(other Column) bool {
	return c.Name == other.Name && (c.OID == other.OID || c.OID >= firstUserOID && other.OID >= firstUserOID)
}

func columnsOf(fields []pgconn.FieldDescription) []Column {
	out := make([]Column, len(fields))
	for i, f := range fields {
		out[i] = Column{Name: f.Name, OID: f.DataTypeOID}
	}
	return out
}

// ColumnsError says that a tenant's result has other columns than the first one's.
type ColumnsError struct {
	Of        string // slug of the tenant whose columns the others must have
	Want, Got []Column
}

// Error names what differs.
func (e *ColumnsError) Error() string {
	if len(e.Want) != len(e.Got) {
		return fmt.Sprintf("the result has %s, but that of %s has %s", columnNames(e.Got), e.Of, columnNames(e.Want))
	}
	for i, c := range e.Got {
		switch want := e.Want[i]; {
		case c.Name != want.Name:
			return fmt.Sprintf("the result has column %q where that of %s has %q", c.Name, e.Of, want.Name)
		case !c.agrees(want):
			return fmt.Sprintf("column %q of the result has another type than that of %s", c.Name, e.Of)
		}
	}
	return "the result has other columns than that of " + e.Of
}

func columnNames(columns []Column) string {
	const most = 6
	switch {
	case len(columns) == 0:
		return "no columns"
	case len(columns) == 1:
		return fmt.Sprintf("the column %q", columns[0].Name)
	case len(columns) > most:
		return fmt.Sprintf("%d columns", len(columns))
	}
	names := make([]string, len(columns))
	for i, c := range columns {
		names[i] = c.Name
	}
	return "the columns " + strings.Join(names, ", ")
}

func agree(a, b []Column) bool { return slices.EqualFunc(a, b, Column.agrees) }
