package importer

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/crmctl/crmctl/internal/suggest"
)

// SavedMapping is where the columns of a file go, kept for the next file of the
// same program. As JSON it can be read and changed by hand.
type SavedMapping struct {
	Version   int           `json:"version"`
	Columns   []SavedColumn `json:"columns"`
	Null      []string      `json:"null,omitempty"`
	Encoding  string        `json:"encoding,omitempty"`
	Delimiter string        `json:"delimiter,omitempty"`
	HeaderRow int           `json:"header_row,omitempty"`
	Region    string        `json:"region,omitempty"`
}

// SavedColumn says where a column goes. Of several columns of one field the first
// is preferred.
type SavedColumn struct {
	Header string `json:"header"`
	Field  string `json:"field"` // as in Options.Map
}

const savedVersion = 1

// Save returns the mapping of a plan with what was asked for beside it.
func (p Plan) Save(o Options) SavedMapping {
	s := SavedMapping{Version: savedVersion, Null: o.Null, Encoding: o.Encoding, Delimiter: o.Delimiter,
		HeaderRow: o.HeaderRow, Region: o.Region}
	var rest []SavedColumn
	order := slices.Clone(p.Columns)
	slices.SortStableFunc(order, func(a, b ColumnPlan) int { return a.Rank - b.Rank })
	for _, c := range order {
		saved := SavedColumn{Header: c.Header, Field: string(c.Field)}
		switch c.Field {
		case FieldMetadata:
			if c.Key != c.Header {
				saved.Field = "metadata." + c.Key
			}
			rest = append(rest, saved)
		case FieldSkip:
			rest = append(rest, saved)
		default:
			s.Columns = append(s.Columns, saved)
		}
	}
	s.Columns = append(s.Columns, rest...)
	return s
}

// ParseSavedMapping reads what Save made.
func ParseSavedMapping(data []byte) (SavedMapping, error) {
	var s SavedMapping
	if err := json.Unmarshal(data, &s); err != nil {
		return s, fmt.Errorf("read the mapping: %w", err)
	}
	if s.Version != savedVersion {
		return s, fmt.Errorf("the mapping has version %d, not %d", s.Version, savedVersion)
	}
	for _, c := range s.Columns {
		if _, err := parseRequest(c.Header + "=" + c.Field); err != nil {
			return s, fmt.Errorf("read the mapping: %w", err)
		}
	}
	return s, nil
}

// Fill puts a saved mapping into options, where they do not say otherwise.
func (s SavedMapping) Fill(o *Options) {
	o.Saved = s.Columns
	o.Null = append(slices.Clone(s.Null), o.Null...)
	if o.Encoding == "" {
		o.Encoding = s.Encoding
	}
	if o.Delimiter == "" {
		o.Delimiter = s.Delimiter
	}
	if o.HeaderRow == 0 {
		o.HeaderRow = s.HeaderRow
	}
	if o.Region == "" {
		o.Region = s.Region
	}
}

// requestsOf reads what was asked for: the pairs of Options.Map, and behind them
// what a saved mapping has for other columns. What a saved mapping leaves in the
// metadata need not be in the file.
func requestsOf(o Options) ([]request, error) {
	requests, err := parseRequests(o.Map, o.columns...)
	if err != nil {
		return nil, err
	}
	for _, c := range o.Saved {
		r, err := parseRequest(c.Header + "=" + c.Field)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(requests, func(q request) bool { return squeeze(q.header) == squeeze(r.header) }) {
			continue
		}
		r.optional = r.field == FieldMetadata || r.field == FieldSkip
		requests = append(requests, r)
	}
	return requests, nil
}

// missing returns the error for a column that the file does not have.
func missing(header string, headers []string) error {
	return &MappingError{
		Reason:     fmt.Sprintf("the file has no column %q (it has %s)", header, quoteList(headers)),
		Headers:    headers,
		Suggestion: suggest.Nearest(header, headers),
	}
}
