package app

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// WriteFile makes a file with the mode, or replaces one. It has its name once
// it is whole, so that nobody reads half of it; after an error there is nothing, or what was
// there before. What is no regular file, such as a pipe, is written to as it is.
func WriteFile(path string, mode fs.FileMode, write func(io.Writer) error) error {
	if info, err := os.Stat(path); err == nil && !info.Mode().IsRegular() {
		if info.IsDir() {
			return inputErrorf("%s is a directory", path)
		}
		out, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			return &InputError{err}
		}
		return errors.Join(write(out), out.Close())
	}
	if behind, err := filepath.EvalSymlinks(path); err == nil {
		path = behind // the file that a link names is replaced, not the link
	}
	out, err := os.CreateTemp(filepath.Dir(path), ".crmctl-*")
	if err != nil {
		return &InputError{err}
	}
	if err = errors.Join(out.Chmod(mode), write(out)); err == nil {
		err = out.Sync()
	}
	if err = errors.Join(err, out.Close()); err == nil {
		err = os.Rename(out.Name(), path)
	}
	if err != nil {
		_ = os.Remove(out.Name())
	}
	return err
}
