package tabular

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
)

const (
	// maxWindow bounds what zstd needs of memory.
	maxWindow = 32 << 20
	// A file that gets more than maxExpansion times larger, past enoughExpanded, is a
	// trap: lists of contacts come to a tenth of that.
	maxExpansion   = 300
	enoughExpanded = 256 << 20
)

// peek returns the first bytes of r, and a reader that still has them.
func peek(r io.Reader) (io.Reader, []byte, error) {
	head := make([]byte, 512)
	n, err := io.ReadFull(r, head)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil, err
	}
	return io.MultiReader(bytes.NewReader(head[:n]), r), head[:n], nil
}

// decompress unpacks r where it is compressed.
func (f *File) decompress(r io.Reader) (io.Reader, error) {
	r, head, err := peek(r)
	if err != nil {
		return nil, err
	}
	packed := &counter{Reader: r}
	switch {
	case bytes.HasPrefix(head, []byte("\x1F\x8B\x08")):
		f.Format.Compression = "gzip"
		g, err := gzip.NewReader(packed)
		if err != nil {
			return nil, &Error{Reason: "the gzip file cannot be read: " + err.Error()}
		}
		return &unpacker{Reader: g, packed: packed, what: "gzip"}, nil
	case bytes.HasPrefix(head, []byte("\x28\xB5\x2F\xFD")):
		f.Format.Compression = "zstd"
		z, err := zstd.NewReader(packed, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderMaxMemory(maxWindow))
		if err != nil {
			return nil, &Error{Reason: "the zstd file cannot be read: " + err.Error()}
		}
		f.closers = append(f.closers, z.IOReadCloser())
		return &unpacker{Reader: z, packed: packed, what: "zstd"}, nil
	}
	return packed.Reader, nil
}

// counter counts the bytes that are read.
type counter struct {
	io.Reader
	n   int64
	err error // of the source, other than its end
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.Reader.Read(p)
	c.n += int64(n)
	if err != nil && !errors.Is(err, io.EOF) {
		c.err = err
	}
	return n, err
}

// unpacker names what is wrong with a compressed file, and stops at one that
// grows beyond measure.
type unpacker struct {
	io.Reader
	packed *counter
	n      int64
	what   string
}

func (u *unpacker) Read(p []byte) (int, error) {
	n, err := u.Reader.Read(p)
	u.n += int64(n)
	if u.n > enoughExpanded && u.n > maxExpansion*u.packed.n {
		return 0, &Error{Reason: fmt.Sprintf("the %s file grows to more than %d times its size", u.what, maxExpansion)}
	}
	switch {
	case err == nil || errors.Is(err, io.EOF):
	case u.packed.err != nil:
		err = u.packed.err
	case errors.Is(err, zstd.ErrWindowSizeExceeded), errors.Is(err, zstd.ErrDecoderSizeExceeded):
		err = &Error{Reason: fmt.Sprintf("the zstd file wants more than %d MB of memory to be unpacked; compress it with "+
			"a smaller window", maxWindow>>20)}
	case errors.Is(err, io.ErrUnexpectedEOF):
		err = &Error{Reason: "the " + u.what + " file ends too early"}
	default:
		err = &Error{Reason: "the " + u.what + " file is damaged: " + err.Error()}
	}
	return n, err
}
