package stats

import (
	"context"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// attribute finds out which tenants the sessions work for.
func (s *Sessions) attribute(ctx context.Context, q db.Querier, reg registry.Registry) error {
	var names registry.Named
	add := func(to *[]string, name string) {
		if name != "" && !slices.Contains(*to, name) {
			*to = append(*to, name)
		}
	}
	for _, one := range s.Sessions {
		for _, schema := range one.schemas {
			add(&names.Schemas, schema)
		}
		name := namedBy(one.Application)
		add(&names.Slugs, name)
		add(&names.Schemas, name)
		add(&names.Schemas, plainName(one.Application))
		add(&names.Roles, one.User)
	}
	tenants, err := reg.ByNames(ctx, q, names)
	if err != nil {
		return err
	}
	known := index(tenants)
	for i := range s.Sessions {
		s.Sessions[i].Tenant, s.Sessions[i].Whose = known.whose(s.Sessions[i])
	}
	return nil
}

// known finds the slugs of tenants by what they are known for.
type known struct{ bySchema, bySlug, byRole map[string]string }

func index(tenants []registry.Tenant) known {
	k := known{map[string]string{}, map[string]string{}, map[string]string{}}
	for _, t := range tenants {
		k.bySchema[t.Schema.String()], k.bySlug[t.Slug] = t.Slug, t.Slug
		// A role that was not made for the tenant may be that of the whole application.
		if t.Role != "" {
			k.byRole[t.Role] = t.Slug
		}
	}
	return k
}

// whose returns the tenant that a session works for.
func (k known) whose(s Session) (slug string, by Whose) {
	for _, schema := range s.schemas {
		switch found := k.bySchema[schema]; {
		case found == "" || found == slug:
		case slug != "":
			return "", Several
		default:
			slug = found
		}
	}
	name := namedBy(s.Application)
	switch {
	case len(s.schemas) > maxSchemas:
		return "", Several
	case slug != "":
		return slug, ByLocks
	case k.bySchema[plainName(s.Application)] != "":
		return k.bySchema[plainName(s.Application)], ByApplication
	case name != "" && k.bySlug[name] != "":
		return k.bySlug[name], ByApplication
	case name != "" && k.bySchema[name] != "":
		return k.bySchema[name], ByApplication
	case k.byRole[s.User] != "":
		return k.byRole[s.User], ByRole
	}
	return "", Unknown
}

// namedBy returns the tenant that an application says it works for: what is behind the
// last colon or slash of "crmctl:acme" or "web/acme", "" for none. A name without either
// is that of the application, though there may be a tenant of the same name.
func namedBy(application string) string {
	application = plainName(application)
	at := strings.LastIndexAny(application, ":/")
	if at < 0 {
		return ""
	}
	return strings.TrimSpace(application[at+1:])
}

// plainName returns the name of an application without what PgBouncer may add to it,
// where the client is: "web:acme - 10.0.0.7:5512". It is "" where the server may have cut
// the name at its end, since what is left may be the name of another tenant.
func plainName(application string) string {
	const most = 63 // NAMEDATALEN - 1
	if len(application) >= most {
		return ""
	}
	application, _, _ = strings.Cut(application, " - ")
	return application
}
