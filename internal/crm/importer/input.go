package importer

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"hash"
	"io"
)

// input reads a file ahead in a goroutine of its own, so that reading overlaps
// with parsing, and a cancelled import need not wait for a pipe on which nothing
// comes. It counts what was read.
type input struct {
	ctx   context.Context
	full  chan block
	empty chan []byte
	stop  chan struct{}

	current block
	rest    []byte
	read    int64 // bytes handed on
	ended   bool  // all of it has been read
	hash    hash.Hash
}

// sum returns the SHA-256 of what was read in hexadecimal, "" before the end.
func (in *input) sum() string {
	if !in.ended {
		return ""
	}
	return hex.EncodeToString(in.hash.Sum(nil))
}

// block is what one read brought.
type block struct {
	data []byte
	err  error
}

const inputBlock = 256 << 10

// newInput starts to read r. close must follow.
func newInput(ctx context.Context, r io.Reader) *input {
	const blocks = 2
	in := &input{ctx: ctx, full: make(chan block, blocks), empty: make(chan []byte, blocks), stop: make(chan struct{}),
		hash: sha256.New()}
	for range blocks {
		in.empty <- make([]byte, inputBlock)
	}
	go in.readAhead(r)
	return in
}

func (in *input) readAhead(r io.Reader) {
	for {
		select {
		case <-in.stop:
			return
		case buffer := <-in.empty:
			n, err := r.Read(buffer[:inputBlock])
			_, _ = in.hash.Write(buffer[:n])  // never fails
			in.full <- block{buffer[:n], err} // there is room for every buffer
			if err != nil {
				return
			}
		}
	}
}

// close ends the reading, at the latest after the read that is under way.
func (in *input) close() { close(in.stop) }

// Read implements io.Reader.
func (in *input) Read(p []byte) (int, error) {
	for len(in.rest) == 0 {
		if in.current.err != nil {
			in.ended = errors.Is(in.current.err, io.EOF)
			return 0, in.current.err
		}
		if in.current.data != nil {
			in.empty <- in.current.data
			in.current.data = nil
		}
		select {
		case in.current = <-in.full:
			in.rest = in.current.data
		case <-in.ctx.Done():
			return 0, context.Cause(in.ctx)
		}
	}
	n := copy(p, in.rest)
	in.rest = in.rest[n:]
	in.read += int64(n)
	return n, nil
}
