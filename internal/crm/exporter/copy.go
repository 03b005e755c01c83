package exporter

import (
	"bytes"
	"encoding/binary"
	"errors"
)

// copySignature begins COPY's binary format, as the PostgreSQL manual describes it under
// COPY, "Binary Format". Flags and the length of an extension follow.
const copySignature = "PGCOPY\n\xff\r\n\x00"

const copyHeader = len(copySignature) + 4 + 4

// errCopy says that the server sent something else than it should.
var errCopy = errors.New("what the server sends is not its binary format of COPY")

// rows splits what COPY sends into rows. The server sends one at a time; a pooler may cut
// them otherwise.
type rows struct {
	columns int
	take    func(fields [][]byte) error // nil fields are null; valid until it returns

	began, ended bool
	rest         []byte // the beginning of a row
	fields       [][]byte
}

// Write implements io.Writer.
func (r *rows) Write(p []byte) (int, error) {
	data := p
	if len(r.rest) > 0 {
		r.rest = append(r.rest, p...)
		data = r.rest
	}
	for len(data) > 0 {
		n, err := r.next(data)
		if err != nil {
			return 0, err
		}
		if n == 0 {
			break
		}
		data = data[n:]
	}
	if len(data) == 0 {
		r.rest = r.rest[:0]
	} else {
		r.rest = bytes.Clone(data)
	}
	return len(p), nil
}

// next takes a row off data and returns its length, 0 where it is not whole.
func (r *rows) next(data []byte) (int, error) {
	if !r.began {
		if len(data) < copyHeader {
			return 0, nil
		}
		extension := int(binary.BigEndian.Uint32(data[copyHeader-4:]))
		if !bytes.HasPrefix(data, []byte(copySignature)) || extension != 0 {
			return 0, errCopy
		}
		r.began = true
		return copyHeader, nil
	}
	if len(data) < 2 {
		return 0, nil
	}
	if n := int(int16(binary.BigEndian.Uint16(data))); n != r.columns { // -1 ends the rows
		if r.ended = n == -1; r.ended {
			return 2, nil
		}
		return 0, errCopy
	}
	at := 2
	r.fields = r.fields[:0]
	for range r.columns {
		if len(data) < at+4 {
			return 0, nil
		}
		size := int(int32(binary.BigEndian.Uint32(data[at:]))) // -1 is null
		at += 4
		if size < 0 {
			r.fields = append(r.fields, nil)
			continue
		}
		if len(data) < at+size {
			return 0, nil
		}
		r.fields = append(r.fields, data[at:at+size:at+size])
		at += size
	}
	return at, r.take(r.fields)
}
