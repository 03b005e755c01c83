package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"hash/crc32"
	"io"

	"github.com/klauspost/compress/zstd"
)

// The layout, which docs/backup-format.md describes. Numbers are big-endian.
const (
	magic        = "\x8bCRMCTL\n"
	trailerMagic = "\nCRMCTL\x8b"

	frameHeader = 'H' // JSON, the manifest without what is known at the end
	frameTable  = 'T' // number of the table whose data follows
	frameData   = 'D' // a zstd frame of at most blockSize bytes of COPY text
	frameEnd    = 'E' // rows, bytes and SHA-256 of the table's data
	frameFooter = 'F' // JSON, the whole manifest

	blockSize   = 1 << 20
	maxData     = blockSize + blockSize/8 // zstd adds little to what it cannot compress
	maxJSON     = 16 << 20
	endSize     = 8 + 8 + sha256.Size
	trailerSize = 8 + 8 + sha256.Size + len(trailerMagic)
)

func frameLimit(kind byte) int64 {
	switch kind {
	case frameHeader, frameFooter:
		return maxJSON
	case frameTable:
		return 4
	case frameData:
		return maxData
	case frameEnd:
		return endSize
	}
	return -1
}

func castagnoli() *crc32.Table { return crc32.MakeTable(crc32.Castagnoli) }

// writer writes a container.
type writer struct {
	out    io.Writer
	sum    hash.Hash // of all that was written
	offset int64
	zstd   *zstd.Encoder
	crc    *crc32.Table
	m      *Manifest // counts and checksums are filled in as tables end
	next   int       // table
	packed []byte
}

// newWriter begins a container. The manifest's counts and checksums are filled in
// while its tables are written.
func newWriter(out io.Writer, m *Manifest) (*writer, error) {
	encoder, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1),
		zstd.WithWindowSize(blockSize), zstd.WithEncoderCRC(false))
	if err != nil {
		return nil, fmt.Errorf("set up compression: %w", err)
	}
	w := &writer{out: out, sum: sha256.New(), zstd: encoder, crc: castagnoli(), m: m}
	if err := w.write(binary.BigEndian.AppendUint16([]byte(magic), FormatVersion)); err != nil {
		return nil, err
	}
	if err := w.json(frameHeader, m); err != nil {
		return nil, err
	}
	return w, nil
}

// table writes the data of the next table. fill writes the COPY text, from one
// goroutine, and returns the number of rows.
//
// Compression and writing happen in a goroutine of their own, so that the server
// goes on sending meanwhile.
func (w *writer) table(fill func(io.Writer) (rows int64, err error)) error {
	number := w.next
	w.next++
	if err := w.frame(frameTable, binary.BigEndian.AppendUint32(nil, uint32(number))); err != nil {
		return err
	}
	b := &blocks{full: make(chan []byte, 1), free: make(chan []byte, 3), failed: make(chan struct{}), sum: sha256.New()}
	done := make(chan error, 1)
	go func() { done <- w.compress(b) }()
	rows, err := fill(b)
	if err == nil {
		err = b.flush()
	}
	close(b.full)
	if writeErr := <-done; writeErr != nil {
		return writeErr
	}
	if err != nil {
		return err
	}
	t := &w.m.Tables[number]
	if rows != b.lines {
		return fmt.Errorf("table %s: %d rows came as %d lines", t.Name, rows, b.lines)
	}
	sum := b.sum.Sum(nil)
	t.Rows, t.Bytes, t.SHA256 = rows, b.total, hex.EncodeToString(sum)
	end := binary.BigEndian.AppendUint64(nil, uint64(rows))
	end = binary.BigEndian.AppendUint64(end, uint64(b.total))
	return w.frame(frameEnd, append(end, sum...))
}

// compress writes the blocks of one table until there are no more.
func (w *writer) compress(b *blocks) error {
	for block := range b.full {
		w.packed = w.zstd.EncodeAll(block, w.packed[:0])
		if err := w.frame(frameData, w.packed); err != nil {
			close(b.failed)
			for range b.full {
				continue // lets the filler end
			}
			return err
		}
		select {
		case b.free <- block[:0]:
		default:
		}
	}
	return nil
}

// finish writes the whole manifest and the trailer.
func (w *writer) finish() error {
	if w.next != len(w.m.Tables) {
		return fmt.Errorf("%d of %d tables were written", w.next, len(w.m.Tables))
	}
	footer := w.offset
	if err := w.json(frameFooter, w.m); err != nil {
		return err
	}
	trailer := binary.BigEndian.AppendUint64(nil, uint64(footer))
	trailer = binary.BigEndian.AppendUint64(trailer, uint64(w.offset)+uint64(trailerSize))
	if err := w.write(trailer); err != nil {
		return err
	}
	return w.write(append(w.sum.Sum(nil), trailerMagic...))
}

func (w *writer) json(kind byte, m *Manifest) error {
	text, err := json.Marshal(m)
	if err != nil {
		return fmt.Errorf("encode the manifest: %w", err)
	}
	if len(text) > maxJSON {
		return fmt.Errorf("the manifest has %d bytes, at most %d are allowed: too many tables", len(text), maxJSON)
	}
	return w.frame(kind, text)
}

func (w *writer) frame(kind byte, payload []byte) error {
	head := binary.BigEndian.AppendUint32([]byte{kind}, uint32(len(payload)))
	crc := crc32.Update(crc32.Update(0, w.crc, head), w.crc, payload)
	for _, part := range [][]byte{head, payload, binary.BigEndian.AppendUint32(nil, crc)} {
		if err := w.write(part); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) write(b []byte) error {
	n, err := w.out.Write(b)
	w.offset += int64(n)
	w.sum.Write(b[:n])
	if err != nil {
		return fmt.Errorf("write the backup: %w", err)
	}
	return nil
}

// blocks cuts what is written to it into blocks, and hands them on.
type blocks struct {
	full, free chan []byte
	failed     chan struct{}
	block      []byte
	sum        hash.Hash
	total      int64
	lines      int64
}

// Write implements io.Writer.
func (b *blocks) Write(p []byte) (int, error) {
	b.sum.Write(p)
	b.total += int64(len(p))
	b.lines += int64(bytes.Count(p, []byte{'\n'}))
	for rest := p; len(rest) > 0; {
		if b.block == nil {
			select {
			case b.block = <-b.free:
			default:
				b.block = make([]byte, 0, min(blockSize, max(len(rest), 64<<10)))
			}
		}
		n := min(len(rest), blockSize-len(b.block))
		b.block = append(b.block, rest[:n]...)
		rest = rest[n:]
		if len(b.block) == blockSize {
			if err := b.flush(); err != nil {
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (b *blocks) flush() error {
	if len(b.block) == 0 {
		return nil
	}
	select {
	case b.full <- b.block:
		b.block = nil
		return nil
	case <-b.failed:
		return errWriter
	}
}
