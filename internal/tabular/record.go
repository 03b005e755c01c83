package tabular

import "fmt"

// Problem says what keeps a record from being used.
type Problem int

// The problems of a record. Its Raw and Line are good with every one of them,
// its Fields only with None.
const (
	None        Problem = iota
	BadQuotes           // text follows a closing quote
	OpenQuote           // a quote is never closed
	LongCell            // a cell is over Limits.Cell
	LongRow             // the row is over Limits.Row; Raw holds only its beginning
	ManyColumns         // the row has more columns than Limits.Columns
	NotUTF8             // some text is not valid in the file's encoding
	NUL                 // some text holds a NUL, which no database stores
	BadSyntax           // the row is not what its format demands
)

// Describe says in words what is wrong, given the limits that apply.
func (p Problem) Describe(l Limits) string {
	l = l.withDefaults()
	switch p {
	case BadQuotes:
		return "text follows a closing quote"
	case OpenQuote:
		return "a quote is never closed"
	case LongCell:
		return "a cell is longer than " + byteSize(l.Cell)
	case LongRow:
		return "it is longer than " + byteSize(l.Row)
	case ManyColumns:
		return fmt.Sprintf("it has more than %d columns", l.Columns)
	case NotUTF8:
		return "it is not valid text in the file's encoding"
	case NUL:
		return "it holds a NUL"
	case BadSyntax:
		return "it is not what its format demands"
	}
	return ""
}

// Reader reads the rows of a file, whatever its format, one after another.
type Reader interface {
	// Next returns the next row, or io.EOF after the last. Any other error is that
	// of the source, or an *Error when the file cannot be read on.
	Next() (*Record, error)
}

// Record is one row. It is valid until the next call of Next.
type Record struct {
	Line   int      // of its first character, 1-based
	Raw    []byte   // as it stands in the file, in UTF-8, its line ending included
	Fields [][]byte // the cells without their quotes
	Blank  bool     // holds nothing but white space in any cell
	Note   bool     // the export's own: its header again, or a line below the rows
	Extra  []Pair   // what has no column, in formats whose rows name their values
	// Own are the properties of a vCard that are the caller's, and Lines the text of all
	// others, where the caller has written it.
	Own   []Pair
	Lines []byte

	Problem Problem
	Column  int // 1-based column of the problem, 0 when it is the row's
}

// Pair is a value with its name.
type Pair struct{ Key, Value []byte }

// rawPrefix is how much of a row over the limit is kept.
const rawPrefix = 1024

// Text returns Raw without its line ending.
func (r *Record) Text() []byte {
	raw := r.Raw
	if n := len(raw); n > 0 && raw[n-1] == '\n' {
		raw = raw[:n-1]
	}
	if n := len(raw); n > 0 && raw[n-1] == '\r' {
		raw = raw[:n-1]
	}
	return raw
}
