package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/registry"
)

// Renaming says what Rename changes.
type Renaming struct {
	Slug        string // as Slug returns it; "" keeps it
	DisplayName string // "" keeps it
	// Schema gives the schema the name that a new tenant of that slug would have,
	// and the role too where it is named like the schema.
	Schema bool
	// LeaveMentions renames a schema whose old name stays behind elsewhere; the audit
	// says where.
	LeaveMentions bool
	// Shape, if not nil, reads what a tenant's schema is like, whatever its name is. A
	// rename that changes it is not done.
	Shape func(ctx context.Context, q db.Querier, t registry.Tenant) (string, error)
}

// Rename changes the names of a tenant in one transaction. Its id stays, and the
// audit keeps the old names. It returns the tenant before and after, equal when
// there was nothing to change.
//
// A schema whose name stands as a text in what does not follow a rename is not
// renamed (*MentionsError), but for the search_path of its own functions, which is
// made to follow.
//
// Where the new slug or schema is taken the error is an *ExistsError; a deleted
// tenant is not renamed (*StateError).
func Rename(ctx context.Context, conn *pgx.Conn, slug string, to Renaming, o MoveOptions) (before,
	after registry.Tenant, err error) {
	return rename(ctx, conn, slug, to, o, nil)
}

// errPlanOnly ends the transaction of PlanRename.
var errPlanOnly = errors.New("planned, not done")

// PlanRename does what Rename does and takes it back: what it returns is what would
// happen.
func PlanRename(ctx context.Context, conn *pgx.Conn, slug string, to Renaming, o MoveOptions) (before,
	after registry.Tenant, err error) {
	return rename(ctx, conn, slug, to, o, errPlanOnly)
}

// rename ends its transaction with the error end, which is not returned.
func rename(ctx context.Context, conn *pgx.Conn, slug string, to Renaming, o MoveOptions, end error) (before,
	after registry.Tenant, err error) {
	found, err := o.Registry.Get(ctx, conn, slug)
	if err != nil {
		return registry.Tenant{}, registry.Tenant{}, err
	}
	err = db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: end == nil},
		func(ctx context.Context, q db.Querier) error {
			if before, err = o.Registry.Lock(ctx, q, found, true); err != nil {
				return err
			}
			if before.Status == registry.Deleted || before.Status.Travels() {
				return &registry.StateError{Slug: slug, State: before.State()}
			}
			if after, err = renamed(before, to); err != nil {
				return err
			}
			if from, _ := registry.Changes(before, after); len(from) == 0 {
				return nil
			}
			// A number of the audit that is taken cannot be given back.
			if err := moveNames(ctx, q, before, &after, to, o, nil, end == nil); err != nil {
				return err
			}
			return end
		})
	if err != nil && !errors.Is(err, errPlanOnly) {
		return before, before, renameError(ctx, conn, after, o, err)
	}
	return before, after, nil
}

// moveNames gives a tenant whose row is locked the names of after: the schema, what
// has to follow it, the role, the registry's row, and, where audited, the audit.
func moveNames(ctx context.Context, q db.Querier, before registry.Tenant, after *registry.Tenant, to Renaming,
	o MoveOptions, detail map[string]any, audited bool) error {
	shape := ""
	if after.Schema != before.Schema && to.Shape != nil {
		var err error
		if shape, err = to.Shape(ctx, q, before); err != nil {
			return err
		}
	}
	var p db.Pipeline
	o.Registry.QueueUpdate(&p, after) // first, as a new tenant does: the names are locked by it
	if after.Schema != before.Schema {
		owner.QueueRights(&p, before.Schema)
		p.Exec("alter schema " + before.Schema.Quoted() + " rename to " + after.Schema.Quoted())
		p.Return()
	}
	if after.Role != before.Role {
		if err := queueRoleRename(ctx, q, &p, before.Role, after.Role); err != nil {
			return fmt.Errorf("tenant %q: %w", before.Slug, err)
		}
	}
	if err := p.Run(ctx, q); err != nil {
		return err
	}
	if after.Schema != before.Schema {
		left, err := checkFollowed(ctx, q, before, *after, to, shape)
		if err != nil {
			return err
		}
		if len(left) > 0 {
			detail = maps.Clone(detail)
			if detail == nil {
				detail = map[string]any{}
			}
			detail["left_behind"] = left
		}
	}
	p = db.Pipeline{}
	if audited {
		if err := queueChange(&p, before, *after, registry.ActionRename, o, detail); err != nil {
			return err
		}
	}
	return p.Run(ctx, q)
}

