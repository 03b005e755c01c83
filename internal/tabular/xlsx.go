package tabular

import (
	"archive/zip"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
	"time"
)

// isZip reports whether a file is a zip archive, as workbooks are.
func isZip(head []byte) bool { return bytes.HasPrefix(head, []byte("PK\x03\x04")) }

// workbook is an XLSX file: a zip archive of XML. Cells are read as they are
// stored, not as they are displayed: a number keeps its digits (a phone number is
// no 4.91E+11), a date becomes 2026-11-23.
type workbook struct {
	parts   map[string]*zip.File
	limits  Limits
	strings stringTable
	dates   []bool // by style
	since   time.Time
	sheets  []sheet
}

type sheet struct {
	name, part string
	hidden     bool
}

// openWorkbook finds the sheet of contacts in a workbook: the first whose header is
// known, or else the first that holds anything.
func (f *File) openWorkbook(r io.Reader, o Options) error {
	file, size, err := f.spool(r)
	if err != nil {
		return err
	}
	archive, err := zip.NewReader(file, size)
	if err != nil {
		return &Error{Reason: "the zip archive is damaged: " + err.Error()}
	}
	w := &workbook{parts: map[string]*zip.File{}, limits: o.Limits, strings: stringTable{file: f}}
	for _, part := range archive.File {
		w.parts[strings.TrimPrefix(part.Name, "/")] = part
	}
	if w.parts["xl/workbook.xml"] == nil {
		return &Error{Reason: "this is a zip archive, not a list of contacts", Hint: "unpack it, or export it as CSV"}
	}
	f.Format.Kind, f.Format.Delimiter, f.Format.Encoding = XLSX, ',', utf8Name
	f.Format.Evidence = "as workbooks are"
	for _, step := range []func() error{w.readWorkbook, w.readStyles, w.readStrings} {
		if err := step(); err != nil {
			return asWorkbookError(err)
		}
	}
	return asWorkbookError(f.chooseSheet(w, o))
}

// asWorkbookError names what is wrong with a workbook.
func asWorkbookError(err error) error {
	switch {
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return &Error{Reason: "the workbook ends too early"}
	case errors.Is(err, zip.ErrChecksum), errors.Is(err, zip.ErrFormat), errors.Is(err, zip.ErrAlgorithm):
		return &Error{Reason: "the workbook is damaged: " + err.Error()}
	}
	return err
}

func (f *File) chooseSheet(w *workbook, o Options) error {
	const most = 50
	var filled *sheet
	visible := 0
	for i := range w.sheets[:min(len(w.sheets), most)] {
		s := &w.sheets[i]
		if s.hidden {
			continue
		}
		visible++
		rows, err := w.head(s)
		if err != nil {
			return err
		}
		columns, _ := usualColumns(rows)
		if columns == 0 {
			continue
		}
		if filled == nil {
			filled = s
		}
		if knownHeader(rows, columns, o.Known) >= 0 {
			filled = s
			break
		}
	}
	if filled == nil {
		return &Error{Reason: "the workbook has no sheet that holds anything"}
	}
	f.Format.Sheet, f.Format.Sheets = filled.name, len(w.sheets)
	rows, err := w.open(filled)
	if err != nil {
		return err
	}
	f.closers = append(f.closers, rows)
	f.rows = rows
	return f.gridHeader(o)
}

// head reads the first rows of a sheet.
func (w *workbook) head(s *sheet) ([]sampleRow, error) {
	rows, err := w.open(s)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }()
	var out []sampleRow
	for len(out) < sniffRows {
		rec, err := rows.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, err
		}
		out = append(out, sampleOf(rec))
	}
	return out, nil
}

func sampleOf(rec *Record) sampleRow {
	row := sampleRow{line: rec.Line, blank: rec.Blank, broken: rec.Problem != None}
	for _, cell := range rec.Fields {
		row.fields = append(row.fields, string(cell))
	}
	return row
}

