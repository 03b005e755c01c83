package doctor

import (
	"cmp"
	"fmt"
)

// RegistryOwner is something in the registry's schema that has a name of the registry's,
// and belongs to another role than the session's or is not the registry's.
type RegistryOwner struct {
	Kind    string // "table", "view" ...
	Name    string // "public.tenants"
	Owner   string // role
	Trusted bool   // the owner may make the registry
	Strange bool   // it is not the registry's
}

// registryOwners has a finding for each thing of a role that is not trusted, and one for
// all of a role that is.
func (f Fleet) registryOwners() []Finding {
	var (
		out     []Finding
		owners  []string
		trusted = map[string][]RegistryOwner{}
	)
	for _, o := range f.RegistryOwners {
		if o.Strange {
			out = append(out, Finding{
				Severity: Error, Subject: o.Name,
				What:    fmt.Sprintf("a %s named like the registry's, which belongs to %s and is not crmctl's", o.Kind, o.Owner),
				Command: cmp.Or(f.RegistryWay, "give the registry a schema of its own: registry_schema"),
			})
			continue
		}
		if o.Trusted {
			if trusted[o.Owner] == nil {
				owners = append(owners, o.Owner)
			}
			trusted[o.Owner] = append(trusted[o.Owner], o)
			continue
		}
		out = append(out, Finding{
			Severity: Error, Subject: o.Name,
			What: fmt.Sprintf("a %s named like the registry's, which belongs to %s: crmctl reads and writes nothing here",
				o.Kind, o.Owner),
			Command: fmt.Sprintf("drop %s %s; or, if that role makes the registry: CRMCTL_TRUSTED_OWNERS=%s", o.Kind,
				o.Name, o.Owner),
		})
	}
	for _, owner := range owners {
		list := trusted[owner]
		what := fmt.Sprintf("%s %s belongs to %s, not to this role", list[0].Kind, list[0].Name, owner)
		if n := len(list) - 1; n > 0 {
			what = fmt.Sprintf("%s %s and %d more belong to %s, not to this role", list[0].Kind, list[0].Name, n, owner)
		}
		out = append(out, Finding{Severity: Info, Subject: "registry", What: what, Command: "nothing, if " + owner +
			" runs crmctl migrate public"})
	}
	return out
}
