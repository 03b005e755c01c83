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
	exact, held := false, 0
	for len(f.ahead) < sniffRows {
		rec, err := f.rows.Next()
		if err != nil {
			f.err = err
			break
		}
		f.ahead = append(f.ahead, rec.clone())
		rows = append(rows, sampleOf(rec))
		sheet, ok := f.rows.(*sheetRows)
		if ok && len(rows) == 1 && o.Exact != nil && o.Exact.Is(rows[0].fields) {
			exact, sheet.w.limits = true, o.Exact.Limits.withDefaults()
		}
		for _, cell := range rec.Fields {
			held += len(cell)
		}
		if held > sampleBytes {
			break
		}
	}
	if f.err != nil && !errors.Is(f.err, io.EOF) {
		return f.err
	}
	at := 0
	switch {
	case exact:
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
			s := sheet{name: unescape(m.attr("name")), part: targets[unescape(id)], hidden: state == "hidden" ||
				state == "veryHidden"}
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
