package exporter

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/anonymize"
	"github.com/crmctl/crmctl/internal/crm/contactfile"
)

// ErrUnknownColumns says that a table has columns of which nobody has said whether they hold
// something personal.
var ErrUnknownColumns = errors.New("columns that may hold personal data")

// Anonymizer replaces what is personal: ids, addresses, numbers, names, texts, and the names
// of tenants. Of times the day stays, in UTC: who has the log of another system could find a
// person by more. The words of the program stay: a status, a channel, a direction. Of the
// metadata nothing is written but the keys that are kept, as they are. What is replaced
// is replaced in the same way wherever it stands, so that ids still refer to each other.
type Anonymizer struct {
	values  *anonymize.Values
	keys    []string // of metadata
	columns []string // that stay
	rules   []anonymize.Rule
}

// NewAnonymizer returns an Anonymizer for a seed. The keys of the metadata, and the columns of
// the table, that are kept are trusted to hold nothing personal.
func NewAnonymizer(seed string, keys, columns []string) *Anonymizer {
	return &Anonymizer{values: anonymize.New(seed), keys: keys, columns: columns}
}

// Anonymized says what was done to the columns of a file.
type Anonymized struct {
	Replaced []string
	Dropped  []string // written without what is in them
	Days     []string // times of which only the day is written
	Kept     []string
}

// told returns what is done to columns.
func (a *Anonymizer) told(columns []Column) *Anonymized {
	out := &Anonymized{}
	for i, c := range columns {
		switch {
		case a.rules[i] == nil:
			out.Kept = append(out.Kept, c.Name)
		case c.isTime():
			out.Days = append(out.Days, c.Name)
		case c.Name == "metadata" && c.Kind == JSON && len(a.keys) == 0:
			out.Dropped = append(out.Dropped, c.Name)
		default:
			out.Replaced = append(out.Replaced, c.Name)
		}
	}
	return out
}

// use finds out what is done to the columns of a table.
func (a *Anonymizer) use(table Table, columns []Column) error {
	var unknown []string
	for _, name := range a.columns {
		if !slices.ContainsFunc(columns, func(c Column) bool { return c.Name == name }) {
			return fmt.Errorf("table %s has no column %s to keep", table, name)
		}
	}
	a.rules = nil
	for _, c := range columns {
		rule, known := a.rule(table, c)
		switch {
		case slices.Contains(a.columns, c.Name):
			rule = nil
		case !known:
			unknown = append(unknown, c.Name)
		}
		a.rules = append(a.rules, rule)
	}
	if len(unknown) > 0 {
		return fmt.Errorf("%w: %s", ErrUnknownColumns, strings.Join(unknown, ", "))
	}
	return nil
}

// rule returns what is done to a column.
func (a *Anonymizer) rule(table Table, c Column) (anonymize.Rule, bool) {
	switch {
	case c.Kind == UUID:
		return (*anonymize.Values).ID, true
	case c.Name == "metadata" && c.Kind == JSON:
		return a.metadata, true
	case c.Kind == Time:
		return dayOf, true
	case c.isTime():
		return dayOfText, true
	}
	return anonymize.RuleOf(string(table), c.Name, c.Type, c.class)
}

// isTime reports whether a column holds a day and a time.
func (c Column) isTime() bool { return c.Kind == Time || strings.HasPrefix(c.Type, "timestamp") }

// dayOf cuts a time, as the server sends it, to the day.
func dayOf(_ *anonymize.Values, value []byte) []byte {
	const day = 24 * 60 * 60 * 1_000_000
	if len(value) != 8 {
		return value // refused where it is written
	}
	micros := int64(binary.BigEndian.Uint64(value))
	if micros == math.MaxInt64 || micros == math.MinInt64 { // infinity
		return value
	}
	micros -= (micros%day + day) % day
	return binary.BigEndian.AppendUint64(nil, uint64(micros))
}

// dayOfText cuts a time without a zone, "2026-11-23 10:00:00 BC", to the day.
func dayOfText(_ *anonymize.Values, value []byte) []byte {
	date, rest, found := bytes.Cut(value, []byte{' '})
	if !found { // infinity
		return value
	}
	out := append(slices.Clone(date), " 00:00:00"...)
	if bytes.HasSuffix(rest, []byte(" BC")) {
		out = append(out, " BC"...)
	}
	return out
}

// metadata keeps the keys that are asked for.
func (a *Anonymizer) metadata(_ *anonymize.Values, value []byte) []byte {
	var members map[string]json.RawMessage
	if len(a.keys) == 0 || json.Unmarshal(value, &members) != nil {
		return []byte("{}")
	}
	out := []byte{'{'}
	for _, key := range a.keys {
		member, ok := members[key]
		if !ok {
			continue
		}
		if len(out) > 1 {
			out = append(out, ',')
		}
		out = append(append(contactfile.AppendString(out, []byte(key)), ':'), member...)
	}
	return append(out, '}')
}

// replace returns what is written in place of a value. What is blank stays.
func (a *Anonymizer) replace(column int, value []byte) []byte {
	rule := a.rules[column]
	if rule == nil || len(bytes.TrimSpace(value)) == 0 {
		return value
	}
	return rule(a.values, value)
}

// tenant returns a name in place of a tenant's.
func (a *Anonymizer) tenant(slug []byte) []byte {
	return bytes.ReplaceAll(bytes.ToLower(a.values.Name(slug)), []byte{' '}, []byte{'-'})
}
