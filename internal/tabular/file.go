package tabular

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Options say how to read a file. What is left empty is found out.
type Options struct {
	Encoding  string // a name such as "utf-8", "utf-16", "windows-1252"
	Delimiter string // one character, or "tab"
	HeaderRow int    // its line, 1-based; 0 finds it, NoHeader says there is none
	Limits    Limits
	// Known reports whether a header is one the caller knows, which helps to find
	// the header; nil knows none.
	Known func(header string) bool
	// Own reports whether a file's first row is a header that the caller has written
	// itself, which it then is whatever HeaderRow says; nil knows none.
	Own func(header []string) bool
	// Exact says which files the caller has written to be read again; nil knows none.
	Exact *Exact
}

// File is a table with a header, read from its first row on.
type File struct {
	Format Format
	// HeaderText is the header as it stands in the file, in UTF-8, without its
	// line ending; nil when there is none.
	HeaderText []byte

	rows    Reader // of the format, from the first row after the header
	notes   noteFinder
	scanner *Scanner
	text    text
	ahead   []Record // read for the sample, not yet handed on
	err     error    // that ended the sample
	closers []io.Closer
}

// Open finds out the format, the encoding, the dialect and the header of r. Its
// error is an *Error when the file is to blame. Close must follow.
func Open(r io.Reader, o Options) (*File, error) {
	o.Limits = o.Limits.withDefaults()
	f := &File{}
	if err := f.open(r, o); err != nil {
		_ = f.Close()
		return nil, err
	}
	return f, nil
}

func (f *File) open(r io.Reader, o Options) error {
	r, err := f.decompress(r)
	if err != nil {
		return err
	}
	r, head, err := peek(r)
	switch {
	case err != nil:
		return err
	case foreign(head) != "":
		return &Error{Reason: "this is " + foreign(head) + ", not a list of contacts", Hint: "export it as CSV"}
	case isZip(head):
		return f.openWorkbook(r, o)
	case isVCard(head):
		return f.openVCard(r, o)
	}
	content, err := decode(r, o.Encoding)
	if err != nil {
		return err
	}
	f.text = content
	f.Format.Encoding, f.Format.BOM, f.Format.Evidence = content.encoding, content.bom, content.evidence
	r, head, err = peek(content)
	switch {
	case err != nil:
		return err
	case isVCard(head):
		return f.openVCard(r, o)
	case isJSON(head):
		return f.openJSON(r, o)
	}
	return f.openCSV(r, o)
}

// Close gives back what the file needed beside its source.
func (f *File) Close() error {
	var errs []error
	for _, c := range f.closers {
		errs = append(errs, c.Close())
	}
	f.closers = nil
	return errors.Join(errs...)
}

// openCSV finds out the dialect and the header of delimited text.
func (f *File) openCSV(r io.Reader, o Options) error {
	s := newScanner(r, o.Limits, bufferSize)
	if !s.fill() {
		if !s.atEnd() {
			return s.srcErr
		}
		return &Error{Reason: "the file is empty"}
	}
	f.scanner, f.Format.Kind = s, CSV
	sample, whole := s.buf[:s.end], s.srcErr != nil
	if what := foreign(sample); what != "" {
		return &Error{Reason: "this is " + what + ", not a list of contacts", Hint: "export it as CSV"}
	}
	crEnds := sniffLineEnds(sample)
	if err := f.setDelimiter(sample, crEnds, whole, o); err != nil {
		return err
	}
	rows := sampleRows(s.buf[s.start:s.end], f.Format.Delimiter, crEnds, whole, o.Limits)
	if o.Delimiter == "" {
		if err := undivided(rows, o.Known); err != nil {
			return err
		}
	}
	if err := f.readHeader(rows, o); err != nil {
		return err
	}
	s.columns = len(f.Format.Header)
	f.rows = csvRows{f}
	return nil
}

// csvRows are the rows of delimited text.
type csvRows struct{ f *File }

func (r csvRows) Next() (*Record, error) {
	rec, err := r.f.scanner.Next()
	if err != nil {
		return nil, err
	}
	r.f.checkText(rec)
	return rec, nil
}

