package backup

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/anonymize"
)

// ErrUnknownColumns says that a schema has columns of which nobody has said whether
// they hold something personal.
var ErrUnknownColumns = errors.New("columns that may hold personal data")

// Anonymizer replaces personal data in rows: names, addresses, numbers and what people
// wrote. The same value always gets the same replacement, in every column, so that
// references stay intact, and two addresses never get the same one. Without the key
// nobody can find out a value by trying candidates.
//
// Ids, times, numbers of rows and the words of the program (a status, a direction)
// stay. JSON is emptied: its keys may be as personal as its values.
type Anonymizer struct {
	values *anonymize.Values
	keep   []string
}

// NewAnonymizer returns an Anonymizer for a seed. The columns to keep as they are, each
// as "table.column", are trusted to hold nothing personal.
func NewAnonymizer(seed string, keep []string) *Anonymizer {
	return &Anonymizer{values: anonymize.New(seed), keep: keep}
}

// rules returns for each table what is done to its columns, nil for a column that
// stays and no entry for a table that stays as a whole. Columns of other tables
// that could hold anything about a person are an error.
func (d *Anonymizer) rules(s *structure) (map[string][]anonymize.Rule, error) {
	out := map[string][]anonymize.Rule{}
	var unknown []string
	kept := map[string]bool{}
	for _, t := range s.of("r") {
		if t.Name == versionTable {
			continue
		}
		list := make([]anonymize.Rule, len(t.Columns))
		changes := false
		for i, column := range t.Columns {
			name := t.Name + "." + column
			if slices.Contains(d.keep, name) {
				kept[name] = true
				continue
			}
			rule, ok := anonymize.RuleOf(t.Name, column, t.Types[i], t.Classes[i])
			if !ok {
				unknown = append(unknown, name)
			}
			list[i], changes = rule, changes || rule != nil
		}
		if changes {
			out[t.Name] = list
		}
	}
	for _, name := range d.keep {
		if !kept[name] {
			return nil, fmt.Errorf("there is no column %s to keep", name)
		}
	}
	if len(unknown) > 0 {
		return nil, fmt.Errorf("%w: %s", ErrUnknownColumns, strings.Join(unknown, ", "))
	}
	return out, nil
}

// anonymizingWriter replaces the values in COPY text and passes it on.
type anonymizingWriter struct {
	out   io.Writer
	d     *anonymize.Values
	rules []anonymize.Rule
	line  []byte // begun
	made  []byte
	value []byte
}

// Write implements io.Writer.
func (w *anonymizingWriter) Write(p []byte) (int, error) {
	for rest := p; len(rest) > 0; {
		end := bytes.IndexByte(rest, '\n')
		if end < 0 {
			w.line = append(w.line, rest...)
			break
		}
		line := rest[:end]
		if len(w.line) > 0 {
			w.line = append(w.line, line...)
			line = w.line
		}
		if err := w.row(line); err != nil {
			return 0, err
		}
		w.line, rest = w.line[:0], rest[end+1:]
	}
	return len(p), nil
}

// row changes one row. A value that is null or blank stays.
func (w *anonymizingWriter) row(line []byte) error {
	w.made = w.made[:0]
	for i, rule := range w.rules {
		field, rest, more := bytes.Cut(line, []byte{'\t'})
		if more != (i < len(w.rules)-1) {
			return fmt.Errorf("a row has not the %d columns it should have", len(w.rules))
		}
		line = rest
		if i > 0 {
			w.made = append(w.made, '\t')
		}
		if rule == nil || string(field) == `\N` {
			w.made = append(w.made, field...)
			continue
		}
		w.value = unescape(w.value[:0], field)
		if len(bytes.TrimSpace(w.value)) == 0 {
			w.made = append(w.made, field...)
			continue
		}
		w.made = escape(w.made, rule(w.d, w.value))
	}
	w.made = append(w.made, '\n')
	_, err := w.out.Write(w.made)
	return err
}

// unescape appends the value of a field of COPY text.
func unescape(to, field []byte) []byte {
	for i := 0; i < len(field); i++ {
		c := field[i]
		if c == '\\' && i+1 < len(field) {
			i++
			c = field[i]
			if at := strings.IndexByte("bfnrtv", c); at >= 0 {
				c = "\b\f\n\r\t\v"[at]
			}
		}
		to = append(to, c)
	}
	return to
}

// escape appends a value as a field of COPY text.
func escape(to, value []byte) []byte {
	for _, c := range value {
		if at := strings.IndexByte("\b\f\n\r\t\v\\", c); at >= 0 {
			to = append(to, '\\', `bfnrtv\`[at])
			continue
		}
		to = append(to, c)
	}
	return to
}
