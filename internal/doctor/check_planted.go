package doctor

import (
	"context"
	"fmt"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/planted"
)

// living returns the schemas of the tenants that are not deleted, and whose they are.
func (x *examination) living() (schemas []db.Schema, slugs map[string]string) {
	slugs = map[string]string{}
	for _, t := range x.fleet.Tenants {
		if !t.deleted() {
			schemas = append(schemas, t.Schema)
			slugs[t.Schema.String()] = t.Slug
		}
	}
	return schemas, slugs
}

func checkPlanted(ctx context.Context, x *examination) ([]Finding, error) {
	schemas, _ := x.living()
	found, err := planted.Find(ctx, x.conn, schemas, x.o.Trusted)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, t := range x.fleet.Tenants {
		objects := found[t.Schema.String()]
		if len(objects) == 0 {
			continue
		}
		what := objects[0].String()
		if more := len(objects) - 1; more > 0 {
			what += fmt.Sprintf("; and %d more", more)
		}
		out = append(out, Finding{Severity: Error, Subject: t.Slug, Tenant: t.Slug, What: what,
			Command: "look at it; drop it, give it another owner, or: CRMCTL_TRUSTED_OWNERS=" + objects[0].Owner})
	}
	return out, nil
}

// checkCreators tells of each role once, whatever the fleet's size.
func checkCreators(ctx context.Context, x *examination) ([]Finding, error) {
	schemas, slugs := x.living()
	powers, err := planted.Powers(ctx, x.conn, schemas, x.o.Trusted)
	var out []Finding
	for _, p := range powers {
		var names []string
		for _, schema := range p.Schemas {
			names = append(names, slugs[schema])
		}
		var can []string
		if p.Tables > 0 {
			can = append(can, "owns "+plural(int(p.Tables), "table"))
		}
		if p.Creates {
			can = append(can, "may create")
		}
		out = append(out, Finding{Severity: Warning, Subject: p.Role, What: strings.Join(can, " and ") + " in " +
			plural(len(names), "tenant") + ": " + some(names),
			Command: "take that from it, or trust its code: CRMCTL_TRUSTED_OWNERS=" + p.Role})
	}
	return out, err
}
