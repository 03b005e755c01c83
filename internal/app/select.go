package app

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// Selection says which tenants a call works on.
type Selection struct {
	slugs    map[string]bool
	patterns []string
	all      bool
	without  *Selection // nil for nothing
	lenient  bool       // a name that is not there is no error
}

// PatternError says that what was given is no pattern of names.
type PatternError struct {
	Pattern string
	Exclude bool // it is about those that are left out
}

func (e *PatternError) Error() string { return fmt.Sprintf("%q is not a pattern", e.Pattern) }

// Select returns the tenants of these names and patterns ("a*", as path.Match has them),
// all where there are none, without those of exclude. Errors are a *PatternError or wrap
// registry.ErrInvalidName.
func Select(names, exclude []string) (*Selection, error) {
	s, err := parseSelection(names, false)
	if err != nil {
		return nil, err
	}
	s.all = len(names) == 0
	if len(exclude) > 0 {
		s.without, err = parseSelection(exclude, true)
	}
	return s, err
}

// parseSelection tells names from patterns.
func parseSelection(names []string, exclude bool) (*Selection, error) {
	s := &Selection{slugs: make(map[string]bool, len(names))}
	for _, name := range names {
		if IsPattern(name) {
			if _, err := path.Match(name, ""); err != nil {
				return nil, &PatternError{Pattern: name, Exclude: exclude}
			}
			s.patterns = append(s.patterns, strings.ToLower(name))
			continue
		}
		slug, err := registry.Slug(name)
		if err != nil {
			return nil, err
		}
		s.slugs[slug] = true
	}
	return s, nil
}

// All reports whether every tenant is meant, but for those left out.
func (s *Selection) All() bool { return s.all }

// One reports whether no more than one tenant can be meant, which was named.
func (s *Selection) One() bool {
	return !s.all && s.without == nil && len(s.patterns) == 0 && len(s.slugs) == 1
}

// Everything reports whether every tenant is meant and none is left out.
func (s *Selection) Everything() bool { return s.all && s.without == nil }

// Names returns the slugs that were named, in order.
func (s *Selection) Names() []string { return slices.Sorted(maps.Keys(s.slugs)) }

// Selects reports whether a tenant of this slug is meant.
func (s *Selection) Selects(slug string) bool {
	if s.without != nil && s.without.Selects(slug) {
		return false
	}
	return s.all || s.slugs[slug] || slices.ContainsFunc(s.patterns, func(pattern string) bool {
		ok, err := path.Match(pattern, slug)
		return err == nil && ok
	})
}

// record returns what the ledger keeps of the selection, so that a retry means the same
// tenants; nil when it means all, up to the newest version.
func (s *Selection) record(to int64) *registry.Selection {
	out := registry.Selection{To: to}
	if !s.all {
		out.Tenants = append(s.Names(), s.patterns...)
	}
	if s.without != nil {
		out.Exclude = append(s.without.Names(), s.without.patterns...)
	}
	if out.Tenants == nil && out.Exclude == nil && to == 0 {
		return nil
	}
	return &out
}

// Tenants reads the selected tenants from the registry, those in one of the given states
// or all, and apart from them the selected rows that are not valid. A name that is not
// there is an error; a pattern may match none.
func (a *App) Tenants(ctx context.Context, q db.Querier, s *Selection, statuses ...registry.Status) ([]registry.Tenant,
	[]registry.InvalidRow, error) {
	if conn, ok := q.(*pgx.Conn); ok {
		a.NoteSource(ctx, conn)
	}
	all, rows, err := a.Registry.ListAll(ctx, q, registry.Filter{})
	if err != nil {
		return nil, nil, err
	}
	if len(statuses) > 0 {
		all = a.inState(all, s, statuses)
	}
	var invalid []registry.InvalidRow
	found := make(map[string]bool, len(s.slugs))
	for _, r := range rows {
		if s.Selects(r.Slug) {
			found[r.Slug] = true
			invalid = append(invalid, r)
		}
	}
	out := slices.DeleteFunc(all, func(t registry.Tenant) bool {
		if s.slugs[t.Slug] {
			found[t.Slug] = true
		}
		return !s.Selects(t.Slug)
	})
	for _, slug := range s.Names() {
		if found[slug] || s.lenient {
			continue
		}
		t, err := a.Registry.Get(ctx, q, slug)
		if err != nil {
			return nil, nil, err
		}
		return nil, nil, &registry.StateError{Slug: slug, State: t.State()}
	}
	return out, invalid, nil
}

// inState leaves out the tenants that are in another state than one of statuses. Those that
// the application does not name any more are told, where deleted ones are left out too.
func (a *App) inState(all []registry.Tenant, s *Selection, statuses []registry.Status) []registry.Tenant {
	var gone []string
	out := slices.DeleteFunc(all, func(t registry.Tenant) bool {
		if t.Status == registry.Gone && s.Selects(t.Slug) && !s.slugs[t.Slug] {
			gone = append(gone, t.Slug)
		}
		return !slices.Contains(statuses, t.Status)
	})
	if len(gone) > 0 && slices.Equal(statuses, []registry.Status{registry.Active, registry.Suspended}) {
		a.Notify(LeftGone{Slugs: gone})
	}
	return out
}
