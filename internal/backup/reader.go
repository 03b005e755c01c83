package backup

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc32"
	"io"
	"reflect"

	"github.com/klauspost/compress/zstd"
)

// Reader reads a container as a stream and checks all of it on the way: whatever
// was handed out before an error came up must not be trusted.
type Reader struct {
	in     *bufio.Reader
	sum    hash.Hash
	offset int64
	zstd   *zstd.Decoder
	crc    *crc32.Table
	m      Manifest
	next   int        // table
	table  *tableData // being read
	frame  []byte
}

// NewReader reads the head of a container. The error wraps ErrNotBackup,
// ErrNewerFormat, ErrEncrypted or ErrCorrupt.
func NewReader(in io.Reader) (*Reader, error) {
	r := &Reader{in: bufio.NewReaderSize(in, 256<<10), sum: sha256.New(), crc: castagnoli()}
	head := make([]byte, len(magic)+2)
	if n, err := r.read(head); err != nil {
		if begun := head[:min(n, len(magic))]; n > 0 && bytes.HasPrefix([]byte(magic), begun) {
			return nil, err
		}
		return nil, notBackup(head[:n], err)
	}
	if string(head[:len(magic)]) != magic {
		return nil, notBackup(head, nil)
	}
	if v := binary.BigEndian.Uint16(head[len(magic):]); v != FormatVersion {
		if v > FormatVersion {
			return nil, fmt.Errorf("%w: it has format %d, this one knows %d", ErrNewerFormat, v, FormatVersion)
		}
		return nil, corrupt("format %d", v)
	}
	// The limits are those of one block: a small file that claims to hold gigabytes
	// is refused, not unpacked.
	decoder, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxMemory(blockSize),
		zstd.WithDecoderMaxWindow(blockSize), zstd.WithDecoderLowmem(true))
	if err != nil {
		return nil, fmt.Errorf("set up decompression: %w", err)
	}
	r.zstd = decoder
	kind, payload, err := r.readFrame()
	if err != nil {
		return nil, err
	}
	if kind != frameHeader {
		return nil, corrupt("frame %q where the head belongs", kind)
	}
	if err := r.decode(payload, &r.m); err != nil {
		return nil, err
	}
	return r, r.m.check()
}

// ageMagic begins a file that age has encrypted.
const ageMagic = "age-encryption.org/v1\n"

func notBackup(head []byte, err error) error {
	if bytes.HasPrefix([]byte(ageMagic), head) && len(head) > 0 {
		return fmt.Errorf("%w: an identity is needed to read it", ErrEncrypted)
	}
	if err != nil && !errors.Is(err, ErrCorrupt) {
		return err
	}
	return ErrNotBackup
}

// Manifest returns what the container holds. Counts and checksums of a table are
// there when the table was read.
func (r *Reader) Manifest() *Manifest { return &r.m }

// Next goes to the next table and returns it with its COPY text. The text ends in
// io.EOF only when its counts and checksum were right. After the last table the
// error is io.EOF; then Finish has to be called.
func (r *Reader) Next() (*Table, io.Reader, error) {
	if r.table != nil {
		if _, err := io.Copy(io.Discard, r.table); err != nil {
			return nil, nil, err
		}
		r.table = nil
	}
	if r.next == len(r.m.Tables) {
		return nil, nil, io.EOF
	}
	kind, payload, err := r.readFrame()
	if err != nil {
		return nil, nil, err
	}
	if kind != frameTable || len(payload) != 4 || int(binary.BigEndian.Uint32(payload)) != r.next {
		return nil, nil, corrupt("table %d is not where it belongs", r.next)
	}
	t := &r.m.Tables[r.next]
	r.next++
	r.table = &tableData{r: r, t: t, sum: sha256.New()}
	return t, r.table, nil
}

