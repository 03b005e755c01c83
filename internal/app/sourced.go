package app

import (
	"context"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/source"
)

// SourcedError says that a tenant is not made, renamed or deleted here, since the
// application does that.
type SourcedError struct {
	Action string // "create", "clone", "rename", "delete"
	Slug   string // "" for several
}

func (e *SourcedError) Error() string {
	text := "the application makes the tenants of this database (tenants_query): " + e.Action
	if e.Slug != "" {
		text += " of " + e.Slug
	}
	return text + " is refused"
}

// RefuseSourced returns a *SourcedError where the application does what was asked for. A
// tenant that it does not name any more is nobody's but ours.
func (a *App) RefuseSourced(action string, t registry.Tenant) error {
	if !a.Sourced() || a.Config.TenantsWrites || t.Status == registry.Gone {
		return nil
	}
	return &SourcedError{Action: action, Slug: t.Slug}
}

// refuseRename is RefuseSourced for a tenant that is not read yet.
func (a *App) refuseRename(ctx context.Context, conn *pgx.Conn, slug string) error {
	if !a.Sourced() || a.Config.TenantsWrites {
		return nil
	}
	t, err := a.Registry.Get(ctx, conn, slug)
	if err != nil {
		return err
	}
	return a.RefuseSourced("rename", t)
}

// StillNamed returns what reports whether the application names a tenant which is not gone:
// by its schema, or by its slug in a row that has no schema. Where the application names
// none by itself that is none of them.
func (a *App) StillNamed(ctx context.Context, conn *pgx.Conn) (func(registry.Tenant) bool, error) {
	if !a.Sourced() {
		return func(registry.Tenant) bool { return false }, nil
	}
	q, err := a.sourceQuery()
	if err != nil {
		return nil, err
	}
	rows, err := q.Read(ctx, conn, source.Limits{Lock: a.Config.LockTimeout, Statement: a.Config.StatementTimeout})
	if err != nil {
		return nil, err
	}
	schemas, slugs := make(map[string]bool, len(rows.All)), map[string]bool{}
	for _, r := range rows.All {
		switch status, _ := source.StatusOf(r.Status); {
		case status == registry.Gone:
		case r.Schema != nil:
			schemas[*r.Schema] = true
		case r.Slug != nil:
			if slug, err := registry.Slug(*r.Slug); err == nil {
				slugs[slug] = true
			}
		}
	}
	return func(t registry.Tenant) bool { return schemas[t.Schema.String()] || slugs[t.Slug] }, nil
}
