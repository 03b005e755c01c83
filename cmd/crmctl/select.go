package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/tenant"
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
	registerCompletion(cmd, "tenant", completeTenants(f))
	registerCompletion(cmd, "exclude", completeTenants(f))
}

// matcher is the selection ready for use.
type matcher struct {
	all     bool
	wanted  []string // slugs
	globs   []string
	exclude []string // slugs and globs
}

// matcher reads and checks the selection; it does not connect.
func (s *selection) matcher(stdin io.Reader) (*matcher, error) {
	names := s.tenants
	if s.from != "" {
		listed, err := readNames(s.from, stdin)
		if err != nil {
			return nil, err
		}
		if len(listed) == 0 {
			return nil, usagef("--tenants-from %s: no name in it", s.from)
		}
		for _, n := range listed {
			names = append(names, n.name)
		}
	}
	m := &matcher{all: len(names) == 0}
	var err error
	if m.wanted, m.globs, err = splitGlobs("--tenant", names); err != nil {
		return nil, err
	}
	wanted, globs, err := splitGlobs("--exclude", s.exclude)
	m.exclude = append(wanted, globs...)
	return m, err
}

func splitGlobs(flag string, names []string) (wanted, globs []string, err error) {
	for _, name := range names {
		if strings.ContainsAny(name, "*?[") {
			if _, err := path.Match(name, ""); err != nil {
				return nil, nil, usagef("%s %s: not a pattern", flag, name)
			}
			globs = append(globs, strings.ToLower(name))
			continue
		}
		slug, err := tenant.Slug(name)
		if err != nil {
			return nil, nil, err
		}
		wanted = append(wanted, slug)
	}
	return wanted, globs, nil
}

// filter keeps the selected tenants. A name that is not there is a
// *tenant.NotFoundError; a pattern may match none.
func (m *matcher) filter(ctx context.Context, q db.Querier, tenants []tenant.Tenant) ([]tenant.Tenant, error) {
	for _, slug := range m.wanted {
		if !slices.ContainsFunc(tenants, func(t tenant.Tenant) bool { return t.Slug == slug }) {
			if _, err := tenant.Get(ctx, q, slug); err != nil {
				return nil, err
			}
		}
	}
	var out []tenant.Tenant
	for _, t := range tenants {
		if m.selects(t.Slug) {
			out = append(out, t)
		}
	}
	return out, nil
}

func (m *matcher) selects(slug string) bool {
	matches := func(globs []string) bool {
		return slices.ContainsFunc(globs, func(g string) bool {
			ok, err := path.Match(g, slug)
			return err == nil && ok
		})
	}
	if !m.all && !slices.Contains(m.wanted, slug) && !matches(m.globs) {
		return false
	}
	return !matches(m.exclude)
}

// named is a tenant's name with an optional display name.
type named struct{ name, display string }

// readNames reads a list of names: one a line, or name and display name
// separated by a comma. Blank lines and lines that begin with # are left out.
func readNames(file string, stdin io.Reader) ([]named, error) {
	in := stdin
	if file != "-" {
		opened, err := os.Open(file)
		if err != nil {
			return nil, withCode(err, exitUsage)
		}
		defer func() { _ = opened.Close() }()
		in = opened
	}
	var out []named
	lines := bufio.NewScanner(in)
	for number := 1; lines.Scan(); number++ {
		text := strings.TrimSpace(strings.TrimPrefix(lines.Text(), "\ufeff"))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		name, display, _ := strings.Cut(text, ",")
		if _, err := tenant.Slug(name); err != nil {
			return nil, fmt.Errorf("%s:%d: %w", file, number, err)
		}
		out = append(out, named{strings.TrimSpace(name), strings.TrimSpace(display)})
	}
	if err := lines.Err(); err != nil {
		if errors.Is(err, bufio.ErrTooLong) {
			return nil, usagef("%s: a line is too long to be a name", file)
		}
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return out, nil
}