// Finish reads the end of the container after the last table, and returns the
// whole manifest.
func (r *Reader) Finish() (*Manifest, error) {
	if r.table != nil || r.next != len(r.m.Tables) {
		return nil, errors.New("backup: Finish before the last table was read")
	}
	footerAt := r.offset
	kind, payload, err := r.readFrame()
	if err != nil {
		return nil, err
	}
	if kind != frameFooter {
		return nil, corrupt("frame %q where the end belongs", kind)
	}
	var footer Manifest
	if err := r.decode(payload, &footer); err != nil {
		return nil, err
	}
	if !reflect.DeepEqual(footer, r.m) {
		return nil, corrupt("its end does not tell of the same data as its beginning")
	}
	place := make([]byte, 16)
	if _, err := r.read(place); err != nil {
		return nil, err
	}
	want := r.sum.Sum(nil)
	rest := make([]byte, sha256.Size+len(trailerMagic))
	if _, err := r.read(rest); err != nil {
		return nil, err
	}
	switch {
	case !bytes.Equal(rest[:sha256.Size], want):
		return nil, corrupt("the checksum over the whole file is wrong")
	case string(rest[sha256.Size:]) != trailerMagic, int64(binary.BigEndian.Uint64(place)) != footerAt,
		int64(binary.BigEndian.Uint64(place[8:])) != r.offset:
		return nil, corrupt("its last bytes are wrong")
	}
	if _, err := r.in.ReadByte(); !errors.Is(err, io.EOF) {
		if err != nil {
			return nil, readError(err)
		}
		return nil, corrupt("something follows its end")
	}
	return &r.m, nil
}

// decode reads a manifest.
func (r *Reader) decode(text []byte, m *Manifest) error {
	if err := json.Unmarshal(text, m); err != nil {
		return corrupt("its manifest cannot be read: %v", err)
	}
	return nil
}

// readFrame reads a frame; the payload is good until the next one.
func (r *Reader) readFrame() (kind byte, payload []byte, err error) {
	at := r.offset
	head := make([]byte, 5)
	if _, err := r.read(head); err != nil {
		return 0, nil, err
	}
	size := int64(binary.BigEndian.Uint32(head[1:]))
	limit := frameLimit(head[0])
	if size > limit {
		return 0, nil, corrupt("at byte %d is no frame", at)
	}
	// A length that nothing backs must not reserve memory.
	r.frame = r.frame[:0]
	for got := int64(0); got < size; {
		n := min(size-got, 1<<20)
		r.frame = append(r.frame, make([]byte, n)...)
		if _, err := r.read(r.frame[got:]); err != nil {
			return 0, nil, err
		}
		got += n
	}
	tail := make([]byte, 4)
	if _, err := r.read(tail); err != nil {
		return 0, nil, err
	}
	if crc32.Update(crc32.Update(0, r.crc, head), r.crc, r.frame) != binary.BigEndian.Uint32(tail) {
		return 0, nil, corrupt("the checksum of the frame at byte %d is wrong", at)
	}
	return head[0], r.frame, nil
}

// read fills b, and counts what it read.
func (r *Reader) read(b []byte) (int, error) {
	n, err := io.ReadFull(r.in, b)
	r.sum.Write(b[:n])
	r.offset += int64(n)
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return n, corrupt("it ends after %d bytes, before its end", r.offset)
	}
	return n, readError(err)
}

func readError(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read the backup: %w", err)
}

// tableData is the COPY text of one table.
type tableData struct {
	r     *Reader
	t     *Table
	sum   hash.Hash
	rows  int64
	total int64
	block []byte // unpacked
	rest  []byte // of it, not handed out
	err   error
}

// Read implements io.Reader.
func (d *tableData) Read(p []byte) (int, error) {
	for len(d.rest) == 0 {
		if d.err == nil {
			d.err = d.advance()
		}
		if d.err != nil {
			return 0, d.err
		}
	}
	n := copy(p, d.rest)
	d.rest = d.rest[n:]
	return n, nil
}

