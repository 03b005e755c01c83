package importer

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/crmctl/crmctl/internal/tabular"
)

// byteOrderMark begins a reject file: whatever is in it, it is read as UTF-8, and
// a row that was not valid is rejected again until it is mended.
const byteOrderMark = "\xEF\xBB\xBF"

// rejects counts the rejected rows and writes them to a file, which is made with
// the first of them. The file has the original's columns and text, then _line,
// _column, _code and _message, which an import passes over: mended, it can be
// imported as it is.
type rejects struct {
	path  string    // "" writes nothing, unless to is there
	to    io.Writer // gets them when the import is done, in place of a file
	limit int64     // as Options.MaxRejects
	total int64
	count map[RejectCode]int64

	format   tabular.Format
	header   []byte
	own      int   // columns of the original
	keep     []int // those, where the original is a reject file itself, whose own columns go
	reencode bool  // it is

	temp *os.File
	out  *bufio.Writer
	done string // where the finished file is

	// asItGoes writes to the file itself rather than to one that is renamed when all is
	// done: of a batch that is committed the rejected rows are there too.
	asItGoes bool
	written  int64 // bytes, as of the last finish
	settled  int64 // of those, what belongs to what is committed
}

func newRejects(file *tabular.File, o Options) *rejects {
	r := &rejects{path: o.RejectPath, to: o.RejectTo, limit: o.MaxRejects, count: map[RejectCode]int64{},
		format: file.Format}
	for i, name := range file.Format.Header {
		if !slices.Contains(rejectColumns(), name) {
			r.keep = append(r.keep, i)
		}
	}
	r.own = len(file.Format.Header)
	r.header = file.HeaderText
	if r.reencode = hasRejectColumns(file.Format.Header); r.reencode {
		r.own = len(r.keep)
	}
	if r.reencode || r.header == nil || file.Format.Widened > 0 {
		var cells [][]byte
		for i, name := range file.Format.Header {
			if !r.reencode || slices.Contains(r.keep, i) {
				cells = append(cells, []byte(name))
			}
		}
		r.header = appendCells(nil, cells, r.format.Delimiter)
	}
	return r
}

// add rejects a row of the file.
func (r *rejects) add(rec *tabular.Record, why *rejection) error {
	// The row that is one too many is written as well: it is worth a look.
	return errors.Join(r.tally(why.code), r.write(rec, why))
}

// tally counts a rejected row, and fails when that is one too many.
func (r *rejects) tally(code RejectCode) error {
	r.total++
	r.count[code]++
	if allowed := max(r.limit, 0); r.limit != 0 && r.total > allowed {
		return &TooManyRejectsError{Limit: allowed, Kept: r.asItGoes}
	}
	return nil
}

// writes reports whether somebody wants the rows.
func (r *rejects) writes() bool { return r.path != "" || r.to != nil }

func (r *rejects) write(rec *tabular.Record, why *rejection) error {
	if !r.writes() {
		return nil
	}
	shown := *why
	if rec.Problem == tabular.LongRow {
		shown.message += "; it begins " + shorten(rec.Raw)
	}
	return r.writeRow(r.text(nil, rec), int64(rec.Line), &shown)
}

// addText rejects a row whose text was kept elsewhere.
func (r *rejects) addText(text []byte, line int64, why *rejection) error {
	err := r.tally(why.code)
	if !r.writes() {
		return err
	}
	return errors.Join(err, r.writeRow(text, line, why))
}

// text appends the original text of a row, without the line ending, made as wide
// as the header where that can be done.
func (r *rejects) text(dst []byte, rec *tabular.Record) []byte {
	columns := 0
	switch {
	case r.format.Kind != tabular.CSV && rec.Problem != tabular.None:
		columns = 1
		dst = appendCells(dst, [][]byte{rec.Text()}, r.format.Delimiter)
	case r.format.Kind != tabular.CSV:
		columns = len(rec.Fields)
		dst = appendCells(dst, rec.Fields, r.format.Delimiter)
	case rec.Problem == tabular.LongRow:
		// The text is not whole and must not look as if it were.
		columns = 1
	case rec.Problem == tabular.BadQuotes, rec.Problem == tabular.OpenQuote:
		text := rec.Text()
		if r.reencode {
			text = withoutReasons(text, r.format.Delimiter)
		}
		return append(dst, text...)
	case r.reencode:
		cells := make([][]byte, 0, r.own)
		for _, i := range r.keep {
			if i < len(rec.Fields) {
				cells = append(cells, rec.Fields[i])
			}
		}
		columns = len(cells)
		dst = appendCells(dst, cells, r.format.Delimiter)
	default:
		columns = len(rec.Fields)
		dst = append(dst, rec.Text()...)
	}
	for ; columns < r.own; columns++ {
		dst = append(dst, r.format.Delimiter)
	}
	return dst
}

// withoutReasons returns the text of a row of a reject file without what that added, where
// the row's quotes do not tell its cells apart and it still ends as it was written.
func withoutReasons(text []byte, delimiter byte) []byte {
	for _, code := range []RejectCode{RejectBadQuotes, RejectOpenQuote} {
		i := bytes.LastIndex(text, append(append([]byte{delimiter}, code...), delimiter))
		if i < 0 {
			continue
		}
		column := bytes.LastIndexByte(text[:i], delimiter)
		if i > 0 && text[i-1] == '"' {
			column = bytes.LastIndex(text[:i-1], []byte{delimiter, '"'})
		}
		if column < 0 {
			continue
		}
		line := bytes.LastIndexByte(text[:column], delimiter)
		if line < 0 {
			continue
		}
		if _, err := strconv.ParseUint(string(text[line+1:column]), 10, 64); err == nil {
			return text[:line]
		}
	}
	return text
}