func (f *File) setDelimiter(sample []byte, crEnds, whole bool, o Options) (err error) {
	excel := excelDelimiter(sample)
	switch {
	case o.Delimiter == "" && o.Exact.ownHeader(sample):
		f.Format.Delimiter, f.scanner.limits = ',', o.Exact.Limits.withDefaults()
	case o.Delimiter != "":
		if f.Format.Delimiter, err = parseDelimiter(o.Delimiter); err != nil {
			return err
		}
	case excel != 0:
		f.Format.Delimiter = excel
	default:
		f.Format.Delimiter = sniffDelimiter(sample, crEnds, whole, o)
	}
	f.scanner.setDialect(f.Format.Delimiter, crEnds)
	if excel != 0 {
		f.Format.Skipped = append(f.Format.Skipped, 1)
		if _, err := f.scanner.Next(); err != nil {
			return err
		}
	}
	return nil
}

// readHeader steps to the first row after the header. rows are the first of the
// file, as Next will return them.
func (f *File) readHeader(rows []sampleRow, o Options) error {
	first := f.scanner.line // rows count their lines from 1
	at := 0
	switch {
	case o.Own != nil && len(rows) > 0 && o.Own(rows[0].fields):
		return f.takeHeader()
	case o.HeaderRow == NoHeader:
		return f.withoutHeader(rows)
	case o.HeaderRow > 0:
		return f.headerAt(o.HeaderRow)
	default:
		if at = findHeader(rows, o.Known); at < 0 {
			return &Error{Reason: "no header row found", Hint: "say which line it is", Ask: AskHeaderRow}
		}
		if cell := addressIn(rows[at].fields); cell != "" {
			return &Error{
				Line:   first + rows[at].line - 1,
				Reason: fmt.Sprintf("this looks like a contact (%q), not like the header", cell),
				Hint:   "say which line the header is, or that there is none",
				Ask:    AskHeaderRow,
			}
		}
	}
	for range at {
		rec, err := f.scanner.Next()
		if err != nil {
			return unexpectedEnd(err)
		}
		if !rec.Blank {
			f.Format.Skipped = append(f.Format.Skipped, rec.Line)
		}
	}
	if err := f.takeHeader(); err != nil {
		return err
	}
	f.widen(rows[at+1:])
	if at+1 < len(rows) && isSecondHeader(rows[at].fields, rows[at+1].fields) {
		rec, err := f.scanner.Next()
		if err != nil {
			return unexpectedEnd(err)
		}
		f.Format.Skipped = append(f.Format.Skipped, rec.Line)
	}
	return nil
}

// widen adds columns to a header that has fewer than its rows: somebody forgot to
// name them.
func (f *File) widen(rows []sampleRow) {
	have := len(f.Format.Header)
	counts, n := map[int]int{}, 0
	for _, r := range rows {
		if r.blank || r.broken || r.filled() < 2 {
			continue
		}
		n++
		width := len(r.fields)
		for width > 0 && strings.TrimSpace(r.fields[width-1]) == "" {
			width--
		}
		if width > have {
			counts[width]++
		}
	}
	wider, columns := 0, have
	for width, k := range counts {
		wider += k
		columns = max(columns, width)
	}
	if wider*2 <= n {
		return
	}
	names := slices.Clone(f.Format.Header)
	for i := have; i < columns; i++ {
		names = append(names, columnName(i))
	}
	f.Format.Widened = columns - have
	f.Format.Renamed = nil
	f.nameColumns(names)
}

// headerAt reads the header in the line that was asked for.
func (f *File) headerAt(line int) error {
	for f.scanner.line < line {
		rec, err := f.scanner.Next()
		if errors.Is(err, io.EOF) {
			return &Error{Reason: fmt.Sprintf("the header was to be in line %d, but the file ends before it", line)}
		}
		if err != nil {
			return err
		}
		if !rec.Blank {
			f.Format.Skipped = append(f.Format.Skipped, rec.Line)
		}
	}
	if f.scanner.line > line {
		return &Error{Line: line, Reason: "the header was to be here, but this is the middle of a row of several lines"}
	}
	return f.takeHeader()
}

