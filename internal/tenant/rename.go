package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Renaming says what Rename changes.
type Renaming struct {
	Slug        string // as Slug returns it; "" keeps it
	DisplayName string // "" keeps it
	// Schema gives the schema the name that a new tenant of that slug would have,
	// and the role too where it is named like the schema.
	Schema bool
}

// Rename changes the names of a tenant in one transaction. Its id stays, and the
// audit keeps the old names. It returns the tenant before and after, equal when
// there was nothing to change.
//
// Where the new slug or schema is taken the error is an *ExistsError; a deleted
// tenant is not renamed (*StateError).
func Rename(ctx context.Context, conn *pgx.Conn, slug string, to Renaming, o MoveOptions) (before, after Tenant, err error) {
	return rename(ctx, conn, slug, to, o, nil)
}

// errPlanOnly ends the transaction of PlanRename.
var errPlanOnly = errors.New("planned, not done")

// PlanRename does what Rename does and takes it back: what it returns is what would
// happen.
func PlanRename(ctx context.Context, conn *pgx.Conn, slug string, to Renaming, o MoveOptions) (before, after Tenant, err error) {
	return rename(ctx, conn, slug, to, o, errPlanOnly)
}

// rename ends its transaction with the error end, which is not returned.
func rename(ctx context.Context, conn *pgx.Conn, slug string, to Renaming, o MoveOptions, end error) (before, after Tenant, err error) {
	found, err := Get(ctx, conn, slug)
	if err != nil {
		return Tenant{}, Tenant{}, err
	}
	err = db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout}, func(ctx context.Context, q db.Querier) error {
		if before, err = lockTenant(ctx, q, found); err != nil {
			return err
		}
		if before.Status == Deleted {
			return &StateError{Slug: slug, State: before.State()}
		}
		if after, err = renamed(before, to); err != nil {
			return err
		}
		if from, _ := changes(before, after); len(from) == 0 {
			return nil
		}
		// A number of the audit that is taken cannot be given back.
		if err := moveNames(ctx, q, before, &after, o, nil, end == nil); err != nil {
			return err
		}
		return end
	})
	if err != nil && !errors.Is(err, errPlanOnly) {
		return before, before, renameError(ctx, conn, after, err)
	}
	return before, after, nil
}

// moveNames gives a tenant whose row is locked the names of after: the schema, the
// role, the registry's row, and, where audited, the audit.
func moveNames(ctx context.Context, q db.Querier, before Tenant, after *Tenant, o MoveOptions, detail map[string]any, audited bool) error {
	var p db.Pipeline
	if after.Schema != before.Schema {
		p.TryLock(after.Schema)
		p.Exec("alter schema " + before.Schema.Quoted() + " rename to " + after.Schema.Quoted())
	}
	if after.Role != before.Role {
		if err := queueRoleRename(ctx, q, &p, before.Role, after.Role); err != nil {
			return fmt.Errorf("tenant %q: %w", before.Slug, err)
		}
	}
	queueRow(&p, after)
	if audited {
		if err := queueChange(&p, before, *after, ActionRename, o, detail); err != nil {
			return err
		}
	}
	return p.Run(ctx, q)
}

func renamed(t Tenant, to Renaming) (Tenant, error) {
	if to.Slug != "" {
		t.Slug = to.Slug
	}
	if to.DisplayName != "" {
		t.DisplayName = to.DisplayName
	}
	if !to.Schema {
		return t, nil
	}
	schema, err := db.SchemaForSlug(t.Slug)
	if err != nil {
		return t, err
	}
	if t.Role == t.Schema.String() {
		t.Role = schema.String()
	}
	t.Schema = schema
	return t, nil
}

// renameError explains what the server refused.
func renameError(ctx context.Context, conn *pgx.Conn, t Tenant, err error) error {
	pgErr, ok := pgError(err)
	switch {
	case !ok:
		return err
	case pgErr.Code == db.CodeUniqueViolation && pgErr.TableName == "tenants", pgErr.Code == db.CodeDuplicateSchema:
		exists := &ExistsError{Slug: t.Slug, Schema: t.Schema}
		other, getErr := Get(ctx, conn, t.Slug)
		switch {
		case getErr == nil && other.ID != t.ID:
			exists.Status = other.State()
		case errors.Is(getErr, ErrInvalidRow):
			return getErr
		}
		return exists
	}
	return explainMissing(roleError(err, t.Role), t)
}

// Set changes settings of a tenant: a value of nil takes the setting away. It
// returns the tenant as it is afterwards. A deleted tenant is not changed
// (*StateError).
func Set(ctx context.Context, conn *pgx.Conn, slug string, values map[string]any, o MoveOptions) (Tenant, error) {
	return move(ctx, conn, slug, o, ActionSet, func(t *Tenant) error {
		if t.Status == Deleted {
			return &StateError{Slug: t.Slug, State: t.State()}
		}
		settings := map[string]any{}
		if err := json.Unmarshal(t.Settings, &settings); err != nil {
			return fmt.Errorf("settings of tenant %q: %w", t.Slug, err)
		}
		for name, value := range values {
			if value == nil {
				delete(settings, name)
				continue
			}
			settings[name] = value
		}
		text, err := json.Marshal(settings)
		t.Settings = text
		return err
	})
}
