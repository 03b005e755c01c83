package tabular

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"time"
)

// sheetRows are the rows of a sheet.
type sheetRows struct {
	w      *workbook
	m      *markup
	source io.Closer
	record Record
	row    int
	data   []byte
	spans  [][2]int // of the cells in data, by column
	value  []byte
	ended  bool
}

func (w *workbook) open(s *sheet) (*sheetRows, error) {
	m, source, err := w.part(s.part, w.limits.Cell)
	if err != nil {
		return nil, err
	}
	return &sheetRows{w: w, m: m, source: source}, nil
}

// Close implements io.Closer.
func (s *sheetRows) Close() error { return s.source.Close() }

// Next implements Reader.
func (s *sheetRows) Next() (*Record, error) {
	for !s.ended {
		err := s.m.next(false)
		if errors.Is(err, io.EOF) {
			return nil, asWorkbookError(io.ErrUnexpectedEOF)
		}
		if err != nil {
			return nil, asWorkbookError(err)
		}
		switch {
		case s.m.is("sheetData") && (s.m.close || s.m.empty):
			s.ended = true
		case s.m.is("row") && !s.m.close:
			rec, err := s.readRow()
			return rec, asWorkbookError(err)
		}
	}
	return nil, io.EOF
}

func (s *sheetRows) readRow() (*Record, error) {
	s.row++
	if n, err := strconv.Atoi(string(s.m.attr("r"))); err == nil && n > 0 {
		s.row = n
	}
	s.record = Record{Line: s.row, Blank: true}
	s.data, s.spans = s.data[:0], s.spans[:0]
	whole := s.m.empty
	for column := 0; !whole; column++ {
		if err := s.m.next(false); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, err
		}
		if s.m.is("row") && s.m.close {
			break
		}
		if !s.m.is("c") || s.m.close {
			column--
			continue
		}
		if at, ok := columnOfRef(s.m.attr("r")); ok {
			column = at
		}
		if err := s.readCell(column); err != nil {
			return nil, err
		}
	}
	fields := s.record.Fields[:0]
	for _, span := range s.spans {
		switch span {
		case [2]int{}:
			fields = append(fields, nil)
		case emptyText:
			fields = append(fields, []byte{})
		default:
			fields = append(fields, s.data[span[0]:span[1]:span[1]])
		}
	}
	s.record.Fields = fields
	return &s.record, nil
}

// columnOfRef reads the column of a reference such as "AB12".
func columnOfRef(ref []byte) (int, bool) {
	column := 0
	for i, c := range ref {
		if c < 'A' || c > 'Z' {
			return column - 1, i > 0
		}
		if column = column*26 + int(c-'A') + 1; column > 1<<20 {
			return 0, false
		}
	}
	return 0, false
}

// readCell reads the cell whose tag is read.
func (s *sheetRows) readCell(column int) error {
	kind := cellKind(s.m.attr("t"))
	style, err := strconv.Atoi(string(s.m.attr("s")))
	if err != nil {
		style = -1
	}
	if s.m.empty {
		return nil
	}
	s.value = s.value[:0]
	long, found := false, false
	for keep := false; ; {
		if err := s.m.next(keep); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
		switch {
		case s.m.is("v") && s.m.close:
			s.value = appendUnescaped(s.value, s.m.text)
			long, keep, found = long || s.m.long, false, true
		case s.m.is("v"):
			keep = !s.m.empty
		case s.m.is("is") && !s.m.close && !s.m.empty:
			if s.value, long, err = s.m.richText(s.value, "is"); err != nil {
				return err
			}
			found, kind = true, 'i'
		case s.m.is("c") && s.m.close:
			if !found {
				return nil
			}
			if len(s.value) == 0 {
				s.place(column, emptyText)
				return nil
			}
			return s.store(column, kind, style, long)
		}
	}
}

// cellKind returns the type of a cell, a number where none is given.
func cellKind(t []byte) byte {
	switch string(t) {
	case "s":
		return 's'
	case "b":
		return 'b'
	case "str", "inlineStr", "e", "d":
		return 't'
	}
	return 'n'
}

// store adds a value to the row.
func (s *sheetRows) store(column int, kind byte, style int, long bool) error {
	if column >= s.w.limits.Columns {
		s.problem(ManyColumns, 0)
		return nil
	}
	start := len(s.data)
	switch kind {
	case 's':
		i, err := strconv.Atoi(string(bytes.TrimSpace(s.value)))
		if err != nil {
			i = -1
		}
		found := false
		if s.data, found, err = s.w.strings.append(s.data, i); err != nil {
			return err
		}
		if !found {
			s.problem(BadSyntax, column+1)
		}
	case 'b':
		s.data = append(s.data, map[bool]string{true: "TRUE", false: "FALSE"}[s.value[0] == '1']...)
	case 'i': // whose escapes are taken out
		s.data = append(s.data, s.value...)
	case 't':
		s.data = appendEscapes(s.data, s.value)
	default:
		date := style >= 0 && style < len(s.w.dates) && s.w.dates[style]
		s.data = s.w.appendNumber(s.data, s.value, date)
	}
	if long || len(s.data)-start > s.w.limits.Cell {
		s.problem(LongCell, column+1)
		s.data = s.data[:start]
	}
	if len(s.data) > s.w.limits.Row {
		s.problem(LongRow, 0)
		s.data = s.data[:start]
	}
	if bytes.IndexByte(s.data[start:], 0) >= 0 {
		s.problem(NUL, column+1)
	}
	s.place(column, [2]int{start, len(s.data)})
	if s.record.Blank && len(bytes.TrimSpace(s.data[start:])) > 0 {
		s.record.Blank = false
	}
	return nil
}

// emptyText is where the text of a cell is that has one without a character.
var emptyText = [2]int{-1, -1}

// place notes where the text of a cell is.
func (s *sheetRows) place(column int, span [2]int) {
	if column >= s.w.limits.Columns {
		return
	}
	for len(s.spans) <= column {
		s.spans = append(s.spans, [2]int{})
	}
	s.spans[column] = span
}

func (s *sheetRows) problem(p Problem, column int) {
	s.record.Blank = false
	if s.record.Problem == None {
		s.record.Problem, s.record.Column = p, column
	}
}

// appendNumber appends a number with all its digits, or the date it stands for.
func (w *workbook) appendNumber(dst, raw []byte, date bool) []byte {
	if !date && !bytes.ContainsAny(raw, "eE.") {
		return append(dst, raw...)
	}
	v, err := strconv.ParseFloat(string(raw), 64)
	switch {
	case err != nil:
		return append(dst, raw...)
	case !date:
		if v >= -1e18 && v <= 1e18 && v == float64(int64(v)) {
			return strconv.AppendInt(dst, int64(v), 10)
		}
		return strconv.AppendFloat(dst, v, 'f', -1, 64)
	case v < 0 || v >= 2_958_466: // the year 10000
		return append(dst, raw...)
	case v < 1:
		return w.since.Add(dayFraction(v)).AppendFormat(dst, "15:04:05")
	}
	day := int(v)
	if w.since.Year() == 1899 && day < 60 {
		day++ // before the day that never was
	}
	t := w.since.AddDate(0, 0, day).Add(dayFraction(v - float64(int(v))))
	if t.Hour() == 0 && t.Minute() == 0 && t.Second() == 0 {
		return t.AppendFormat(dst, "2006-01-02")
	}
	return t.AppendFormat(dst, "2006-01-02 15:04:05")
}

// dayFraction returns a part of a day, to the second.
func dayFraction(v float64) time.Duration {
	return time.Duration(v*86_400+0.5) * time.Second
}
