package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
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

// read reads and checks the selection; it does not connect.
func (s *selection) read(f *factory) (*app.Selection, error) {
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
	return selectTenants(names, s.exclude)
}

// selectTenants is app.Select with the flags' names in its errors.
func selectTenants(names, exclude []string) (*app.Selection, error) {
	s, err := app.Select(names, exclude)
	if bad, is := errors.AsType[*app.PatternError](err); is {
		return nil, cli.Usagef("%s %s: not a pattern", map[bool]string{true: "--exclude",
			false: "--tenant"}[bad.Exclude], bad.Pattern)
	}
	return s, err
}

// tenants reads the selected tenants from the registry, those in one of the given states
// or all, and passes by the rows that are not valid.
func (f *factory) tenants(ctx context.Context, q db.Querier, s *app.Selection,
	statuses ...registry.Status) ([]registry.Tenant, error) {
	a, err := f.app()
	if err != nil {
		return nil, err
	}
	tenants, invalid, err := a.Tenants(ctx, q, s, statuses...)
	f.skipInvalid(invalid)
	return tenants, err
}

// skipInvalid says which rows of the registry a command leaves alone because they are not
// valid. Where everything else goes well it ends with exit code 3.
func (f *factory) skipInvalid(rows []registry.InvalidRow) {
	left := make([]tenantError, len(rows))
	for i, r := range rows {
		f.skippedRows++
		left[i] = tenantError{r.Slug, cli.WithCode(fmt.Errorf("%w; left alone", r.Err()), cli.ExitPartial)}
	}
	f.sayTenants(left)
}

// skipForked names tenants in which another program has gone on, or is at work.
func (f *factory) skipForked(tenants []app.Forked) {
	left := make([]tenantError, len(tenants))
	for i, t := range tenants {
		f.skippedRows++
		left[i] = tenantError{t.Tenant.Slug, cli.WithCode(fmt.Errorf("%w; left alone", t.Err), cli.ExitPartial)}
	}
	f.sayTenants(left)
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
