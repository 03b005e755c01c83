package tenantsql

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
)

const (
	// chunkSize is when a tenant's rows are put aside. It bounds what each worker
	// holds beside the budget.
	chunkSize = 64 << 10
	// slotSize is the place of a chunk in the file: a chunk is longer than
	// chunkSize by a part of a row.
	slotSize = 2 * chunkSize
	// DefaultMemory is the budget of the rows that wait.
	DefaultMemory = 32 << 20
)

// spool keeps the rows of tenants whose turn has not come: in memory as long as all
// of them together fit the budget, beyond it in one temporary file without a name.
type spool struct {
	dir string

	mu     sync.Mutex
	unused int // bytes of the budget
	file   *os.File
	end    int64
	free   []int64 // slots of the file whose rows have been read
}

// buffer holds the rows of one tenant. One goroutine at a time may use it.
type buffer struct {
	spool  *spool
	chunks []chunk
	open   []byte
	rows   int64
}

// chunk is part of a buffer: mem, or size bytes of the file.
type chunk struct {
	mem  []byte
	at   int64
	size int
}

// add appends a row: its length, and each value with its length plus one, 0 for null.
func (b *buffer) add(values [][]byte) error {
	size := 0
	for _, v := range values {
		size += len(v) + binary.MaxVarintLen32
	}
	if len(b.open) > 0 && len(b.open)+size > chunkSize {
		if err := b.close(); err != nil {
			return err
		}
	}
	for _, v := range values {
		if v == nil {
			b.open = binary.AppendUvarint(b.open, 0)
			continue
		}
		b.open = binary.AppendUvarint(b.open, uint64(len(v))+1)
		b.open = append(b.open, v...)
	}
	b.rows++
	return nil
}

// close puts aside what is open.
func (b *buffer) close() error {
	if len(b.open) == 0 {
		return nil
	}
	c, err := b.spool.put(b.open)
	if err != nil {
		return err
	}
	b.chunks = append(b.chunks, c)
	if c.mem != nil {
		b.open = nil
	} else {
		b.open = b.open[:0]
	}
	return nil
}

// drop forgets the rows.
func (b *buffer) drop() {
	for _, c := range b.chunks {
		b.spool.release(c)
	}
	b.chunks, b.open, b.rows = nil, nil, 0
}

// each calls fn for every row, in order, and frees what it has read. It stops when fn
// returns false. The rows have width values.
func (b *buffer) each(width int, fn func([]Value) bool) error {
	defer b.drop()
	for len(b.chunks) > 0 {
		c := b.chunks[0]
		data, err := b.spool.read(c)
		if err != nil {
			return err
		}
		b.chunks = b.chunks[1:]
		for width > 0 && len(data) > 0 {
			var values []Value
			if values, data, err = decodeRow(data, width); err != nil {
				return err
			}
			if !fn(values) {
				b.spool.release(c)
				return nil
			}
		}
		b.spool.release(c)
	}
	return nil
}

var errSpool = errors.New("the temporary file of rows is damaged")

func decodeRow(data []byte, width int) ([]Value, []byte, error) {
	values := make([]Value, width)
	for i := range values {
		n, used := binary.Uvarint(data)
		if used <= 0 || n > uint64(len(data)-used)+1 {
			return nil, nil, errSpool
		}
		data = data[used:]
		if n == 0 {
			values[i].Null = true
			continue
		}
		values[i].Text = string(data[:n-1])
		data = data[n-1:]
	}
	return values, data, nil
}

func (s *spool) put(data []byte) (chunk, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if cap(data) <= s.unused {
		s.unused -= cap(data)
		return chunk{mem: data, size: len(data)}, nil
	}
	if s.file == nil {
		if err := s.create(); err != nil {
			return chunk{}, err
		}
	}
	c := chunk{at: s.end, size: len(data)}
	switch n := len(s.free); {
	case n > 0 && len(data) <= slotSize:
		c.at, s.free = s.free[n-1], s.free[:n-1]
	default:
		s.end += int64(max(slotSize, len(data)))
	}
	if _, err := s.file.WriteAt(data, c.at); err != nil {
		return chunk{}, fmt.Errorf("put rows aside: %w", err)
	}
	return c, nil
}

// create makes the file. It loses its name at once where the system can do that, so
// that nothing is left of a process that is killed.
func (s *spool) create() error {
	file, err := os.CreateTemp(s.dir, "crmctl-rows-*")
	if err != nil {
		return fmt.Errorf("put rows aside: %w", err)
	}
	_ = os.Remove(file.Name())
	s.file = file
	return nil
}

func (s *spool) read(c chunk) ([]byte, error) {
	if c.mem != nil {
		return c.mem, nil
	}
	data := make([]byte, c.size)
	if _, err := s.file.ReadAt(data, c.at); err != nil {
		return nil, fmt.Errorf("read rows put aside: %w", err)
	}
	return data, nil
}

func (s *spool) release(c chunk) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.mem != nil:
		s.unused += cap(c.mem)
	case c.size <= slotSize:
		s.free = append(s.free, c.at)
	}
}

// remove ends the spool.
func (s *spool) remove() {
	if s.file != nil {
		_ = s.file.Close()
		_ = os.Remove(s.file.Name()) // where it could not be removed while it was open
	}
}