// takeHeader makes the next record the header.
func (f *File) takeHeader() error {
	rec, err := f.scanner.Next()
	if err != nil {
		return unexpectedEnd(err)
	}
	f.checkText(rec)
	if rec.Problem != None {
		return &Error{Line: rec.Line, Reason: "the header cannot be read: " + rec.Problem.Describe(f.scanner.limits)}
	}
	f.Format.HeaderRow = rec.Line
	f.HeaderText = bytes.Clone(rec.Text())
	f.notes.header = rec.clone().Fields
	names := make([]string, len(rec.Fields))
	for i, cell := range rec.Fields {
		names[i] = headerName(string(cell))
	}
	f.nameColumns(names)
	return nil
}

// withoutHeader numbers the columns of a file that has no header.
func (f *File) withoutHeader(rows []sampleRow) error {
	columns := 0
	for _, r := range rows {
		columns = max(columns, len(r.fields))
	}
	names := make([]string, columns)
	for i := range names {
		names[i] = columnName(i)
	}
	f.Format.Header = names
	return nil
}

func columnName(i int) string { return "column " + strconv.Itoa(i+1) }

// nameColumns makes the headers unique and not empty.
func (f *File) nameColumns(names []string) {
	taken := make(map[string]bool, len(names))
	for _, name := range names {
		taken[name] = true
	}
	seen := make(map[string]bool, len(names))
	for i, name := range names {
		if name != "" && !seen[name] {
			seen[name] = true
			continue
		}
		base := name
		if base == "" {
			base = columnName(i)
		}
		unique := base
		for n := 2; unique == name || taken[unique]; n++ {
			unique = fmt.Sprintf("%s (%d)", base, n)
		}
		taken[unique], seen[unique] = true, true
		names[i] = unique
		f.Format.Renamed = append(f.Format.Renamed, unique)
	}
	f.Format.Header = names
}

// headerName cleans a header: white space is folded, marks that cannot be seen
// are dropped.
func headerName(cell string) string {
	cell = strings.Map(func(r rune) rune {
		if unicode.Is(unicode.Cf, r) {
			return -1
		}
		return r
	}, cell)
	return strings.Join(strings.Fields(cell), " ")
}

// addressIn returns the first cell that looks like an e-mail address.
func addressIn(fields []string) string {
	for _, f := range fields {
		f = strings.TrimSpace(f)
		at := strings.IndexByte(f, '@')
		if at > 0 && strings.Contains(f[at:], ".") && !strings.ContainsAny(f, " \t\n") {
			return f
		}
	}
	return ""
}

func unexpectedEnd(err error) error {
	if errors.Is(err, io.EOF) {
		return &Error{Reason: "the file ends before its header"}
	}
	return err
}

// Next returns the next row, or io.EOF. Any other error is that of the reader,
// or an *Error when the file cannot be read on.
func (f *File) Next() (*Record, error) {
	if len(f.ahead) > 0 {
		rec := &f.ahead[0]
		f.ahead = f.ahead[1:]
		return rec, nil
	}
	if f.err != nil {
		return nil, f.err
	}
	return f.read()
}

// read reads the next row.
func (f *File) read() (*Record, error) { return f.notes.next(f.rows) }

// checkText looks for what cannot be stored as text.
func (f *File) checkText(rec *Record) {
	if rec.Problem != None {
		return
	}
	switch {
	case !utf8.Valid(rec.Raw):
		rec.Problem, rec.Column = NotUTF8, columnOf(rec.Fields, func(cell []byte) bool { return !utf8.Valid(cell) })
	case bytes.IndexByte(rec.Raw, 0) >= 0:
		rec.Problem, rec.Column = NUL, columnOf(rec.Fields, func(cell []byte) bool { return bytes.IndexByte(cell, 0) >= 0 })
	case f.text.replaces && bytes.Contains(rec.Raw, []byte("\uFFFD")):
		rec.Problem, rec.Column = NotUTF8, columnOf(rec.Fields, func(cell []byte) bool {
			return bytes.Contains(cell, []byte("\uFFFD"))
		})
	}
}

// columnOf returns the 1-based column of the first cell that bad is true of.
func columnOf(fields [][]byte, bad func([]byte) bool) int {
	for i, cell := range fields {
		if bad(cell) {
			return i + 1
		}
	}
	return 0
}