// gridHeader finds the header among the first rows of a format that has cells.
func (f *File) gridHeader(o Options) error {
	var rows []sampleRow
	for len(f.ahead) < sniffRows {
		rec, err := f.rows.Next()
		if err != nil {
			f.err = err
			break
		}
		f.ahead = append(f.ahead, rec.clone())
		rows = append(rows, sampleOf(rec))
	}
	if f.err != nil && !errors.Is(f.err, io.EOF) {
		return f.err
	}
	at := 0
	switch {
	case o.HeaderRow == NoHeader:
		return f.withoutHeader(rows)
	case o.HeaderRow > 0:
		for at < len(rows) && rows[at].line < o.HeaderRow {
			at++
		}
		if at == len(rows) || rows[at].line != o.HeaderRow {
			return &Error{Reason: fmt.Sprintf("the header was to be in row %d, which holds nothing", o.HeaderRow)}
		}
	default:
		if at = findHeader(rows, o.Known); at < 0 {
			return &Error{Reason: "no header row found", Hint: "say which row it is", Ask: AskHeaderRow}
		}
		if cell := addressIn(rows[at].fields); cell != "" {
			return &Error{
				Line: rows[at].line, Reason: fmt.Sprintf("this looks like a contact (%q), not like the header", cell),
				Hint: "say which row the header is, or that there is none", Ask: AskHeaderRow,
			}
		}
	}
	for _, row := range rows[:at] {
		if !row.blank {
			f.Format.Skipped = append(f.Format.Skipped, row.line)
		}
	}
	f.Format.HeaderRow = rows[at].line
	f.notes.header = f.ahead[at].Fields
	names := make([]string, len(rows[at].fields))
	for i, cell := range rows[at].fields {
		names[i] = headerName(cell)
	}
	f.nameColumns(names)
	f.widen(rows[at+1:])
	f.ahead = f.ahead[at+1:]
	return nil
}

// part opens a part of the workbook.
func (w *workbook) part(name string, limit int) (*markup, io.Closer, error) {
	part := w.parts[name]
	if part == nil {
		return nil, nil, io.ErrUnexpectedEOF
	}
	r, err := part.Open()
	if err != nil {
		return nil, nil, err
	}
	in := &unpacker{Reader: r, packed: &counter{n: int64(part.CompressedSize64)}, what: "workbook"}
	return &markup{in: bufio.NewReaderSize(in, 64<<10), limit: limit}, r, nil
}

// each calls do for every tag of a small part.
func (w *workbook) each(name string, do func(m *markup) error) (err error) {
	if w.parts[name] == nil {
		return nil
	}
	m, r, err := w.part(name, w.limits.Cell)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	for {
		if err := m.next(false); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
		if err := do(m); err != nil {
			return err
		}
	}
}

func unescape(b []byte) string { return string(appendUnescaped(nil, b)) }

// readWorkbook reads the names of the sheets and where they are.
func (w *workbook) readWorkbook() error {
	targets := map[string]string{}
	err := w.each("xl/_rels/workbook.xml.rels", func(m *markup) error {
		if m.is("Relationship") && !m.close && len(targets) < maxParts {
			target := unescape(m.attr("Target"))
			if rest, absolute := strings.CutPrefix(target, "/"); absolute {
				target = rest
			} else {
				target = path.Join("xl", target)
			}
			targets[unescape(m.attr("Id"))] = target
		}
		return nil
	})
	if err != nil {
		return err
	}
	// Day 1 is 1900-01-01, and there is a 29th of February 1900: from March on days
	// count from 1899-12-30.
	w.since = time.Date(1899, 12, 30, 0, 0, 0, 0, time.UTC)
	return w.each("xl/workbook.xml", func(m *markup) error {
		switch {
		case m.close:
		case m.is("workbookPr"):
			if v := string(m.attr("date1904")); v == "1" || v == "true" {
				w.since = time.Date(1904, 1, 1, 0, 0, 0, 0, time.UTC)
			}
		case m.is("sheet") && len(w.sheets) < maxParts:
			id := m.attr("r:id")
			if id == nil {
				id = m.attr("id")
			}
			state := string(m.attr("state"))
			s := sheet{name: unescape(m.attr("name")), part: targets[unescape(id)], hidden: state == "hidden" || state == "veryHidden"}
			if w.parts[s.part] != nil {
				w.sheets = append(w.sheets, s)
			}
		}
		return nil
	})
}

