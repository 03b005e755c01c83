package adopt

import (
	"errors"
	"maps"
	"slices"

	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// Goose is the name of the program whose table of versions is crmctl's own, too.
const Goose = "goose"

// done returns what the program says was done to schemas that are taken for a baseline,
// which stands for all of it.
func (k *Source) done(states []history) []string {
	if k.Baseline == 0 {
		return nil
	}
	seen := make(map[string]bool)
	var out []string
	for i := range states {
		t := states[i].told
		if t.tool == nil {
			continue
		}
		d, err := t.tool.means(slices.Clone(t.rows))
		if err != nil {
			continue
		}
		if d.upTo != "" {
			d.names = append(d.names, d.upTo)
		}
		for _, name := range d.names {
			if name = plainName(name); !seen[name] {
				seen[name] = true
				out = append(out, name)
			}
		}
	}
	return out
}

// Program returns what a later run needs to know of the program, to see whether it has
// gone on; false where there is none.
func (s *Survey) Program() (registry.Source, bool) {
	k := s.opt.Source
	switch {
	case k == nil:
		return registry.Source{Program: Goose, Table: migrate.VersionTable}, true
	case k.table() == "":
		return registry.Source{}, false
	}
	out := registry.Source{Program: k.Name(), Table: k.table(), Files: make(map[string][]int64, len(s.Map)),
		Exact: k.Baseline != 0 && k.tool.state}
	maps.Copy(out.Files, s.Map)
	for _, name := range s.seen {
		out.Files[name] = []int64{}
	}
	return out, true
}

// Keeps reports whether a program that was kept is this one.
func (k *Source) Keeps(s registry.Source) bool { return s.Program == k.Name() && s.Table == k.table() }

// Following returns the source that a kept program is, nil for goose. Versions that the
// plan does not have are left out: old files are often squashed into one. The error is
// about a program that is not known.
func Following(kept registry.Source, plan *migrate.Plan) (*Source, error) {
	if kept.Program == Goose {
		return nil, nil //nolint:nilnil // nil is goose
	}
	k := From(kept.Program)
	if k == nil {
		return nil, errors.New("no program of this name is known: " + kept.Program)
	}
	k.Table, k.Exact, k.Map = kept.Table, kept.Exact, make(Map, len(kept.Files))
	for name, versions := range kept.Files {
		k.Map[name] = slices.DeleteFunc(slices.Clone(versions), func(v int64) bool { return plan.Migration(v) == nil })
	}
	return k, nil
}
