package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Checkpoint is how far an import that commits as it goes has come: with the same file
// and the same options it goes on behind it.
type Checkpoint struct {
	Records int64  // of the file, with those that are no contacts
	Counts  Counts // of the rows in them
	// RejectPath is the file of rejected rows, RejectBytes how much of it is of these
	// records.
	RejectPath  string
	RejectBytes int64
	// AcceptPath and AcceptBytes are so of the file of the others.
	AcceptPath  string
	AcceptBytes int64
}

// Counts are those of a Result that add up over the parts of an import.
type Counts struct {
	Read      int64                `json:"read"`
	Inserted  int64                `json:"inserted"`
	Updated   int64                `json:"updated"`
	Unchanged int64                `json:"unchanged"`
	Repeated  int64                `json:"repeated"`
	Rejected  int64                `json:"rejected"`
	Blank     int64                `json:"blank_lines"`
	Notes     int64                `json:"note_lines"`
	ByCode    map[RejectCode]int64 `json:"rejected_by_code,omitempty"`
	Changed   map[Change]int64     `json:"cleaned,omitempty"`
}

// Counts returns the counts of a result.
func (r Result) Counts() Counts {
	c := Counts{Read: r.Read, Inserted: r.Inserted, Updated: r.Updated, Unchanged: r.Unchanged, Repeated: r.Repeated,
		Rejected: r.Rejected, Blank: r.Blank, Notes: r.Notes}
	for _, n := range r.RejectedByCode {
		if c.ByCode == nil {
			c.ByCode = map[RejectCode]int64{}
		}
		c.ByCode[n.Code] = n.Count
	}
	for _, n := range r.Changed {
		if c.Changed == nil {
			c.Changed = map[Change]int64{}
		}
		c.Changed[n.Change] = n.Rows
	}
	return c
}

// ErrNotTheFile says that a file ends before the place at which an import is to go on.
var ErrNotTheFile = errors.New("the file ends before the rows that are imported already")

// batchRowSize is about how large a row of a file is.
const batchRowSize = 256

// batches imports the file in transactions of o.Batch rows each.
func (l *load) batches(ctx context.Context, conn *pgx.Conn, locals db.Locals) error {
	p := l.producer
	p.limit = l.o.Batch
	if l.o.From != nil {
		if err := l.goOn(ctx, *l.o.From); err != nil {
			return err
		}
	}
	for {
		l.count()
		committed := l.result
		p.nextBatch()
		l.firstID = p.encode.ids.counter
		err := db.InTx(ctx, conn, locals, l.run)
		switch _, tooMany := errors.AsType[*TooManyRejectsError](err); {
		case tooMany: // the rows are worth a look
			err = errors.Join(err, l.rejects.finish(), l.accepted.rollBack())
		case err != nil && !errors.Is(err, db.ErrCommitUnknown):
			err = errors.Join(err, l.rejects.rollBack(), l.accepted.rollBack())
		}
		if err != nil {
			l.merge, l.stopped = merge{}, &committed
			return err
		}
		l.rejects.settle()
		l.accepted.settle()
		l.sum.add(&l.merge)
		l.merge = merge{}
		if p.ended {
			return nil
		}
	}
}

// goOn passes over the records that are imported already.
func (l *load) goOn(ctx context.Context, from Checkpoint) error {
	p := l.producer
	if err := p.skip(ctx, from.Records); err != nil {
		return err
	}
	c := from.Counts
	if p.counts.read != c.Read || p.counts.blank != c.Blank || p.counts.notes != c.Notes {
		return ErrNotTheFile
	}
	l.sum = sums{inserted: c.Inserted, updated: c.Updated, unchanged: c.Unchanged, repeated: c.Repeated}
	l.rejects.total = c.Rejected
	maps.Copy(l.rejects.count, c.ByCode)
	p.convert.changes.addAll(c.Changed)
	return errors.Join(l.rejects.goOn(from.RejectPath, from.RejectBytes),
		l.accepted.goOn(from.AcceptPath, from.AcceptBytes))
}

// sums are the counts of the batches before the current one.
type sums struct{ inserted, updated, unchanged, repeated int64 }

func (s *sums) add(m *merge) {
	s.inserted += m.inserted
	s.updated += m.updated
	s.unchanged += m.unchanged
	s.repeated += m.repeated
}

// nextBatch makes the producer ready for another run.
func (p *producer) nextBatch() {
	c := &p.counts
	*c = counts{read: c.read, blank: c.blank, notes: c.notes}
	p.err = nil
	p.chunks = make(chan chunk, chunksAhead)
	p.seen = newFilter(p.limit * batchRowSize)
}

// skip passes over records without looking at what is in them.
func (p *producer) skip(ctx context.Context, records int64) error {
	for p.records < records {
		if p.records%rowsBetweenLooks == 0 && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		rec, err := p.file.Next()
		switch {
		case errors.Is(err, io.EOF):
			return ErrNotTheFile
		case err != nil:
			return fmt.Errorf("read contacts: %w", err)
		case rec.Note:
			p.counts.notes++
		case rec.Blank:
			p.counts.blank++
		default:
			p.counts.read++
		}
		p.records++
	}
	return nil
}
