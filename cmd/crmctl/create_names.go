package main

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// specs checks all names before anything happens.
func (o *tenantCreateOptions) specs(f *factory) ([]tenant.Spec, error) {
	if o.displayName != "" && (len(o.names) != 1 || o.from != "" || o.count > 0) {
		return nil, cli.Usagef("--display-name is for a single tenant; in a --from file write: name,display name")
	}
	names, err := o.named()
	if err != nil {
		return nil, err
	}
	if o.from != "" {
		listed, err := f.readNames(o.from)
		if err != nil {
			return nil, err
		}
		names = append(names, listed...)
	}
	if len(names) == 0 {
		return nil, cli.Usagef("no tenant to create: give names, or --from FILE")
	}
	typed := make(map[string]string, len(names))
	var specs []tenant.Spec
	for _, n := range names {
		slug, err := registry.Slug(n.name)
		if err != nil {
			return nil, err
		}
		if other, twice := typed[slug]; twice {
			if o.ifNotExists {
				continue
			}
			return nil, cli.Usagef("%q and %q are the same tenant, %s; nothing was done", other, n.name, slug)
		}
		typed[slug] = n.name
		display := n.display
		if display == "" {
			display = n.name
		}
		specs = append(specs, tenant.Spec{Slug: slug, DisplayName: display, Role: o.role})
	}
	return specs, nil
}

// named returns the names of the command line, those of --count made from the one.
func (o *tenantCreateOptions) named() ([]named, error) {
	if o.count == 0 {
		names := make([]named, 0, len(o.names))
		for _, n := range o.names {
			names = append(names, named{name: n, display: o.displayName})
		}
		return names, nil
	}
	const most = 100_000
	switch {
	case o.count < 0 || o.count > most:
		return nil, cli.Usagef("--count %d: want 1 to %d", o.count, most)
	case o.first < 0:
		return nil, cli.Usagef("--first %d: want 0 or more", o.first)
	case len(o.names) != 1:
		return nil, cli.Usagef("--count wants one name, such as customer-%%03d, but there are %d", len(o.names))
	}
	numbered, err := numberedNames(o.names[0], o.first, o.count)
	if err != nil {
		return nil, err
	}
	names := make([]named, len(numbered))
	for i, n := range numbered {
		names[i] = named{name: n}
	}
	return names, nil
}

// numberedNames puts numbers into a pattern: for the %d or %03d in it, or at its
// end, as wide as the last number.
func numberedNames(pattern string, first, count int) ([]string, error) {
	verb := regexp.MustCompile(`%(0[1-9])?d`)
	before, width, after := pattern+"-", len(strconv.Itoa(first+count-1)), ""
	if strings.Contains(pattern, "%") {
		at := verb.FindStringSubmatchIndex(pattern)
		if at == nil || strings.Count(pattern, "%") > 1 {
			return nil, cli.Usagef("%q: want one %%d or %%03d in it", pattern)
		}
		before, width, after = pattern[:at[0]], 0, pattern[at[1]:]
		if at[2] >= 0 {
			width = int(pattern[at[2]+1] - '0')
		}
	}
	names := make([]string, count)
	for i := range names {
		names[i] = fmt.Sprintf("%s%0*d%s", before, width, first+i, after)
	}
	return names, nil
}