// checkFollowed makes sure that nothing is left behind under the old name of a schema,
// and that the schema is what it was. It returns what is left behind where that may be.
func checkFollowed(ctx context.Context, q db.Querier, before, after registry.Tenant, to Renaming,
	shape string) ([]string, error) {
	left, err := follow(ctx, q, before, after)
	switch {
	case err != nil:
		return nil, fmt.Errorf("tenant %q: %w", before.Slug, err)
	case len(left) > 0 && !to.LeaveMentions:
		return nil, &MentionsError{Slug: before.Slug, Schema: before.Schema, Mentions: left}
	case len(left) > 0:
		texts := make([]string, len(left))
		for i, m := range left {
			texts[i] = m.String()
		}
		return texts, nil
	case to.Shape == nil:
		return nil, nil
	}
	now, err := to.Shape(ctx, q, after)
	if err == nil && now != shape {
		err = fmt.Errorf("tenant %q: its schema would not be the same under another name", before.Slug)
	}
	return nil, err
}

func renamed(t registry.Tenant, to Renaming) (registry.Tenant, error) {
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
func renameError(ctx context.Context, conn *pgx.Conn, t registry.Tenant, o MoveOptions, err error) error {
	pgErr, ok := pgError(err)
	switch {
	case !ok:
		return err
	case o.Registry.Taken(err), pgErr.Code == db.CodeDuplicateSchema:
		exists := &registry.ExistsError{Slug: t.Slug, Schema: t.Schema}
		other, getErr := o.Registry.Get(ctx, conn, t.Slug)
		switch {
		case getErr == nil && other.ID != t.ID:
			exists.Registered, exists.Status = true, other.State()
		case errors.Is(getErr, registry.ErrInvalidRow):
			return getErr
		}
		return exists
	}
	return explainMissing(roleError(err, t.Role), t)
}

// Set changes settings of a tenant: a value of nil takes the setting away. It
// returns the tenant as it is afterwards. A deleted tenant is not changed
// (*StateError).
func Set(ctx context.Context, conn *pgx.Conn, slug string, values map[string]any,
	o MoveOptions) (registry.Tenant, error) {
	return move(ctx, conn, slug, o, registry.ActionSet, func(t *registry.Tenant) error {
		if t.Status == registry.Deleted {
			return &registry.StateError{Slug: t.Slug, State: t.State()}
		}
		settings := map[string]json.RawMessage{} // the others stay as they are, digit by digit
		if err := json.Unmarshal(t.Settings, &settings); err != nil {
			return fmt.Errorf("settings of tenant %q: %w", t.Slug, err)
		}
		for name, value := range values {
			if value == nil {
				delete(settings, name)
				continue
			}
			text, err := json.Marshal(value)
			if err != nil {
				return fmt.Errorf("setting %s of tenant %q: %w", name, t.Slug, err)
			}
			settings[name] = text
		}
		text, err := json.Marshal(settings)
		t.Settings = text
		return err
	})
}

// Relocate says in which tablespace the tables of a tenant are from now on, "" for where the
// database makes them. What is there already is not moved. The error is a *StateError when the
// tenant is deleted.
func Relocate(ctx context.Context, conn *pgx.Conn, slug, name string, o MoveOptions) (registry.Tenant, error) {
	return move(ctx, conn, slug, o, registry.ActionRelocate, func(t *registry.Tenant) (err error) {
		if t.Status == registry.Deleted {
			return &registry.StateError{Slug: t.Slug, State: t.State()}
		}
		if t.Settings, err = registry.WithTablespace(t.Settings, name); err != nil {
			return fmt.Errorf("settings of tenant %q: %w", t.Slug, err)
		}
		t.Tablespace = name
		return nil
	})
}
