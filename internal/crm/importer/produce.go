package importer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/crmctl/crmctl/internal/tabular"
)

// target is the table a row is copied to.
type target int

const (
	toContacts target = iota
	toStage
)

// chunk is a run of rows for one table.
type chunk struct {
	target target
	data   []byte
}

const (
	// chunkSize is about how much is handed to the connection at once.
	chunkSize = 256 << 10
	// chunksAhead is how many chunks the file may be ahead of the server.
	chunksAhead = 4
	// rowsBetweenLooks is how often the clock and the context are looked at.
	rowsBetweenLooks = 512
	progressInterval = 100 * time.Millisecond
)

// counts are what a producer has seen so far.
type counts struct {
	read, blank    int64
	notes          int64 // the export's own lines
	direct         int64 // rows copied straight to contacts
	staged         int64
	stagedNoEmail  int64
	repeats        int64 // staged rows with an address the file had before, perhaps
	repeatsNoEmail int64
	lists          int64 // rows with several addresses or numbers
}

// producer reads the file and turns it into chunks of rows. It runs beside the
// connection that sends them: the file is parsed while the server works.
type producer struct {
	file    tabular.Reader
	input   *input
	convert *converter
	encode  *rowEncoder
	seen    *filter
	rejects *rejects
	accepts *accepted // nil where nobody asks
	key     Key
	own     bool // the table is an application's own
	rest    int  // as Progress.Rest
	checks  []ownCheck
	direct  bool // rows that are surely new go straight to contacts

	limit   int64 // rows of a run, 0 for all of the file
	records int64 // taken from the file, in all runs
	ended   bool  // the file has

	noAddress, byPhone int64 // as Result.NoAddress and ByPhone

	counts   counts
	observer Observer
	started  time.Time
	now      func() time.Time

	chunks chan chunk
	free   chan []byte
	buffer [2][]byte // by target
	raw    []byte    // text of the current row
	err    error     // why it stopped, once chunks is closed
}

// run produces until the file ends, and closes the channel of chunks.
func (p *producer) run(ctx context.Context) {
	defer close(p.chunks)
	p.err = p.rows(ctx)
	if p.err == nil {
		p.err = errors.Join(p.flush(ctx, toContacts), p.flush(ctx, toStage))
	}
}

func (p *producer) rows(ctx context.Context) error {
	reported := p.started
	last := p.counts.read + p.limit
	for n := 1; p.limit == 0 || p.counts.read < last; n++ {
		if n%rowsBetweenLooks == 0 {
			if err := ctx.Err(); err != nil {
				return context.Cause(ctx)
			}
			if now := p.now(); now.Sub(reported) >= progressInterval {
				reported = now
				p.report(PhaseLoad)
			}
		}
		rec, err := p.file.Next()
		if errors.Is(err, io.EOF) {
			p.ended = true
			return nil
		}
		if err != nil {
			return fmt.Errorf("read contacts: %w", err)
		}
		p.records++
		if rec.Note {
			p.counts.notes++
			continue
		}
		if rec.Blank {
			p.counts.blank++
			continue
		}
		p.counts.read++
		if err := p.row(ctx, rec); err != nil {
			return err
		}
	}
	return nil
}

// row takes one row to its buffer, or rejects it.
func (p *producer) row(ctx context.Context, rec *tabular.Record) error {
	c, rejected := p.convert.convert(rec)
	if rejected == nil {
		if len(c.email) == 0 {
			p.noAddress++
			if len(c.phone) > 0 {
				p.byPhone++
			}
		}
		rejected = p.convert.keyless(p.key, p.own, &c)
	}
	if rejected == nil && p.checks != nil {
		rejected = p.convert.fits(p.checks, &c)
	}
	if rejected != nil {
		return p.rejects.add(rec, rejected)
	}
	var repeat bool
	if len(c.email) > 0 {
		repeat = p.seen.addEmail(c.email)
	} else {
		repeat = p.seen.addContact(&c)
	}
	to := toStage
	if p.direct && !repeat {
		to = toContacts
		p.counts.direct++
		p.buffer[to] = p.encode.appendDirect(p.buffer[to], &c)
		if p.accepts != nil {
			if err := p.accepts.made(rec, p.encode.ids.last[:]); err != nil {
				return err
			}
		}
	} else {
		p.counts.countStaged(&c, repeat)
		if len(p.convert.emails)+len(p.convert.phones) > 0 {
			p.counts.lists++
		}
		if p.encode.raw {
			p.raw = p.rejects.text(p.raw[:0], rec)
		}
		p.buffer[to] = p.encode.appendStaged(p.buffer[to], &c, rec.Line, repeat, p.raw)
	}
	if len(p.buffer[to]) < chunkSize {
		return nil
	}
	return p.flush(ctx, to)
}

func (n *counts) countStaged(c *contact, repeat bool) {
	n.staged++
	noEmail := len(c.email) == 0
	if noEmail {
		n.stagedNoEmail++
	}
	switch {
	case repeat && noEmail:
		n.repeatsNoEmail++
	case repeat:
		n.repeats++
	}
}

// flush hands a buffer on and takes an empty one.
func (p *producer) flush(ctx context.Context, to target) error {
	if len(p.buffer[to]) == 0 {
		return nil
	}
	select {
	case p.chunks <- chunk{to, p.buffer[to]}:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	select {
	case p.buffer[to] = <-p.free:
		p.buffer[to] = p.buffer[to][:0]
	default:
		p.buffer[to] = make([]byte, 0, chunkSize+chunkSize/8)
	}
	return nil
}

func (p *producer) report(phase Phase) { p.reportStep(Progress{Phase: phase}) }

// reportStep tells the observer of a phase, with what it counts added.
func (p *producer) reportStep(at Progress) {
	if p.observer == nil {
		return
	}
	at.Bytes, at.Read, at.Rejected, at.Elapsed = p.input.read, p.counts.read, p.rejects.total, p.now().Sub(p.started)
	at.Rest = p.rest
	p.observer.Progressed(at)
}
