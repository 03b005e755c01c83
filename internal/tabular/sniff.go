package tabular

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

const (
	// sniffRows is how many rows the dialect is judged by, headerRows among how
	// many of them the header is looked for.
	sniffRows  = 100
	headerRows = 50
)

// delimiters in the order that decides between equals.
const delimiters = ",;\t|"

// sampleRow is a row of the sample, read with one of the delimiters.
type sampleRow struct {
	line   int
	fields []string
	blank  bool
	broken bool
}

// filled returns how many cells hold something.
func (r sampleRow) filled() (n int) {
	for _, f := range r.fields {
		if strings.TrimSpace(f) != "" {
			n++
		}
	}
	return n
}

// sniffLineEnds reports whether CR alone ends rows: whether, outside quotes, it is
// more frequent than LF.
func sniffLineEnds(sample []byte) bool {
	lf, cr := 0, 0
	quoted := false
	for i, c := range sample {
		switch {
		case c == quote:
			quoted = !quoted
		case quoted:
		case c == '\n':
			lf++
		case c == '\r' && i+1 < len(sample) && sample[i+1] != '\n':
			cr++
		}
	}
	if lf == 0 && cr == 0 {
		// Nothing outside quotes, or a stray quote turned inside out.
		crlf := bytes.Count(sample, []byte("\r\n"))
		lf, cr = bytes.Count(sample, []byte{'\n'}), bytes.Count(sample, []byte{'\r'})-crlf
	}
	return cr > lf
}

