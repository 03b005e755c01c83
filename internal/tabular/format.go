package tabular

import "fmt"

// NoHeader as a header row says that the file has none.
const NoHeader = -1

// Limits bound what one row may cost. Zero fields take the default.
type Limits struct {
	Cell    int // bytes of a cell, default 1 MiB
	Row     int // bytes of a row, default 4 MiB
	Columns int // default 4,096
}

// Kind is the format of a file.
type Kind string

// The formats that are read.
const (
	CSV   Kind = "csv"
	JSON  Kind = "json"
	VCard Kind = "vcard"
	XLSX  Kind = "xlsx"
)

// Format is what was found out about a file.
type Format struct {
	Kind        Kind
	Compression string // "gzip", "zstd", or ""
	Sheet       string // of a workbook
	Sheets      int    // that it has

	Encoding  string   // "utf-8", "utf-16le", "windows-1252" …
	Evidence  string   // why it is taken for that
	BOM       bool     // a byte order mark said so
	Delimiter byte     // ',', ';', '\t' or '|', or what was asked for
	HeaderRow int      // its line, 1-based; 0 when there is none
	Header    []string // made unique and never empty
	Skipped   []int    // lines passed over around the header that hold something: titles, a second header
	Widened   int      // columns that the rows have beyond the header
	Renamed   []string // headers that occur more than once, or are empty, as they are now called
}

// Error says that a file cannot be read at all.
type Error struct {
	Line   int // 1-based, 0 when no line is to blame
	Reason string
	Hint   string // what may help, or ""

	// Ask names what only the user can say, with what it may be; "" when the file
	// cannot be read whatever is said.
	Ask     Question
	Choices []Choice
}

// Question is what a user can be asked about a file.
type Question string

// The questions, by the names of Options.
const (
	AskEncoding  Question = "encoding"
	AskDelimiter Question = "delimiter"
	AskHeaderRow Question = "header-row"
)

// Choice is a possible answer.
type Choice struct {
	Name   string
	Sample string // how a piece of the file reads with it
}

// Error returns "line 17: a quote opened here is not closed within 4 MiB".
func (e *Error) Error() string {
	text := e.Reason
	if e.Line > 0 {
		text = fmt.Sprintf("line %d: %s", e.Line, e.Reason)
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}
