package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
)

// versions reads the versions of the tenants that are not deleted, once.
func (x *examination) versions(ctx context.Context) ([]Tenant, []ActualVersion, error) {
	tenants := x.open()
	if x.actual != nil || x.fleet.Versions == nil || len(tenants) == 0 {
		return tenants[:len(x.actual)], x.actual, nil
	}
	actual, err := x.fleet.Versions(ctx, tenants)
	x.actual = actual
	return tenants[:len(actual)], actual, err
}

func checkVersions(ctx context.Context, x *examination) ([]Finding, error) {
	tenants, actual, err := x.versions(ctx)
	if err != nil {
		return nil, err
	}
	var out []Finding
	unread, refused := 0, 0
	for i, t := range tenants {
		v := actual[i]
		f := Finding{Severity: Error, Subject: t.Slug, Tenant: t.Slug}
		switch {
		case v.Gone: // ghost-row tells it
			continue
		case v.Unmanaged:
			f.What, f.Command = "its schema "+t.Schema.String()+" has no goose_db_version",
				"crmctl backup restore FILE, or look at it: crmctl psql "+t.Slug
		case db.SQLState(v.Err) == db.CodeInsufficientPrivilege:
			refused++
			continue
		case v.Err != nil:
			if unread++; unread == 1 {
				x.notChecked("tenant %s: %v", t.Slug, v.Err)
			}
			continue
		case v.Version != t.Version:
			f.What = fmt.Sprintf("its schema is at version %d, the registry says %d", v.Version, t.Version)
			f.Command, f.fix = "crmctl doctor --fix "+string(Version), correctVersion(t, v.Version)
		case v.Version > x.fleet.Head:
			f.Severity, f.What = Warning, fmt.Sprintf("at version %d, newer than the files (%d)", v.Version, x.fleet.Head)
			f.Command = "use the newer files, or crmctl migrate rollback with them"
		case len(v.Late) > 0:
			f.Severity, f.What, f.Command = Warning, "never applied: "+strings.Join(v.Late, ", "),
				"crmctl migrate all-tenants --verify"
		default:
			continue
		}
		out = append(out, f)
	}
	if unread > 1 {
		x.notChecked("and %s more", plural(unread-1, "tenant"))
	}
	if refused > 0 {
		x.notChecked("%s in whose schemas this role may not read goose_db_version", plural(refused, "tenant"))
	}
	return out, nil
}

// checkBehind goes by the schemas: what the registry says may be wrong, which is a
// finding of its own.
func checkBehind(ctx context.Context, x *examination) ([]Finding, error) {
	tenants, actual, err := x.versions(ctx)
	if err != nil {
		return nil, err
	}
	n, first := 0, ""
	for i, t := range tenants {
		if actual[i].Err == nil && actual[i].Version < x.fleet.Head {
			if n++; first == "" {
				first = t.Slug
			}
		}
	}
	switch n {
	case 0:
		return nil, nil
	case 1:
		return []Finding{{Severity: Info, Subject: first, Tenant: first, What: "has pending migrations",
			Command: "crmctl migrate tenant " + first}}, nil
	}
	return []Finding{{Severity: Info, Subject: "fleet", What: plural(n, "tenant") + " with pending migrations",
		Command: "crmctl migrate all-tenants"}}, nil
}
