package app

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// InputError says that what was given cannot be used: a file that cannot be read, or a
// value that is none. Nothing was done.
type InputError struct{ Err error }

func (e *InputError) Error() string { return e.Err.Error() }

func (e *InputError) Unwrap() error { return e.Err }

// inputErrorf returns an InputError with a text.
func inputErrorf(format string, args ...any) error { return &InputError{fmt.Errorf(format, args...)} }

// input is a file that was given, or a pipe.
type input struct {
	io.ReadCloser

	name string   // for people
	file *os.File // nil for a pipe
}

// Stat tells of a file; a pipe has nothing to tell.
func (in *input) Stat() (os.FileInfo, error) {
	if in.file == nil {
		return pipe{}, nil
	}
	return in.file.Stat()
}

// ReadAt reads of a file; of a pipe nothing can be read twice.
func (in *input) ReadAt(p []byte, off int64) (int, error) {
	if in.file == nil {
		return 0, os.ErrInvalid
	}
	return in.file.ReadAt(p, off)
}

// pipe is what is no regular file.
type pipe struct{ os.FileInfo }

func (pipe) Mode() os.FileMode { return os.ModeNamedPipe }

// openInput opens what is to be read, stdin for "-". Errors are an *InputError.
func (a *App) openInput(path string) (*input, error) {
	file, err := a.Open(path)
	if err != nil {
		return nil, &InputError{err}
	}
	if path == "-" {
		return &input{ReadCloser: file, name: "stdin"}, nil
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && info.IsDir():
		err = fmt.Errorf("%s is a directory", path)
	case err == nil:
		in := &input{ReadCloser: file, name: filepath.Base(path)}
		if regular, ok := file.(*os.File); ok && info.Mode().IsRegular() {
			in.file = regular
		}
		return in, nil
	}
	_ = file.Close()
	return nil, &InputError{err}
}