// readStyles finds out which styles show a number as a date.
func (w *workbook) readStyles() error {
	custom := map[int]bool{}
	inCells := false
	return w.each("xl/styles.xml", func(m *markup) error {
		switch {
		case m.is("cellXfs"):
			inCells = !m.close
		case m.close:
		case m.is("numFmt") && len(custom) < 10_000:
			if id, err := strconv.Atoi(string(m.attr("numFmtId"))); err == nil {
				custom[id] = dateFormat(unescape(m.attr("formatCode")))
			}
		case m.is("xf") && inCells && len(w.dates) < 1<<16:
			id, _ := strconv.Atoi(string(m.attr("numFmtId")))
			date, own := custom[id]
			if !own {
				date = id >= 14 && id <= 22 || id >= 27 && id <= 36 || id >= 45 && id <= 47 || id >= 50 && id <= 58
			}
			w.dates = append(w.dates, date)
		}
		return nil
	})
}

// dateFormat reports whether a number format shows dates or times.
func dateFormat(code string) bool {
	quoted, bracket := false, false
	for i := 0; i < len(code); i++ {
		switch c := code[i]; {
		case c == '\\':
			i++
		case c == '"':
			quoted = !quoted
		case quoted:
		case c == '[':
			bracket = true
		case c == ']':
			bracket = false
		case bracket:
		case c == ';':
			return false
		case strings.IndexByte("yYmMdDhHsS", c) >= 0:
			return true
		}
	}
	return false
}

// readStrings reads the strings that cells name by number.
func (w *workbook) readStrings() error {
	const name = "xl/sharedStrings.xml"
	if w.parts[name] == nil {
		return nil
	}
	m, r, err := w.part(name, w.limits.Cell)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	var buf []byte
	for {
		err := m.next(false)
		if errors.Is(err, io.EOF) {
			return w.strings.finish()
		}
		if err != nil {
			return err
		}
		if !m.is("si") || m.close {
			continue
		}
		buf = buf[:0]
		if !m.empty {
			if buf, _, err = m.richText(buf, "si"); err != nil {
				return err
			}
		}
		if err := w.strings.add(buf); err != nil {
			return err
		}
	}
}

// richText appends the text of an element whose opening tag is read, but for what
// says how it is pronounced. long reports that it is over the limit.
func (m *markup) richText(dst []byte, element string) (_ []byte, long bool, err error) {
	start := len(dst)
	inText, phonetic := false, false
	var plain []byte
	for {
		if err := m.next(inText && !phonetic); err != nil {
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return dst, false, err
		}
		if inText && !phonetic {
			plain = appendUnescaped(plain[:0], m.text)
			if len(dst)-start+len(plain) <= m.limit {
				dst = appendEscapes(dst, plain)
			} else {
				long = true
			}
			long = long || m.long
		}
		switch {
		case m.is("t"):
			inText = !m.close && !m.empty
		case m.is("rPh"):
			phonetic = !m.close && !m.empty
		case m.close && string(m.name) == element:
			return dst, long, nil
		}
	}
}

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
		fields = append(fields, s.data[span[0]:span[1]:span[1]])
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
			found = true
		case s.m.is("c") && s.m.close:
			if !found || len(s.value) == 0 {
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
	for len(s.spans) <= column {
		s.spans = append(s.spans, [2]int{})
	}
	s.spans[column] = [2]int{start, len(s.data)}
	if s.record.Blank && len(bytes.TrimSpace(s.data[start:])) > 0 {
		s.record.Blank = false
	}
	return nil
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
