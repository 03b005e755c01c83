package importer

import (
	"bufio"
	"bytes"
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

// rowFile takes rows of the imported file to another one, which is made with the first of
// them. It has the original's columns and text, and behind them columns of our own, which an
// import passes over.
type rowFile struct {
	what  string    // it is, for errors
	path  string    // "" writes nothing, unless to is there
	to    io.Writer // gets them when the import is done, in place of a file
	added []string  // the names of our own columns

	format   tabular.Format
	header   []byte
	own      int   // columns of the original
	keep     []int // those, where the original is such a file itself, whose own columns go
	reencode bool  // it is

	temp *os.File
	out  *bufio.Writer
	done string // where the finished file is

	// asItGoes writes to the file itself rather than to one that is renamed when all is
	// done: of a batch that is committed the rows are there too.
	asItGoes bool
	written  int64 // bytes, as of the last finish
	settled  int64 // of those, what belongs to what is committed
}

func newRowFile(what, path string, to io.Writer, added []string, file *tabular.File) rowFile {
	r := rowFile{what: what, path: path, to: to, added: added, format: file.Format}
	ours := ownColumns(file.Format.Header)
	for i, name := range file.Format.Header {
		if !slices.Contains(ours, name) {
			r.keep = append(r.keep, i)
		}
	}
	r.own = len(r.keep)
	r.header = file.HeaderText
	r.reencode = len(ours) > 0
	if r.reencode || r.header == nil || file.Format.Widened > 0 {
		var cells [][]byte
		for _, i := range r.keep {
			cells = append(cells, []byte(file.Format.Header[i]))
		}
		r.header = appendCells(nil, cells, r.format.Delimiter)
	}
	return r
}

// writes reports whether somebody wants the rows.
func (r *rowFile) writes() bool { return r.path != "" || r.to != nil }

// text appends the original text of a row, without the line ending, made as wide
// as the header where that can be done.
func (r *rowFile) text(dst []byte, rec *tabular.Record) []byte {
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

// row writes a row's text, and behind it the cells of our own columns.
func (r *rowFile) row(text []byte, cells ...[]byte) error {
	if r.temp == nil {
		if err := r.create(); err != nil {
			return fmt.Errorf("%s: %w", r.what, err)
		}
	}
	text = append(text, r.format.Delimiter)
	text = appendCells(text, cells, r.format.Delimiter)
	if _, err := r.out.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("%s: %w", r.what, err)
	}
	return nil
}

// create makes a hidden file beside the final one; only a whole file gets the
// final name.
func (r *rowFile) create() error {
	dir, pattern := filepath.Dir(r.path), "."+filepath.Base(r.path)+".*"
	if r.to != nil {
		dir, pattern = "", "crmctl-rows-*"
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
	for _, name := range r.added {
		head = append(append(head, r.format.Delimiter), name...)
	}
	_, err = r.out.Write(append(head, '\n'))
	return err
}

// finish gives the file its name. It does not replace a file that is there.
func (r *rowFile) finish() error {
	if r.temp == nil {
		return nil
	}
	if r.asItGoes {
		return r.finishBatch()
	}
	if r.to != nil {
		if err := r.out.Flush(); err != nil {
			return fmt.Errorf("%s: %w", r.what, err)
		}
		return nil
	}
	if err := errors.Join(r.out.Flush(), r.temp.Sync(), r.temp.Close()); err != nil {
		return fmt.Errorf("%s: %w", r.what, err)
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
			return fmt.Errorf("%s: %w", r.what, err)
		}
		r.temp, r.done = nil, path
		return nil
	}
}

// deliver writes the rows where they go when there is no file to be made of them.
func (r *rowFile) deliver() error {
	if r.to == nil || r.temp == nil {
		return nil
	}
	defer r.discard()
	if _, err := r.temp.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("%s: %w", r.what, err)
	}
	if _, err := io.Copy(r.to, r.temp); err != nil {
		return fmt.Errorf("%s: %w", r.what, err)
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
func (r *rowFile) discard() {
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
