package tabular

import (
	"bytes"
	"errors"
	"fmt"
	"io"
)

const (
	defaultCell    = 1 << 20
	defaultRow     = 4 << 20
	defaultColumns = 4096

	quote = '"'
)

func (l Limits) withDefaults() Limits {
	if l.Cell <= 0 {
		l.Cell = defaultCell
	}
	if l.Row <= 0 {
		l.Row = defaultRow
	}
	if l.Columns <= 0 {
		l.Columns = defaultColumns
	}
	return l
}

// Scanner splits UTF-8 text into records. It reads what RFC 4180 describes and,
// beyond it:
//
//   - lines end in LF or CRLF, or also in CR alone where that is asked for;
//   - a quote inside a cell that does not begin with one is a plain character;
//   - blanks between a closing quote and the delimiter are passed over;
//   - a row whose quotes are broken is handed on with a Problem, and when the
//     quote swallowed the following lines although the first of them looks like
//     a row by itself, only the line with the quote is lost.
//
// The records' Raw, put together, are the input, but for rows over the limit.
type Scanner struct {
	src     io.Reader
	limits  Limits
	comma   byte
	crEnds  bool
	special [256]bool // ends an unquoted run: the delimiter, LF, CR

	// columns is how many a row is expected to have, 0 when that is not known.
	columns int

	buf     []byte
	start   int // of the next record in buf
	end     int // of the data in buf
	srcErr  error
	line    int // of buf[start]
	record  Record
	fields  [][]byte
	scratch []byte
}

// bufferSize is what is read at once. A record that is longer makes the buffer
// grow up to the limit of a row.
const bufferSize = 256 << 10

func newScanner(src io.Reader, limits Limits, size int) *Scanner {
	return &Scanner{src: src, limits: limits.withDefaults(), buf: make([]byte, size), line: 1}
}

// NewScanner returns a scanner of src. crEnds says that a CR alone ends a row,
// as in files of old Macintosh programs.
func NewScanner(src io.Reader, comma byte, crEnds bool, limits Limits) *Scanner {
	s := newScanner(src, limits, bufferSize)
	s.setDialect(comma, crEnds)
	return s
}

func (s *Scanner) setDialect(comma byte, crEnds bool) {
	s.comma, s.crEnds = comma, crEnds
	s.special = [256]bool{'\n': true, '\r': true}
	s.special[comma] = true
}

// Next returns the next record, or io.EOF after the last. Any other error is
// that of the reader, or an *Error when the file cannot be read on.
func (s *Scanner) Next() (*Record, error) {
	if s.start == s.end && !s.fill() {
		return nil, s.srcErr
	}
	for {
		data := s.buf[s.start:s.end]
		n, state := s.parse(data, s.srcErr != nil)
		switch state {
		case complete:
			s.take(n)
			return &s.record, nil
		case openQuote:
			if s.atEnd() {
				return s.recoverQuote(data, n)
			}
		}
		if s.srcErr != nil && !errors.Is(s.srcErr, io.EOF) {
			return nil, s.srcErr
		}
		if len(data) >= s.limits.Row {
			if state == openQuote {
				return s.recoverQuote(data, n)
			}
			return s.skipRow(data)
		}
		s.fill()
	}
}

// atEnd reports whether the source has ended well.
func (s *Scanner) atEnd() bool { return errors.Is(s.srcErr, io.EOF) }

// fill reads until the buffer is full or the source ends, growing the buffer
// when the record in it fills it. It reports whether there is data.
func (s *Scanner) fill() bool {
	if s.start > 0 {
		copy(s.buf, s.buf[s.start:s.end])
		s.end -= s.start
		s.start = 0
	} else if s.end == len(s.buf) && s.end > 0 {
		grown := make([]byte, 2*len(s.buf))
		copy(grown, s.buf[:s.end])
		s.buf = grown
	}
	for idle := 0; s.srcErr == nil && s.end < len(s.buf); {
		n, err := s.src.Read(s.buf[s.end:])
		s.end += n
		s.srcErr = err
		if n > 0 {
			idle = 0
		} else if idle++; err == nil && idle == 100 {
			s.srcErr = io.ErrNoProgress
		}
	}
	return s.end > 0
}

