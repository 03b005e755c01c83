package importer

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"time"
)

const (
	// inspectRows is how many rows an inspection shows as they would be stored, and
	// how many that would be rejected.
	inspectRows = 5
)

// Inspection is what would become of a file.
type Inspection struct {
	Plan           Plan
	Rows           []InspectedRow // the first ones, as they would be stored
	Rejects        []InspectedReject
	Read           int64
	Blank, Notes   int64
	Rejected       int64
	RejectedByCode []RejectCount
	Changed        []ChangeCount
	NullWords      []string

	// Of a tenant's table that is an application's own: its columns, what fills each, and
	// the columns of the file for which it has none.
	Table   []TableColumn
	NoPlace []string
}

// InspectedRow is a contact as it would be stored; "" is null.
type InspectedRow struct {
	Line                        int
	Email, Phone, Name, Company string
	Metadata                    string // JSON
	CreatedAt                   string // RFC 3339
}

// InspectedReject is a row that would be rejected.
type InspectedReject struct {
	Line    int
	Column  string
	Code    RejectCode
	Message string
}

// Inspect reads a file to its end and touches nothing. Where the columns leave a
// question, the error asks it, as Import's does, and the plan is there still.
//
// With Options.Table the file is looked at for that table: what its columns need, and the
// values they do not take. What only its checks, keys and triggers refuse is not foretold.
func Inspect(r io.Reader, o Options) (Inspection, error) {
	if o.Table != nil {
		o.columns = o.Table.names()
	}
	p, err := openFile(r, o)
	if p == nil {
		return Inspection{}, fmt.Errorf("inspect contacts: %w", err)
	}
	defer func() { _ = p.file.Close() }()
	in := Inspection{Plan: p.plan(o)}
	if err != nil {
		return in, fmt.Errorf("inspect contacts: %w", err)
	}
	c := newConverter(p.mapping, o)
	own, err := o.Table.use(p, o, &in)
	if err != nil {
		return in, fmt.Errorf("inspect contacts: %w", err)
	}
	var checks []ownCheck
	if own != nil {
		checks = own.checks()
		c.keepColumns(own.keep)
	}
	counts := &rejects{count: map[RejectCode]int64{}}
	for {
		rec, err := p.file.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return in, fmt.Errorf("inspect contacts: %w", err)
		}
		switch {
		case rec.Note:
			in.Notes++
			continue
		case rec.Blank:
			in.Blank++
			continue
		}
		in.Read++
		contact, why := c.convert(rec)
		if why == nil && own != nil {
			if why = c.keyless(cmp.Or(o.Key, KeyEmail), true, &contact); why == nil {
				why = c.fits(checks, &contact)
			}
		}
		if why != nil {
			_ = counts.tally(why.code) // there is no limit
			if len(in.Rejects) < inspectRows {
				in.Rejects = append(in.Rejects, InspectedReject{rec.Line, why.column, why.code, why.message})
			}
			continue
		}
		if len(in.Rows) < inspectRows {
			in.Rows = append(in.Rows, inspected(rec.Line, &contact))
		}
	}
	in.Rejected, in.RejectedByCode = counts.total, counts.byCode()
	in.Changed, in.NullWords = c.changes.list(), c.nullWords()
	return in, nil
}

func inspected(line int, c *contact) InspectedRow {
	row := InspectedRow{
		Line: line, Email: string(c.email), Phone: string(c.phone), Name: string(c.name), Company: string(c.company),
		Metadata: string(c.metadata),
	}
	if c.hasCreatedAt {
		row.CreatedAt = time.UnixMicro(c.createdAt + y2k*1_000_000).UTC().Format(time.RFC3339)
	}
	return row
}
