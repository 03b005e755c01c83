package importer

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// copySQL returns the statement that fills a table's columns from our rows.
func copySQL(table, columns string) string {
	return fmt.Sprintf("copy %s (%s) from stdin (format binary)", table, columns)
}

// feed hands the chunks of a producer to one COPY after another: a connection
// runs one at a time, so rows for the other table end the current one. Repeats
// are rare and come in whole chunks, so the turns are few.
type feed struct {
	p       *producer
	current chunk
	have    bool // current is not used up
}

// next waits for rows. It is false after the last, or when the producer failed.
func (f *feed) next() bool {
	if !f.have {
		f.current, f.have = <-f.p.chunks
	}
	return f.have
}

// copyAll copies all chunks. sql holds the statement of each target.
func (f *feed) copyAll(ctx context.Context, conn *pgx.Conn, sql [2]string) error {
	for f.next() {
		to := f.current.target
		if _, err := db.CopyFrom(ctx, conn, &copyReader{feed: f, target: to, rest: []byte(copySignature)},
			sql[to]); err != nil {
			return fmt.Errorf("copy contacts: %w", err)
		}
	}
	return nil
}

// copyReader is the data of one COPY: the signature, the rows for its target up
// to the next turn, the trailer.
type copyReader struct {
	feed   *feed
	target target
	rest   []byte
	begun  bool // rest is the feed's current chunk
	ended  bool
}

// Read implements io.Reader.
func (r *copyReader) Read(b []byte) (int, error) {
	for len(r.rest) == 0 {
		if r.ended {
			return 0, io.EOF
		}
		if err := r.advance(); err != nil {
			return 0, err
		}
	}
	n := copy(b, r.rest)
	r.rest = r.rest[n:]
	return n, nil
}

func (r *copyReader) advance() error {
	f := r.feed
	if r.begun {
		f.have = false
		select {
		case f.p.free <- f.current.data:
		default:
		}
		r.begun = false
	}
	if !f.next() && f.p.err != nil {
		return errProducer
	}
	if !f.have || f.current.target != r.target {
		r.rest, r.ended = []byte(copyTrailer), true
		return nil
	}
	r.rest, r.begun = f.current.data, true
	return nil
}

// errProducer ends a COPY whose producer failed; the producer's own error is the
// one to report.
var errProducer = errors.New("reading the file failed")
