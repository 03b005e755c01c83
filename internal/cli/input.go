package cli

import (
	"io"
	"os"
)

// input reads what somebody else sends: stdin, a pipe. A read cannot be cancelled, so
// it happens in a goroutine, and the first signal or the end of --timeout ends the
// wait for it. The goroutine ends with the process. One Read follows the other.
type input struct {
	c  *Console
	in io.Reader

	waits chan readResult // of the read that is under way
	rest  []byte
	err   error
}

type readResult struct {
	data []byte
	err  error
}

const inputBlock = 256 << 10

// Read implements io.Reader.
func (r *input) Read(p []byte) (int, error) {
	if len(r.rest) == 0 && r.err == nil {
		if r.waits == nil {
			waits := make(chan readResult, 1)
			go func() {
				buffer := make([]byte, min(inputBlock, max(len(p), 512)))
				n, err := r.in.Read(buffer)
				waits <- readResult{buffer[:n], err}
			}()
			r.waits = waits
		}
		got, err := Await(r.c, r.waits)
		if err != nil {
			return 0, err
		}
		r.waits, r.rest, r.err = nil, got.data, got.err
	}
	if len(r.rest) == 0 {
		return 0, r.err
	}
	n := copy(p, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

// Await waits for a value as long as the command may.
func Await[T any](c *Console, from <-chan T) (T, error) {
	var none T
	select {
	case got := <-from:
		return got, nil
	case <-c.Interrupts.first:
		return none, ErrInterrupted
	case <-c.ends:
		if c.WasInterrupted() { // which ends the same context
			return none, ErrInterrupted
		}
		return none, c.expired
	}
}

// OpenInput opens a file to be read, stdin for "-". A pipe is waited for as stdin is:
// opening one takes as long as its writer does.
func (c *Console) OpenInput(path string) (io.ReadCloser, error) {
	if path == "-" {
		return io.NopCloser(c.IO.In), nil
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if info.Mode().IsRegular() || info.IsDir() {
		return os.Open(path)
	}
	type opened struct {
		file *os.File
		err  error
	}
	files := make(chan opened, 1)
	go func() {
		file, err := os.Open(path)
		files <- opened{file, err}
	}()
	got, err := Await(c, files)
	if err == nil {
		err = got.err
	}
	if err != nil {
		return nil, err
	}
	// Closing would wait for a read that is under way.
	return io.NopCloser(&input{c: c, in: got.file}), nil
}

// ReadInput reads all of a file, stdin for "-".
func (c *Console) ReadInput(path string) ([]byte, error) {
	in, err := c.OpenInput(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = in.Close() }()
	return io.ReadAll(in)
}

// InputError makes an error of a file that was named one of usage, unless the wait for
// it was cut short.
func InputError(err error) error {
	switch {
	case err == nil:
		return nil
	case IsStop(err):
		return err
	}
	return WithCode(err, ExitUsage)
}
