package doctor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// dirtyPatience is how long a statement that cannot run in a transaction may build an index.
const dirtyPatience = time.Hour

func checkRegistry(_ context.Context, x *examination) ([]Finding, error) {
	out := x.fleet.registryOwners()
	if x.fleet.RegistryClosed {
		return out, nil
	}
	is, should := x.fleet.RegistryVersion, x.fleet.RegistryHead
	switch {
	case x.fleet.RegistryErr != nil:
		return out, x.fleet.RegistryErr
	case is < should:
		return append(out, Finding{Severity: Error, Subject: "registry",
			What: fmt.Sprintf("at version %d, older than this crmctl (%d)", is, should), Command: "crmctl migrate public"}), nil
	case is > should:
		return append(out, Finding{Severity: Warning, Subject: "registry",
			What:    fmt.Sprintf("at version %d, newer than this crmctl (%d)", is, should),
			Command: "install the crmctl that the others use"}), nil
	}
	return out, nil
}

func checkInvalidRows(_ context.Context, x *examination) ([]Finding, error) {
	var out []Finding
	for _, r := range x.fleet.Invalid {
		out = append(out, Finding{Severity: Error, Subject: r.Slug, Tenant: r.Slug,
			What: "its row in the registry is not valid: " + r.Why,
			Command: "look at it, and correct it by hand: select * from " + x.fleet.Registry.Tenants() + " where id = " +
				db.Literal(r.ID)})
	}
	return out, nil
}

func checkGhosts(ctx context.Context, x *examination) ([]Finding, error) {
	slugs, err := db.Select(ctx, x.conn, pgx.RowTo[string], `
		select coalesce(t.slug, '') from `+x.fleet.Registry.Tenants()+
		` t where not exists (select from pg_namespace n where n.nspname = t.schema_name::name)`)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, t := range x.fleet.Tenants {
		if !slices.Contains(slugs, t.Slug) {
			continue
		}
		f := Finding{Severity: Error, Subject: t.Slug, Tenant: t.Slug, What: "its schema " + t.Schema.String() + " is gone",
			Command: "where there is a backup: crmctl backup restore FILE; otherwise: crmctl doctor --fix " + string(GhostRow),
			fix:     markDeleted(t)}
		if t.deleted() {
			f.Severity, f.Command, f.fix = Info, "crmctl tenant purge "+t.Slug, nil
		}
		if t.Status == registry.Gone {
			f.Severity, f.fix = Info, nil
			f.Command = "the application does not name it any more; to forget it: crmctl tenant delete " + t.Slug
		}
		out = append(out, f)
	}
	return out, nil
}

// registeredSchema is the condition under which a schema, $1, is one of a tenant.
func (f Fleet) registeredSchema() string {
	return `exists (select from ` + f.Registry.Tenants() + ` where schema_name = $1)`
}

func checkDirty(ctx context.Context, x *examination) ([]Finding, error) {
	if x.fleet.Dirty == nil {
		return nil, nil
	}
	dirty, err := x.fleet.Dirty(ctx)
	var out []Finding
	for _, d := range dirty {
		if d.Running && x.o.now().Sub(d.Since) < dirtyPatience {
			continue
		}
		out = append(out, Finding{Severity: Error, Subject: d.Slug, Tenant: d.Slug, What: d.What,
			Command: "crmctl migrate repair " + d.Slug})
	}
	return out, err
}

func checkRuns(ctx context.Context, x *examination) ([]Finding, error) {
	if x.fleet.DeadRuns == nil {
		return nil, nil
	}
	ids, err := x.fleet.DeadRuns(ctx)
	var out []Finding
	for _, id := range ids {
		out = append(out, Finding{Severity: Warning, Subject: fmt.Sprintf("run %d", id),
			What:    "killed, and open in the ledger",
			Command: fmt.Sprintf("crmctl migrate runs show %d, then crmctl migrate retry %d", id, id), fix: closeRun(id)})
	}
	return out, err
}
