package importer

import (
	_ "embed" // for the table of presets
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/tabular"
)

//go:embed presets.tsv
var presetTable string

// preset is a known program's export.
type preset struct {
	name    string
	created string // the squeezed header of when a contact was made, or ""
	nothing string // the squeezed header of what is no field there, or ""
}

// findPreset returns the program that a header is of, with an empty name when
// none is known.
func findPreset(headers []string) preset {
	squeezed := make([]string, len(headers))
	for i, h := range headers {
		squeezed[i] = squeeze(h)
	}
	for line := range strings.Lines(presetTable) {
		parts := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if strings.HasPrefix(line, "#") || len(parts) != 4 {
			continue
		}
		all := true
		for header := range strings.SplitSeq(parts[1], "|") {
			all = all && slices.Contains(squeezed, squeeze(header))
		}
		if all {
			return preset{name: parts[0], created: squeeze(parts[2]), nothing: squeeze(parts[3])}
		}
	}
	return preset{}
}

// applyPreset maps what only a known program's header can mean. Cards have the columns
// of Google's exports, though Google need not have written them.
func (m *mapping) applyPreset(kind tabular.Kind) {
	if kind == tabular.VCard {
		return
	}
	p := findPreset(m.headers())
	m.preset, m.nothing = p.name, p.nothing
	if p.created == "" || len(m.sources[FieldCreatedAt]) > 0 {
		return
	}
	for i := range m.columns {
		if c := &m.columns[i]; squeeze(c.Header) == p.created && !c.Asked && c.Field == FieldMetadata {
			c.Why = "as " + p.name + " has it"
			m.assign(i, FieldCreatedAt)
			m.lenient = true
			return
		}
	}
}
