package importer

import (
	"fmt"
	"io"

	"github.com/crmctl/crmctl/internal/crm/contactfile"
	"github.com/crmctl/crmctl/internal/tabular"
)

// planned is a file that is open, with where its columns go.
type planned struct {
	file    *tabular.File
	mapping *mapping
}

// openFile finds out what a file is and what its columns become. Where it returns
// one, the file is the caller's to close, also beside an error: that the columns
// leave a question.
func openFile(r io.Reader, o Options) (_ *planned, err error) {
	requests, err := requestsOf(o)
	if err != nil {
		return nil, err
	}
	file, err := tabular.Open(r, tabular.Options{
		Encoding: o.Encoding, Delimiter: o.Delimiter, HeaderRow: o.HeaderRow, Limits: o.Limits, Known: knownHeader(requests),
		Own:   func(header []string) bool { return hasOwnColumns(header) || contactfile.IsOwn(header) },
		Exact: exactFiles(),
	})
	if err != nil {
		return nil, fmt.Errorf("read contacts: %w", err)
	}
	asking := false
	defer func() {
		if err != nil && !asking {
			_ = file.Close()
		}
	}()
	sample, err := file.Sample(sampleRows)
	if err != nil {
		return nil, fmt.Errorf("read contacts: %w", err)
	}
	m, err := newMapping(file.Format, sample, requests, o.Null)
	if m == nil {
		return nil, err
	}
	p := &planned{file, m}
	asking = err != nil
	return p, err
}

// plan returns what was found out.
func (p *planned) plan(o Options) Plan {
	return Plan{FileName: o.FileName, Format: p.file.Format, Columns: p.mapping.columns, Preset: p.mapping.preset}
}
