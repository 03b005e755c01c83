package importer

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	mathrand "math/rand/v2"
	"time"
)

// The binary format of COPY is described in the PostgreSQL manual under COPY,
// "Binary Format". It spares the server the escapes of the text format.
const (
	copySignature = "PGCOPY\n\xff\r\n\x00\x00\x00\x00\x00\x00\x00\x00\x00"
	copyTrailer   = "\xff\xff"

	jsonbVersion = 1
)

const y2k = 946_684_800 // 2000-01-01 in Unix seconds

// microseconds returns a time as PostgreSQL's binary timestamptz: microseconds
// since 2000-01-01 UTC.
func microseconds(t time.Time) int64 {
	return (t.Unix()-y2k)*1_000_000 + int64(t.Nanosecond()/1000)
}

// rowEncoder turns contacts into rows of COPY's binary format.
type rowEncoder struct {
	ids       *idSource
	createdAt bool  // the direct rows have a created_at of their own
	now       int64 // for those without
	raw       bool  // the staged rows carry the text of their record
}

// directColumns are the columns of contacts that appendDirect fills.
func (e *rowEncoder) directColumns() string {
	if e.createdAt {
		return "id, email, phone, name, company, metadata, created_at"
	}
	return "id, email, phone, name, company, metadata"
}

// stageColumns are the columns of the staging table that appendStaged fills.
func (e *rowEncoder) stageColumns() string {
	if e.raw {
		return "line, dup, half, id, email, phone, name, company, metadata, created_at, raw"
	}
	return "line, dup, half, id, email, phone, name, company, metadata, created_at"
}

// appendDirect appends a row for the table contacts.
func (e *rowEncoder) appendDirect(dst []byte, c *contact) []byte {
	n := uint16(6)
	if e.createdAt {
		n++
	}
	dst = binary.BigEndian.AppendUint16(dst, n)
	dst = e.appendContact(dst, c)
	if !e.createdAt {
		return dst
	}
	at := e.now
	if c.hasCreatedAt {
		at = c.createdAt
	}
	return appendInt64(dst, at)
}

// appendStaged appends a row for the staging table.
func (e *rowEncoder) appendStaged(dst []byte, c *contact, line int, dup bool, raw []byte) []byte {
	n := uint16(10)
	if e.raw {
		n++
	}
	dst = binary.BigEndian.AppendUint16(dst, n)
	dst = appendInt64(dst, int64(line))
	dst = appendBool(dst, dup)
	dst = appendBool(dst, c.half)
	dst = e.appendContact(dst, c)
	if c.hasCreatedAt {
		dst = appendInt64(dst, c.createdAt)
	} else {
		dst = appendNull(dst)
	}
	if e.raw {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(raw)))
		dst = append(dst, raw...)
	}
	return dst
}

func (e *rowEncoder) appendContact(dst []byte, c *contact) []byte {
	dst = binary.BigEndian.AppendUint32(dst, 16)
	dst = e.ids.append(dst)
	dst = appendText(dst, c.email)
	for _, text := range [...][]byte{c.phone, c.name, c.company} {
		if c.exact && text != nil && len(text) == 0 {
			dst = binary.BigEndian.AppendUint32(dst, 0)
			continue
		}
		dst = appendText(dst, text)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(c.metadata)+1))
	dst = append(dst, jsonbVersion)
	return append(dst, c.metadata...)
}

// appendText appends a text, or null when it is empty.
func appendText(dst, text []byte) []byte {
	if len(text) == 0 {
		return appendNull(dst)
	}
	dst = binary.BigEndian.AppendUint32(dst, uint32(len(text)))
	return append(dst, text...)
}

func appendNull(dst []byte) []byte { return append(dst, 0xFF, 0xFF, 0xFF, 0xFF) }

func appendBool(dst []byte, v bool) []byte {
	if v {
		return append(dst, 0, 0, 0, 1, 1)
	}
	return append(dst, 0, 0, 0, 1, 0)
}

func appendInt64(dst []byte, v int64) []byte {
	dst = binary.BigEndian.AppendUint32(dst, 8)
	return binary.BigEndian.AppendUint64(dst, uint64(v))
}

// idSource makes UUIDs of version 7 that grow from one to the next, so that they
// are appended to their index rather than scattered over it: the milliseconds
// of its making, a 32-bit counter in rand_a and the top of rand_b, 42 random
// bits (RFC 9562, 6.2, method 1).
type idSource struct {
	millis  uint64
	counter uint64
	random  *mathrand.ChaCha8
	last    [16]byte // as appended
}

func newIDSource(now time.Time) (*idSource, error) {
	var seed [32]byte
	if _, err := rand.Read(seed[:]); err != nil {
		return nil, fmt.Errorf("seed identifiers: %w", err)
	}
	return &idSource{millis: uint64(now.UnixMilli()), random: mathrand.NewChaCha8(seed)}, nil
}

const randomBits = 42

func (s *idSource) append(dst []byte) []byte {
	s.counter++
	dst = s.at(dst, s.counter-1, s.random.Uint64()>>(64-randomBits))
	copy(s.last[:], dst[len(dst)-len(s.last):])
	return dst
}

// at appends the UUID of a counter with its random bits.
func (s *idSource) at(dst []byte, counter, random uint64) []byte {
	const version7, variant = 7 << 12, 0b10 << 62
	millis, count := s.millis+counter>>32, counter&0xFFFF_FFFF
	dst = binary.BigEndian.AppendUint64(dst, millis<<16|version7|count>>20)
	return binary.BigEndian.AppendUint64(dst, variant|(count&0xF_FFFF)<<randomBits|random)
}

// bounds returns the least and the greatest UUID that can have been made since the
// counter was from.
func (s *idSource) bounds(from uint64) (first, last string) {
	return uuidText(s.at(nil, from, 0)), uuidText(s.at(nil, max(s.counter, from+1)-1, 1<<randomBits-1))
}
