package doctor

import "fmt"

// RegistryOwner is something in the schema public that has a name of the registry's and
// belongs to another role than the session's.
type RegistryOwner struct {
	Kind    string // "table", "view" ...
	Name    string // "public.tenants"
	Owner   string // role
	Trusted bool   // the owner may make the registry
}

// ForeignRegistry reports whether a role that is not trusted owns something of the
// registry. Reading it would run what that role likes.
func (f Fleet) ForeignRegistry() bool {
	for _, o := range f.RegistryOwners {
		if !o.Trusted {
			return true
		}
	}
	return false
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
		if o.Trusted {
			if trusted[o.Owner] == nil {
				owners = append(owners, o.Owner)
			}
			trusted[o.Owner] = append(trusted[o.Owner], o)
			continue
		}
		out = append(out, Finding{
			Severity: Error, Subject: o.Name,
			What:    fmt.Sprintf("a %s named like the registry's, which belongs to %s: crmctl reads and writes nothing here", o.Kind, o.Owner),
			Command: fmt.Sprintf("drop %s %s; or, if that role makes the registry: CRMCTL_TRUSTED_OWNERS=%s", o.Kind, o.Name, o.Owner),
		})
	}
	for _, owner := range owners {
		list := trusted[owner]
		what := fmt.Sprintf("%s %s belongs to %s, not to this role", list[0].Kind, list[0].Name, owner)
		if n := len(list) - 1; n > 0 {
			what = fmt.Sprintf("%s %s and %d more belong to %s, not to this role", list[0].Kind, list[0].Name, n, owner)
		}
		out = append(out, Finding{Severity: Info, Subject: "registry", What: what, Command: "nothing, if " + owner + " runs crmctl migrate public"})
	}
	return out
}