func (r *rejects) writeRow(row []byte, line int64, why *rejection) error {
	if r.temp == nil {
		if err := r.create(); err != nil {
			return fmt.Errorf("reject file: %w", err)
		}
	}
	row = append(row, r.format.Delimiter)
	row = appendCells(row, [][]byte{strconv.AppendInt(nil, line, 10), []byte(why.column), []byte(why.code),
		[]byte(why.message)}, r.format.Delimiter)
	if _, err := r.out.Write(append(row, '\n')); err != nil {
		return fmt.Errorf("reject file: %w", err)
	}
	return nil
}

// create makes a hidden file beside the final one; only a whole file gets the
// final name.
func (r *rejects) create() error {
	dir, pattern := filepath.Dir(r.path), "."+filepath.Base(r.path)+".*"
	if r.to != nil {
		dir, pattern = "", "crmctl-rejects-*"
	}
	var temp *os.File
	var err error
	if r.asItGoes && r.to == nil {
		temp, err = r.createHere()
	} else {
		temp, err = os.CreateTemp(dir, pattern)
	}
	if err != nil {
		return err
	}
	r.temp, r.out = temp, bufio.NewWriter(temp)
	head := append([]byte(byteOrderMark), r.header...)
	for _, name := range rejectColumns() {
		head = append(append(head, r.format.Delimiter), name...)
	}
	_, err = r.out.Write(append(head, '\n'))
	return err
}

// finish gives the file its name. It does not replace a file that is there.
func (r *rejects) finish() error {
	if r.temp == nil {
		return nil
	}
	if r.asItGoes {
		return r.finishBatch()
	}
	if r.to != nil {
		if err := r.out.Flush(); err != nil {
			return fmt.Errorf("reject file: %w", err)
		}
		return nil
	}
	if err := errors.Join(r.out.Flush(), r.temp.Sync(), r.temp.Close()); err != nil {
		return fmt.Errorf("reject file: %w", err)
	}
	name := r.temp.Name()
	for n := 1; ; n++ {
		path := numbered(r.path, n)
		// A link, unlike a rename, fails when the name is taken.
		err := os.Link(name, path)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err != nil {
			err = moveToFree(name, path)
			if errors.Is(err, fs.ErrExist) {
				continue
			}
		} else {
			err = os.Remove(name) //nolint:gosec // a name that os.CreateTemp made
		}
		if err != nil {
			return fmt.Errorf("reject file: %w", err)
		}
		r.temp, r.done = nil, path
		return nil
	}
}

// deliver writes the rows where they go when there is no file to be made of them.
func (r *rejects) deliver() error {
	if r.to == nil || r.temp == nil {
		return nil
	}
	defer r.discard()
	if _, err := r.temp.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("rejected rows: %w", err)
	}
	if _, err := io.Copy(r.to, r.temp); err != nil {
		return fmt.Errorf("rejected rows: %w", err)
	}
	return nil
}

// moveToFree renames where the file system has no links.
func moveToFree(from, to string) error {
	reserved, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600) //nolint:gosec // where the user wants it
	if err != nil {
		return err
	}
	return errors.Join(reserved.Close(), os.Rename(from, to)) //nolint:gosec // as above
}

// discard removes what was written, when nothing came of the import.
func (r *rejects) discard() {
	if r.temp != nil {
		_ = r.temp.Close()
		_ = os.Remove(r.temp.Name()) //nolint:gosec // a file of ours
		r.temp = nil
	}
	if r.done != "" {
		_ = os.Remove(r.done) //nolint:gosec // as above
		r.done = ""
	}
}

// byCode returns the counts, most frequent first.
func (r *rejects) byCode() []RejectCount {
	var counts []RejectCount
	for code, n := range r.count {
		counts = append(counts, RejectCount{Code: code, Count: n})
	}
	slices.SortFunc(counts, func(a, b RejectCount) int {
		return cmp.Or(cmp.Compare(b.Count, a.Count), strings.Compare(string(a.Code), string(b.Code)))
	})
	return counts
}

// numbered returns "leads.rejected-2.csv" for the second of "leads.rejected.csv".
func numbered(path string, n int) string {
	if n == 1 {
		return path
	}
	ext := filepath.Ext(path)
	return strings.TrimSuffix(path, ext) + "-" + strconv.Itoa(n) + ext
}

// appendCells appends cells with quotes where they need them.
func appendCells(dst []byte, cells [][]byte, delimiter byte) []byte {
	for i, cell := range cells {
		if i > 0 {
			dst = append(dst, delimiter)
		}
		if bytes.IndexByte(cell, delimiter) < 0 && !bytes.ContainsAny(cell, "\"\r\n") {
			dst = append(dst, cell...)
			continue
		}
		dst = append(dst, '"')
		dst = append(dst, bytes.ReplaceAll(cell, []byte{'"'}, []byte(`""`))...)
		dst = append(dst, '"')
	}
	return dst
}
