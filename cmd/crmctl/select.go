package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// selection is which tenants a command works on. The flags mean the same on
// every command that has them.
type selection struct {
	tenants []string // names and patterns; none = all
	exclude []string
	from    string // file with a name or pattern a line, "-" for stdin
}

func (s *selection) addFlags(f *factory, cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringSliceVar(&s.tenants, "tenant", nil, "only these tenants: `NAMES` or patterns, a,b*")
	fs.StringSliceVar(&s.exclude, "exclude", nil, "not these tenants: `NAMES` or patterns")
	fs.StringVar(&s.from, "tenants-from", "", "only the tenants named in `FILE`, one a line; - for stdin")
	cli.RegisterCompletion(cmd, "tenant", completeTenants(f))
	cli.RegisterCompletion(cmd, "exclude", completeTenants(f))
}

// record returns what the ledger keeps of the selection, so that a retry means the
// same tenants; nil when it means all.
func (m *matcher) record(to int64) map[string]any {
	out := map[string]any{}
	if !m.all {
		out["tenants"] = append(slices.Sorted(maps.Keys(m.wanted)), m.globs...)
	}
	if m.exclude != nil {
		out["exclude"] = append(slices.Sorted(maps.Keys(m.exclude.wanted)), m.exclude.globs...)
	}
	if to != 0 {
		out["to"] = to
	}
	if len(out) == 0 {
		return nil
	}
	return out
}

// matcher is the selection ready for use.
type matcher struct {
	all     bool
	wanted  map[string]bool // slugs
	globs   []string
	exclude *matcher // what it selects is left out; nil for nothing
	lenient bool     // a name that is not there is no error
	// report tells that the command names the invalid rows in its answer: list leaves
	// the selected ones in invalid. Otherwise it passes them by with a line each.
	report  bool
	invalid []registry.InvalidRow
}

// matcher reads and checks the selection; it does not connect.
func (s *selection) matcher(f *factory) (*matcher, error) {
	names := s.tenants
	if s.from != "" {
		listed, err := f.readNames(s.from)
		if err != nil {
			return nil, err
		}
		if len(listed) == 0 {
			return nil, cli.Usagef("--tenants-from %s: no name in it", s.from)
		}
		for _, n := range listed {
			names = append(names, n.name)
		}
	}
	m, err := newMatcher("--tenant", names)
	if err != nil {
		return nil, err
	}
	m.all = len(names) == 0
	if len(s.exclude) > 0 {
		m.exclude, err = newMatcher("--exclude", s.exclude)
	}
	return m, err
}

// newMatcher tells names from patterns.
func newMatcher(flag string, names []string) (*matcher, error) {
	m := &matcher{wanted: make(map[string]bool, len(names))}
	for _, name := range names {
		if strings.ContainsAny(name, "*?[") {
			if _, err := path.Match(name, ""); err != nil {
				return nil, cli.Usagef("%s %s: not a pattern", flag, name)
			}
			m.globs = append(m.globs, strings.ToLower(name))
			continue
		}
		slug, err := registry.Slug(name)
		if err != nil {
			return nil, err
		}
		m.wanted[slug] = true
	}
	return m, nil
}

// list reads the selected tenants from the registry, those in one of the given
// states or all. A name that is not there is an error with exit code 12; a
// pattern may match none.
func (m *matcher) list(ctx context.Context, f *factory, q db.Querier, statuses ...registry.Status) ([]registry.Tenant, error) {
	all, invalid, err := f.registry().ListAll(ctx, q, registry.Filter{Statuses: statuses})
	if err != nil {
		return nil, f.placed(err)
	}
	var out []registry.Tenant
	found := make(map[string]bool, len(m.wanted))
	for _, r := range invalid {
		if m.selects(r.Slug) {
			found[r.Slug] = true
			m.invalid = append(m.invalid, r)
		}
	}
	if !m.report {
		f.passBy(m.invalid)
	}
	for _, t := range all {
		if m.wanted[t.Slug] {
			found[t.Slug] = true
		}
		if m.selects(t.Slug) {
			out = append(out, t)
		}
	}
	for _, slug := range slices.Sorted(maps.Keys(m.wanted)) {
		if found[slug] || m.lenient {
			continue
		}
		t, err := f.registry().Get(ctx, q, slug)
		if err != nil {
			return nil, f.placed(err)
		}
		return nil, f.placed(&registry.StateError{Slug: slug, State: t.State()})
	}
	return out, nil
}

// passBy says which rows of the registry a command leaves alone because they are not
// valid. Where everything else goes well it ends with exit code 3.
func (f *factory) passBy(rows []registry.InvalidRow) {
	for _, r := range rows {
		f.passedBy++
		f.Say("crmctl: %s; left alone", cli.Visible(r.Err().Error()))
	}
}

func (m *matcher) selects(slug string) bool {
	if m.exclude != nil && m.exclude.selects(slug) {
		return false
	}
	return m.all || m.wanted[slug] || slices.ContainsFunc(m.globs, func(glob string) bool {
		ok, err := path.Match(glob, slug)
		return err == nil && ok
	})
}

// named is a tenant's name with an optional display name.
type named struct{ name, display string }

// readNames reads a list of names: one a line, or name and display name
// separated by a comma. Blank lines and lines that begin with # are left out. A
// file that ends in .csv is CSV.
func (f *factory) readNames(file string) ([]named, error) {
	in, err := f.OpenInput(file)
	if err != nil {
		return nil, cli.InputError(err)
	}
	defer func() { _ = in.Close() }()
	if strings.EqualFold(filepath.Ext(file), ".csv") {
		return readNamesCSV(file, in)
	}
	var out []named
	lines := bufio.NewScanner(in)
	for number := 1; lines.Scan(); number++ {
		text := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		name, display, _ := strings.Cut(text, ",")
		if _, err := registry.Slug(name); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, number, err)
		}
		out = append(out, named{strings.TrimSpace(name), strings.TrimSpace(display)})
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return nil, cli.Usagef("%s: a line is too long to be a name", file)
		}
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return out, nil
}
