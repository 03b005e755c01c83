package tabular

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
)

const (
	// maxWorkbook bounds a workbook as it is stored.
	maxWorkbook = 512 << 20
	// maxParts bounds the files in a workbook.
	maxParts = 20_000
)

// spool copies r to a temporary file: a workbook's directory is at its end.
func (f *File) spool(r io.Reader) (file *os.File, size int64, err error) {
	if file, err = f.temporary(); err != nil {
		return nil, 0, fmt.Errorf("spool the workbook: %w", err)
	}
	parts := &partCounter{}
	size, err = io.Copy(io.MultiWriter(file, parts), io.LimitReader(r, maxWorkbook+1))
	switch {
	case err != nil:
		return nil, 0, err
	case size > maxWorkbook:
		return nil, 0, &Error{Reason: "the workbook is larger than " + byteSize(maxWorkbook), Hint: "export it as CSV"}
	case parts.n > maxParts:
		return nil, 0, &Error{Reason: fmt.Sprintf("the workbook has more than %d parts", maxParts)}
	}
	return file, size, nil
}

// temporary makes a file that nobody else can read and that is gone when f is closed. It
// loses its name at once where the system can do that, so that nothing is left of a process
// that is killed.
func (f *File) temporary() (*os.File, error) {
	file, err := os.CreateTemp("", "crmctl-import-*") // made with mode 0600
	if err != nil {
		return nil, err
	}
	var c io.Closer = file
	if os.Remove(file.Name()) != nil {
		c = removal{file}
	}
	f.closers = append(f.closers, c)
	return file, nil
}

// removal closes a temporary file that has its name still, and removes it.
type removal struct{ file *os.File }

func (r removal) Close() error { return errors.Join(r.file.Close(), os.Remove(r.file.Name())) }

// partCounter counts the entries of a zip archive's directory, before anything is
// allocated for them.
type partCounter struct {
	n    int
	tail []byte
}

func (c *partCounter) Write(p []byte) (int, error) {
	joined := append(c.tail, p...)
	c.n += bytes.Count(joined, []byte("PK\x01\x02"))
	c.tail = append(c.tail[:0], joined[max(0, len(joined)-3):]...)
	return len(p), nil
}

// stringTable holds the strings of a workbook, which its cells name by number. Past a
// bound they wait in a temporary file.
type stringTable struct {
	file    *File
	ends    [][]int64 // in blocks, which need not be copied to grow
	count   int
	data    []byte // what is in memory: all, or the part from base that is not written yet
	written int64
	disk    *os.File
	window  []byte
	from    int64
}

const (
	maxStrings      = 4 << 20
	stringsInMemory = 8 << 20
	stringBlock     = 64 << 10
	maxStringBytes  = 2 << 30
	stringWindow    = 256 << 10
)

func (t *stringTable) add(s []byte) error {
	if t.count == maxStrings {
		return &Error{Reason: fmt.Sprintf("the workbook has more than %d texts", maxStrings), Hint: "export it as CSV"}
	}
	t.data = append(t.data, s...)
	end := t.written + int64(len(t.data))
	if end > maxStringBytes {
		return &Error{Reason: "the workbook's texts are larger than " + byteSize(maxStringBytes), Hint: "export it as CSV"}
	}
	if t.count%stringBlock == 0 {
		t.ends = append(t.ends, make([]int64, 0, min(stringBlock, 1024+t.count)))
	}
	last := len(t.ends) - 1
	t.ends[last] = append(t.ends[last], end)
	t.count++
	if len(t.data) >= stringsInMemory {
		return t.flush()
	}
	return nil
}

func (t *stringTable) flush() error {
	if t.disk == nil {
		disk, err := t.file.temporary()
		if err != nil {
			return fmt.Errorf("spool the workbook's texts: %w", err)
		}
		t.disk = disk
	}
	n, err := t.disk.Write(t.data)
	if err != nil {
		return fmt.Errorf("spool the workbook's texts: %w", err)
	}
	t.written += int64(n)
	t.data = t.data[:0]
	return nil
}

// finish is called when all strings are there.
func (t *stringTable) finish() error {
	if t.disk == nil {
		return nil
	}
	err := t.flush()
	t.data = nil
	return err
}

func (t *stringTable) end(i int) int64 { return t.ends[i/stringBlock][i%stringBlock] }

// append appends the string of a number; it is false when there is none.
func (t *stringTable) append(dst []byte, i int) ([]byte, bool, error) {
	if i < 0 || i >= t.count {
		return dst, false, nil
	}
	start, end := int64(0), t.end(i)
	if i > 0 {
		start = t.end(i - 1)
	}
	if t.disk == nil {
		return append(dst, t.data[start:end]...), true, nil
	}
	if start < t.from || end > t.from+int64(len(t.window)) {
		size := max(end-start, stringWindow)
		if int64(cap(t.window)) < size {
			t.window = make([]byte, size)
		}
		// Texts are mostly numbered as they are met, so the window lies ahead.
		n, err := t.disk.ReadAt(t.window[:size], start)
		if err != nil && !errors.Is(err, io.EOF) {
			return dst, false, err
		}
		t.window, t.from = t.window[:n], start
		if end > start+int64(n) {
			return dst, false, nil
		}
	}
	return append(dst, t.window[start-t.from:end-t.from]...), true, nil
}
