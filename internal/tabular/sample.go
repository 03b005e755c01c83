package tabular

import (
	"bytes"
	"errors"
	"io"
	"slices"
)

// sampleBytes bounds what is held for a sample.
const sampleBytes = 1 << 20

// Sample returns the cells of the first n rows, or of fewer when they are long,
// before they are read: Next returns them still. Rows with a problem and blank
// ones are left out.
func (f *File) Sample(n int) ([][]string, error) {
	held := 0
	for f.err == nil && len(f.ahead) < n && held < sampleBytes {
		rec, err := f.read()
		if err != nil {
			f.err = err
			break
		}
		held += len(rec.Raw)
		for _, cell := range rec.Fields {
			held += len(cell)
		}
		f.ahead = append(f.ahead, rec.clone())
	}
	if f.err != nil && !errors.Is(f.err, io.EOF) {
		return nil, f.err
	}
	var rows [][]string
	for _, rec := range f.ahead {
		if rec.Problem != None || rec.Blank {
			continue
		}
		row := make([]string, len(rec.Fields))
		for i, cell := range rec.Fields {
			row[i] = string(cell)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// clone copies a record so that it outlives the next.
func (r *Record) clone() Record {
	c := *r
	c.Raw = bytes.Clone(r.Raw)
	c.Fields = make([][]byte, len(r.Fields))
	for i, cell := range r.Fields {
		c.Fields[i] = bytes.Clone(cell)
	}
	c.Extra = make([]Pair, len(r.Extra))
	for i, p := range r.Extra {
		c.Extra[i] = Pair{bytes.Clone(p.Key), bytes.Clone(p.Value)}
	}
	c.Lines = bytes.Clone(r.Lines)
	c.Own = slices.Clone(r.Own) // each has its own memory
	return c
}