// sampleRows reads the first rows of a sample. whole says that the sample is the
// file; otherwise its last row may be cut and does not count.
func sampleRows(sample []byte, comma byte, crEnds, whole bool, limits Limits) []sampleRow {
	s := newScanner(bytes.NewReader(sample), limits, len(sample)+1)
	s.setDialect(comma, crEnds)
	var rows []sampleRow
	for len(rows) < sniffRows {
		rec, err := s.Next()
		if err != nil {
			if !whole && errors.Is(err, io.EOF) && len(rows) > 1 {
				rows = rows[:len(rows)-1]
			}
			break
		}
		row := sampleRow{line: rec.Line, blank: rec.Blank, broken: rec.Problem != None}
		if !row.broken {
			for _, f := range rec.Fields {
				row.fields = append(row.fields, string(f))
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// usualColumns returns the most frequent number of columns, of several equally
// frequent ones the largest, and the share of rows that have it.
func usualColumns(rows []sampleRow) (columns int, share float64) {
	counts := map[int]int{}
	n := 0
	for _, r := range rows {
		if r.blank {
			continue
		}
		n++
		if !r.broken {
			counts[len(r.fields)]++
		}
	}
	for c, k := range counts {
		if k > counts[columns] || k == counts[columns] && c > columns {
			columns = c
		}
	}
	if n == 0 {
		return 0, 0
	}
	return columns, float64(counts[columns]) / float64(n)
}

// sniffDelimiter returns the delimiter with which the rows agree best about
// their number of columns; one that brings a known header to light wins. Without
// any that makes two columns it is the comma.
func sniffDelimiter(sample []byte, crEnds, whole bool, o Options) byte {
	best, bestScore, bestColumns := byte(','), 0.0, 1
	for _, comma := range []byte(delimiters) {
		rows := sampleRows(sample, comma, crEnds, whole, o.Limits)
		columns, score := usualColumns(rows)
		if columns < 2 {
			// Ragged rows below a wide header, perhaps.
			score = 0
		}
		if at := knownHeader(rows, columns, o.Known); at >= 0 && len(rows[at].fields) > 1 {
			columns = max(columns, len(rows[at].fields))
			score++
		}
		if score > bestScore+0.05 || score > 0 && score >= bestScore-0.05 && columns > bestColumns {
			best, bestScore, bestColumns = comma, score, columns
		}
	}
	return best
}

// excelDelimiter returns the delimiter of a first line "sep=;", which some
// spreadsheets write and read, or 0.
func excelDelimiter(sample []byte) byte {
	line, _, _ := bytes.Cut(sample, []byte{'\n'})
	line = bytes.TrimSuffix(line, []byte{'\r'})
	if len(line) == 5 && bytes.EqualFold(line[:4], []byte("sep=")) && validDelimiter(line[4]) {
		return line[4]
	}
	return 0
}

// foreign names the kind of a file that is no delimited text, by how it begins,
// or returns "". Read as text it could make contacts of a kind.
func foreign(sample []byte) string {
	head := bytes.TrimLeft(sample[:min(len(sample), 512)], " \t\r\n")
	for _, kind := range []struct{ begins, name string }{
		{"%PDF-", "a PDF"},
		{"<!DOCTYPE", "a web page"}, {"<html", "a web page"}, {"<?xml", "XML"}, {"{\\rtf", "a text document (RTF)"},
	} {
		if len(head) >= len(kind.begins) && bytes.EqualFold(head[:len(kind.begins)], []byte(kind.begins)) {
			return kind.name
		}
	}
	switch {
	case bytes.HasPrefix(head, []byte("\xD0\xCF\x11\xE0")):
		return "an old Excel workbook"
	case bytes.HasPrefix(head, []byte("7z\xBC\xAF")), bytes.HasPrefix(head, []byte("Rar!\x1A")),
		bytes.HasPrefix(head, []byte("\xFD7zXZ")), bytes.HasPrefix(head, []byte("BZh9")):
		return "an archive"
	}
	return ""
}

func validDelimiter(c byte) bool {
	switch {
	case c == quote, c == '\n', c == '\r', c == 0, c == ' ', c == '.', c == '@', c == '-', c == '_', c >= 0x80:
		return false
	case c >= '0' && c <= '9', c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		return false
	}
	return true
}

// parseDelimiter reads the option: one character, or "tab" or "\t".
func parseDelimiter(asked string) (byte, error) {
	switch strings.ToLower(asked) {
	case "tab", `\t`:
		return '\t', nil
	case "comma":
		return ',', nil
	case "semicolon":
		return ';', nil
	case "pipe":
		return '|', nil
	}
	if len(asked) == 1 && validDelimiter(asked[0]) {
		return asked[0], nil
	}
	return 0, &Error{Reason: fmt.Sprintf("delimiter %q cannot be used", asked),
		Hint: `give one character, such as ";", or "tab"`}
}

// knownHeader returns the index of the row that is the header by what its cells
// say: the first with two known names, or else with one, if it is about as wide
// as the rows are. It is -1 when there is none.
func knownHeader(rows []sampleRow, columns int, known func(string) bool) int {
	if known == nil {
		return -1
	}
	single := -1
	for i, r := range rows[:min(len(rows), headerRows)] {
		if r.blank || r.broken || r.filled()*2 < columns {
			continue
		}
		n := 0
		for _, f := range r.fields {
			if known(headerName(f)) {
				n++
			}
		}
		if n >= 2 {
			return i
		}
		if n == 1 && single < 0 {
			single = i
		}
	}
	return single
}

// findHeader returns the index of the header in rows, or -1: the known one, or
// else the first that is as wide as the rows usually are.
func findHeader(rows []sampleRow, known func(string) bool) int {
	columns, _ := usualColumns(rows)
	if i := knownHeader(rows, columns, known); i >= 0 {
		return i
	}
	for i, r := range rows[:min(len(rows), headerRows)] {
		if r.blank || r.broken || len(r.fields) < columns {
			continue
		}
		if narrow := narrowHeader(rows[:i], columns); narrow >= 0 && r.holdsData() {
			return narrow
		}
		return i
	}
	// A row that cannot be read is worth an error of its own.
	return slices.IndexFunc(rows, func(r sampleRow) bool { return r.broken })
}

// narrowHeader returns the index of the row directly above that has a name for most
// of the columns, though not for all, or -1.
func narrowHeader(above []sampleRow, columns int) int {
	i := len(above) - 1
	if i < 0 || above[i].blank || above[i].broken || above[i].holdsData() {
		return -1
	}
	if n := above[i].filled(); n < 2 || n != len(above[i].fields) || n*2 < columns {
		return -1
	}
	return i
}

// holdsData reports whether a row has a number or an address in it, as headers do
// not.
func (r sampleRow) holdsData() bool {
	return slices.ContainsFunc(r.fields, func(cell string) bool {
		cell = strings.TrimSpace(cell)
		return strings.Contains(cell, "@") || cell != "" && strings.Trim(cell, "0123456789.,+-/() ") == ""
	})
}

// isSecondHeader reports whether row repeats the header, in the same words or in
// the names a program has for them ("NPSP__FIRSTNAME__C"), as export templates
// do that give labels in one row and field names in the next.
func isSecondHeader(header, row []string) bool {
	same, filled := 0, 0
	for i, cell := range row {
		c := squeeze(cell)
		if c == "" {
			continue
		}
		filled++
		if i >= len(header) {
			continue
		}
		h := squeeze(header[i])
		if h == c || h != "" && strings.Contains(cell, "__") && !strings.ContainsAny(cell, " @") {
			same++
		}
	}
	return filled >= 2 && same*10 >= filled*7
}

// squeeze returns the letters and digits of s in lower case.
func squeeze(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= '0' && r <= '9', r >= 'a' && r <= 'z', r >= 0x80:
			return r
		case r >= 'A' && r <= 'Z':
			return r + 'a' - 'A'
		}
		return -1
	}, s)
}
