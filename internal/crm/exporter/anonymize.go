package exporter

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/anonymize"
)

// ErrUnknownColumns says that a table has columns of which nobody has said whether they hold
// something personal.
var ErrUnknownColumns = errors.New("columns that may hold personal data")

// Anonymizer replaces what is personal: ids, addresses, numbers, names, texts, and the names
// of tenants. Times stay, and the words of the program: a status, a channel, a direction. Of
// the metadata nothing is written but the keys that are kept, as they are. What is replaced
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
	Kept     []string
}

// told returns what is done to columns.
func (a *Anonymizer) told(columns []Column) *Anonymized {
	out := &Anonymized{}
	for i, c := range columns {
		switch {
		case a.rules[i] == nil:
			out.Kept = append(out.Kept, c.Name)
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
	}
	return anonymize.RuleOf(string(table), c.Name, c.Type, c.class)
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
		out = append(append(appendString(out, []byte(key)), ':'), member...)
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