// advance unpacks the next block, or checks the end of the table.
func (d *tableData) advance() error {
	kind, payload, err := d.r.readFrame()
	if err != nil {
		return err
	}
	switch kind {
	case frameData:
		block, err := d.r.zstd.DecodeAll(payload, d.block[:0])
		if err != nil || len(block) == 0 || len(block) > blockSize {
			return corrupt("a block of table %q cannot be unpacked: %v", d.t.Name, err)
		}
		d.block, d.rest = block, block
		d.sum.Write(block)
		d.total += int64(len(block))
		d.rows += int64(bytes.Count(block, []byte{'\n'}))
		return nil
	case frameEnd:
		return d.end(payload)
	}
	return corrupt("frame %q among the data of table %q", kind, d.t.Name)
}

func (d *tableData) end(payload []byte) error {
	if len(payload) != endSize {
		return corrupt("the end of table %q is no end", d.t.Name)
	}
	rows, total := int64(binary.BigEndian.Uint64(payload)), int64(binary.BigEndian.Uint64(payload[8:]))
	sum := d.sum.Sum(nil)
	switch {
	case total != d.total || !bytes.Equal(sum, payload[16:]):
		return corrupt("the checksum of table %q is wrong", d.t.Name)
	case rows != d.rows:
		return corrupt("table %q should have %d rows, but has %d", d.t.Name, rows, d.rows)
	}
	d.t.Rows, d.t.Bytes, d.t.SHA256 = rows, total, hex.EncodeToString(sum)
	return io.EOF
}

// ReadManifest reads what a container of the given size holds without reading its
// data: the head, the end, and the manifest that the end points at. It does not
// check the data.
func ReadManifest(in io.ReaderAt, size int64) (*Manifest, error) {
	head := make([]byte, min(size, int64(len(magic)+2)))
	if _, err := in.ReadAt(head, 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, readError(err)
	}
	if !bytes.HasPrefix(head, []byte(magic)) {
		return nil, notBackup(head, nil)
	}
	trailer := make([]byte, trailerSize)
	if size < int64(len(magic)+2+trailerSize) {
		return nil, corrupt("it ends after %d bytes, before its end", size)
	}
	if v := binary.BigEndian.Uint16(head[len(magic):]); v > FormatVersion {
		return nil, fmt.Errorf("%w: it has format %d, this one knows %d", ErrNewerFormat, v, FormatVersion)
	}
	if _, err := in.ReadAt(trailer, size-int64(trailerSize)); err != nil {
		return nil, readError(err)
	}
	footer, length := int64(binary.BigEndian.Uint64(trailer)), int64(binary.BigEndian.Uint64(trailer[8:]))
	if !bytes.HasSuffix(trailer, []byte(trailerMagic)) || length != size || footer < int64(len(magic)+2) ||
		footer > size-int64(trailerSize) {
		return nil, corrupt("it ends after %d bytes, before its end", size)
	}
	section := io.NewSectionReader(in, footer, size-int64(trailerSize)-footer)
	r := &Reader{in: bufio.NewReader(section), sum: sha256.New(), crc: castagnoli()}
	kind, payload, err := r.readFrame()
	if err != nil {
		return nil, err
	}
	if kind != frameFooter {
		return nil, corrupt("frame %q where the end belongs", kind)
	}
	var m Manifest
	if err := r.decode(payload, &m); err != nil {
		return nil, err
	}
	return &m, m.check()
}

// Verify reads a whole container and checks every count and checksum, without a
// database. progress, if not nil, is told how many bytes were read.
func Verify(in io.Reader, progress func(n int64)) (*Manifest, error) {
	if progress != nil {
		in = &countingReader{in, progress}
	}
	r, err := NewReader(in)
	if err != nil {
		return nil, err
	}
	for {
		_, data, err := r.Next()
		if errors.Is(err, io.EOF) {
			return r.Finish()
		}
		if err != nil {
			return nil, err
		}
		if _, err := io.Copy(io.Discard, data); err != nil {
			return nil, err
		}
	}
}

type countingReader struct {
	in   io.Reader
	tell func(n int64)
}

// Read implements io.Reader.
func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.in.Read(p)
	c.tell(int64(n))
	return n, err
}
