package tabular

import (
	"bytes"
)

// state is how an attempt at a record ended.
type state int

const (
	complete  state = iota
	needMore        // the data ended inside the record
	openQuote       // and that inside quotes
)

// parse splits the first record off data into s.fields and s.record and returns
// its length. atEOF says that nothing follows data. With openQuote n is the
// index of the quote.
func (s *Scanner) parse(data []byte, atEOF bool) (n int, st state) {
	fields := s.fields[:0]
	s.scratch = s.scratch[:0]
	s.record = Record{}
	i, columns, cellLimit := 0, 0, s.limits.Cell
	for {
		var cell []byte
		if q := s.paddedQuote(data, i); q > i {
			i = q
		}
		if i < len(data) && data[i] == quote {
			var at int
			if cell, at, st = s.quoted(data, i, columns+1, atEOF); st != complete {
				return at, st
			}
			i = at
		} else {
			start := i
			if i, st = s.unquoted(data, i, atEOF); st != complete {
				return 0, st
			}
			if cell = data[start:i]; start == i {
				cell = nil // unlike a pair of quotes
			}
		}
		columns++
		if columns <= s.limits.Columns {
			fields = append(fields, cell)
		} else {
			s.problem(ManyColumns, 0)
		}
		if len(cell) > cellLimit {
			s.problem(LongCell, columns)
		}
		switch {
		case i == len(data):
			n = i
		case data[i] == s.comma:
			i++
			continue
		case data[i] == '\r' && i+1 < len(data) && data[i+1] == '\n':
			n = i + 2
		default:
			n = i + 1
		}
		break
	}
	s.fields = fields
	s.record.Fields = fields
	s.record.Blank = s.record.Problem == None && blank(fields)
	return n, complete
}

// paddedQuote returns where the quote of a cell opens that begins with blanks and
// ends, in the same line, with the quote and blanks: such blanks are no data. It
// is i for every other cell.
func (s *Scanner) paddedQuote(data []byte, i int) int {
	if i >= len(data) || data[i] != ' ' {
		return i
	}
	open := i
	for open < len(data) && data[open] == ' ' {
		open++
	}
	if open == len(data) || data[open] != quote {
		return i
	}
	for j := open + 1; j < len(data); j++ {
		switch data[j] {
		case '\n', '\r':
			return i
		case quote:
			if j+1 < len(data) && data[j+1] == quote {
				j++
				continue
			}
			for j++; j < len(data) && data[j] == ' '; j++ {
			}
			if j == len(data) || data[j] == s.comma || data[j] == '\n' || data[j] == '\r' {
				return open
			}
			return i
		}
	}
	return i
}

// problem notes the first problem of the record.
func (s *Scanner) problem(p Problem, column int) {
	if s.record.Problem == None {
		s.record.Problem, s.record.Column = p, column
	}
}

// unquoted returns the end of the cell that begins at i: the index of the
// delimiter or line ending, or len(data) at the end of the file.
func (s *Scanner) unquoted(data []byte, i int, atEOF bool) (int, state) {
	for {
		for i < len(data) && !s.special[data[i]] {
			i++
		}
		if i == len(data) {
			if !atEOF {
				return i, needMore
			}
			return i, complete
		}
		if data[i] != '\r' {
			return i, complete
		}
		if i+1 == len(data) {
			// Whether LF follows decides; at the end of the file it ends the row.
			if !atEOF {
				return i, needMore
			}
			return i, complete
		}
		if s.crEnds || data[i+1] == '\n' {
			return i, complete
		}
		i++
	}
}

// quoted returns the cell whose opening quote is data[open], and the index of
// the delimiter or line ending after it.
func (s *Scanner) quoted(data []byte, open, column int, atEOF bool) (cell []byte, at int, st state) {
	start := open + 1
	i := start
	kept := -1 // where this cell begins in scratch, once it holds an escaped quote
	for {
		j := bytes.IndexByte(data[i:], quote)
		if j < 0 {
			s.record.Column = column
			return nil, open, openQuote
		}
		i += j
		if i+1 == len(data) && !atEOF {
			return nil, open, needMore
		}
		if i+1 < len(data) && data[i+1] == quote {
			if kept < 0 {
				kept = len(s.scratch)
			}
			s.scratch = append(s.scratch, data[start:i+1]...)
			i += 2
			start = i
			continue
		}
		break
	}
	cell = data[start:i]
	if kept >= 0 {
		s.scratch = append(s.scratch, cell...)
		cell = s.scratch[kept:len(s.scratch):len(s.scratch)]
	}
	i++
	at, st = s.afterQuote(data, open, i, column, atEOF)
	return cell, at, st
}

// afterQuote steps from a closing quote, the character before data[i], to the
// delimiter or line ending. Anything but blanks on the way is a problem.
func (s *Scanner) afterQuote(data []byte, open, i, column int, atEOF bool) (int, state) {
	closing := i
	for i < len(data) && (data[i] == ' ' || data[i] == '\t') && data[i] != s.comma {
		i++
	}
	junk := i
	i, st := s.unquoted(data, i, atEOF)
	if st != complete || i == junk {
		return i, st
	}
	s.problem(BadQuotes, column)
	if end := s.lineEnd(data[:closing], open); end > 0 && s.looksLikeRow(data[end:]) {
		// The quote was closed by one that opens a cell further down. Only its
		// own line is lost.
		s.record.Problem = OpenQuote
		return s.lineStop(data, end), complete
	}
	return i, complete
}

// lineStop returns the index of the line ending that data[:end] ends with.
func (s *Scanner) lineStop(data []byte, end int) int {
	if end >= 2 && data[end-1] == '\n' && data[end-2] == '\r' {
		return end - 2
	}
	return end - 1
}

// blank reports whether no cell holds anything but white space.
func blank(fields [][]byte) bool {
	for _, cell := range fields {
		for _, c := range cell {
			switch {
			case c >= 0x80:
				if len(bytes.TrimSpace(cell)) > 0 {
					return false
				}
			case c > ' ', c < '\t' || c > '\r' && c < ' ':
				return false
			}
		}
	}
	return true
}
