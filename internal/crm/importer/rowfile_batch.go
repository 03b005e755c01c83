package importer

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
)

// createHere makes the file under its own name, or the next that is free. An empty file
// is what an import has left that was killed before its first batch.
func (r *rowFile) createHere() (*os.File, error) {
	for n := 1; ; n++ {
		path := numbered(r.path, n)
		flags := os.O_RDWR | os.O_CREATE | os.O_EXCL
		if info, err := os.Lstat(path); err == nil && info.Mode().IsRegular() && info.Size() == 0 {
			flags = os.O_RDWR
		}
		file, err := os.OpenFile(path, flags, 0o600)
		if errors.Is(err, fs.ErrExist) {
			continue
		}
		if err == nil {
			r.done = path
		}
		return file, err
	}
}

// goOn opens the file of an import that has stopped, without what is not of its first
// bytes. Where it is not there any more another one is begun.
func (r *rowFile) goOn(path string, bytes int64) error {
	if path == "" || r.path == "" || r.to != nil {
		return nil
	}
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.what, err)
	}
	r.temp, r.out, r.done, r.written, r.settled = file, bufio.NewWriter(file), path, bytes, bytes
	if info, err := file.Stat(); err != nil || info.Size() < bytes {
		return errors.Join(fmt.Errorf("%s: %s is shorter than it was", r.what, path), err, r.close())
	}
	return r.rollBack()
}

// finishBatch brings what was written to the disk before the batch is committed.
func (r *rowFile) finishBatch() error {
	err := r.out.Flush()
	if err == nil && r.to == nil {
		err = r.temp.Sync()
	}
	if err == nil {
		r.written, err = r.temp.Seek(0, io.SeekCurrent)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", r.what, err)
	}
	return nil
}

// settle notes that what was written is of a batch that is committed.
func (r *rowFile) settle() { r.settled = r.written }

// rollBack takes out of the file what was written for a batch that is not committed.
func (r *rowFile) rollBack() error {
	if r.temp == nil {
		return nil
	}
	r.out.Reset(r.temp)
	r.written = r.settled
	if r.settled == 0 {
		r.discard()
		return nil
	}
	if err := r.temp.Truncate(r.settled); err != nil {
		return fmt.Errorf("%s: %w", r.what, err)
	}
	if _, err := r.temp.Seek(0, io.SeekEnd); err != nil {
		return fmt.Errorf("%s: %w", r.what, err)
	}
	return nil
}

// close closes the file of an import in batches, where it is open.
func (r *rowFile) close() error {
	if r.temp == nil {
		return nil
	}
	err := r.temp.Close()
	r.temp = nil
	if err != nil {
		return fmt.Errorf("%s: %w", r.what, err)
	}
	return nil
}
