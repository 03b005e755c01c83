package tenant

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// Follow gives a tenant the slug, display name, schema and status that an application has
// for it; the schema itself is neither made, renamed nor dropped. A tenant that is Gone is
// closed as a suspended one is, and keeps the status it had for when it comes back.
//
// Where the row is not as from says any more the error wraps db.ErrBusy: another run has
// followed meanwhile. Where the slug is taken it is an *ExistsError; a deleted tenant is
// not touched (*StateError).
func Follow(ctx context.Context, conn *pgx.Conn, from, to registry.Tenant, o MoveOptions) (registry.Tenant, error) {
	after, err := move(ctx, conn, from.Slug, o, registry.ActionSync, func(t *registry.Tenant) error {
		switch {
		case t.ID != from.ID, t.Status != from.Status, t.Schema != from.Schema:
			return fmt.Errorf("tenant %q: %w", from.Slug, db.ErrBusy)
		case t.Status == registry.Deleted:
			return &registry.StateError{Slug: t.Slug, State: t.State()}
		}
		t.Slug, t.DisplayName, t.Schema = to.Slug, to.DisplayName, to.Schema
		t.Status, t.DeletedFrom = to.Status, ""
		if to.Status == registry.Gone {
			if t.DeletedFrom = from.DeletedFrom; from.Status != registry.Gone {
				t.DeletedFrom = from.Status
			}
		}
		return nil
	})
	if o.Registry.Taken(err) {
		err = &registry.ExistsError{Slug: to.Slug, Schema: to.Schema, Registered: true}
	}
	return after, err
}
