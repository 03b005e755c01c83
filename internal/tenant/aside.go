package tenant

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// SetAside gives a deleted tenant another name, within the caller's transaction, so
// that its own is free: for a tenant that comes back from a backup. Its schema is
// renamed, too, where the other tenant will have one of that name, and its role where
// it is named like the schema. All that it holds, and when it falls due for purge,
// stays. It returns the tenant under its new name.
//
// The error is a *StateError unless it is deleted, and when a purge has begun.
func SetAside(ctx context.Context, q db.Querier, slug string, wanted db.Schema,
	o MoveOptions) (registry.Tenant, error) {
	found, err := o.Registry.Get(ctx, q, slug)
	if err != nil {
		return registry.Tenant{}, err
	}
	before, err := o.Registry.Lock(ctx, q, found, true)
	switch {
	case err != nil:
		return registry.Tenant{}, err
	case before.PurgeStartedAt != nil:
		return registry.Tenant{}, &registry.StateError{Slug: slug, State: registry.Purging}
	case before.Status != registry.Deleted:
		return registry.Tenant{}, &registry.StateError{Slug: slug, State: before.Status, Wanted: registry.Deleted}
	}
	aside, err := freeSlug(ctx, q, before, o)
	if err != nil {
		return registry.Tenant{}, err
	}
	// What mentions the schema outside of it means the tenant that takes its name.
	to := Renaming{Slug: aside, Schema: before.Schema == wanted, LeaveMentions: true}
	after, err := renamed(before, to)
	if err != nil {
		return registry.Tenant{}, err
	}
	if err := moveNames(ctx, q, before, &after, to, o, map[string]any{"reason": "restored from a backup"},
		true); err != nil {
		return registry.Tenant{}, roleError(err, after.Role)
	}
	return after, nil
}

// freeSlug returns "acme-deleted-20261124" for a tenant deleted on that day, with a
// number behind it where that is taken.
func freeSlug(ctx context.Context, q db.Querier, t registry.Tenant, o MoveOptions) (string, error) {
	const tries = 100
	day := ""
	if t.DeletedAt != nil {
		day = t.DeletedAt.UTC().Format("-20060102")
	}
	names := make([]string, tries)
	for i := range names {
		suffix := "-deleted" + day
		if i > 0 {
			suffix += fmt.Sprintf("-%d", i+1)
		}
		slug, err := registry.Slug(cutText(t.Slug, registry.MaxSlug-len(suffix)) + suffix)
		if err != nil {
			return "", err
		}
		names[i] = slug
	}
	free, err := o.Registry.FirstFree(ctx, q, names)
	if err == nil && free == "" {
		err = fmt.Errorf("tenant %q: the name %s and those of %d before it are taken", t.Slug, names[tries-1], tries-1)
	}
	return free, err
}

// cutText returns the beginning of a text, whole letters of at most n bytes.
func cutText(text string, n int) string {
	if len(text) <= n {
		return text
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return text[:n]
}