// take makes the first n bytes the current record and steps over them. parse
// has set the fields.
func (s *Scanner) take(n int) {
	raw := s.buf[s.start : s.start+n]
	s.record.Line = s.line
	s.record.Raw = raw
	s.start += n
	s.line += s.countLines(raw)
	if n > s.limits.Row {
		s.record = Record{Line: s.record.Line, Raw: cutRune(raw[:min(n, rawPrefix)]), Problem: LongRow}
	}
}

// countLines returns how many line ends raw holds.
func (s *Scanner) countLines(raw []byte) int {
	n := bytes.Count(raw, []byte{'\n'})
	if s.crEnds {
		n += bytes.Count(raw, []byte{'\r'}) - bytes.Count(raw, []byte("\r\n"))
	}
	return n
}

// lineEnd returns the index after the first line ending of data at or after
// from, or -1.
func (s *Scanner) lineEnd(data []byte, from int) int {
	for i := from; i < len(data); i++ {
		switch {
		case data[i] == '\n':
			return i + 1
		case data[i] == '\r' && s.crEnds:
			if i+1 < len(data) && data[i+1] == '\n' {
				return i + 2
			}
			return i + 1
		}
	}
	return -1
}

// recoverQuote deals with a quote, at data[at], that is not closed before the
// end of the file or the limit of a row.
func (s *Scanner) recoverQuote(data []byte, at int) (*Record, error) {
	column := s.record.Column
	end := s.lineEnd(data, at)
	switch {
	case end > 0 && s.looksLikeRow(data[end:]):
	case s.atEnd() && len(data) < s.limits.Row:
		end = len(data)
	case end < 0:
		return s.skipRow(data)
	default:
		return nil, &Error{
			Line:   s.line + s.countLines(data[:at]),
			Reason: fmt.Sprintf("a quote opened here is not closed within %s", byteSize(s.limits.Row)),
		}
	}
	s.record = Record{Problem: OpenQuote, Column: column}
	s.take(end)
	return &s.record, nil
}

// looksLikeRow reports whether data begins with a row of the expected number of
// columns whose quotes are in order.
func (s *Scanner) looksLikeRow(data []byte) bool {
	if len(data) == 0 {
		return false
	}
	end := s.lineEnd(data, 0)
	if end < 0 {
		end = len(data)
	}
	probe := Scanner{limits: s.limits, columns: s.columns}
	probe.setDialect(s.comma, s.crEnds)
	_, state := probe.parse(data[:end], true)
	if state != complete || probe.record.Problem != None {
		return false
	}
	return s.columns == 0 || len(probe.fields) == s.columns
}

// skipRow passes over a row that is over the limit, up to the next line ending,
// in constant memory. data is what of it is in the buffer.
func (s *Scanner) skipRow(data []byte) (*Record, error) {
	prefix := bytes.Clone(data[:min(len(data), rawPrefix)])
	s.record = Record{Line: s.line, Raw: cutRune(prefix), Problem: LongRow}
	// The line endings so far were inside quotes; the row ends at the next one.
	s.line += s.countLines(data)
	s.start, s.end = 0, 0
	for s.srcErr == nil {
		s.fill()
		if end := s.lineEnd(s.buf[:s.end], 0); end > 0 {
			s.start = end
			s.line++
			return &s.record, nil
		}
		s.end = 0
	}
	if !s.atEnd() {
		return nil, s.srcErr
	}
	return &s.record, nil
}

// cutRune takes an incomplete UTF-8 sequence off the end.
func cutRune(b []byte) []byte {
	for i := 1; i <= 3 && i <= len(b); i++ {
		c := b[len(b)-i]
		if c < 0x80 {
			break
		}
		if c >= 0xC0 {
			return b[:len(b)-i]
		}
	}
	return b
}

// byteSize returns "4 MiB" for a limit.
func byteSize(n int) string {
	switch {
	case n%(1<<20) == 0:
		return fmt.Sprintf("%d MiB", n>>20)
	case n%(1<<10) == 0:
		return fmt.Sprintf("%d KiB", n>>10)
	}
	return fmt.Sprintf("%d bytes", n)
}
