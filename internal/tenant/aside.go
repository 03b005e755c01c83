package tenant

import (
	"context"
	"fmt"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// SetAside gives a deleted tenant another name, within the caller's transaction, so
// that its own is free: for a tenant that comes back from a backup. Its schema is
// renamed, too, where the other tenant will have one of that name, and its role where
// it is named like the schema. All that it holds, and when it falls due for purge,
// stays. It returns the tenant under its new name.
//
// The error is a *StateError unless it is deleted, and when a purge has begun.
func SetAside(ctx context.Context, q db.Querier, slug string, wanted db.Schema, o MoveOptions) (Tenant, error) {
	found, err := Get(ctx, q, slug)
	if err != nil {
		return Tenant{}, err
	}
	before, err := lockTenant(ctx, q, found, true)
	switch {
	case err != nil:
		return Tenant{}, err
	case before.PurgeStartedAt != nil:
		return Tenant{}, &StateError{Slug: slug, State: Purging}
	case before.Status != Deleted:
		return Tenant{}, &StateError{Slug: slug, State: before.Status, Wanted: Deleted}
	}
	aside, err := freeSlug(ctx, q, before)
	if err != nil {
		return Tenant{}, err
	}
	// What mentions the schema outside of it means the tenant that takes its name.
	to := Renaming{Slug: aside, Schema: before.Schema == wanted, LeaveMentions: true}
	after, err := renamed(before, to)
	if err != nil {
		return Tenant{}, err
	}
	if err := moveNames(ctx, q, before, &after, to, o, map[string]any{"reason": "restored from a backup"}, true); err != nil {
		return Tenant{}, roleError(err, after.Role)
	}
	return after, nil
}

// freeSlug returns "acme-deleted-20261124" for a tenant deleted on that day, with a
// number behind it where that is taken.
func freeSlug(ctx context.Context, q db.Querier, t Tenant) (string, error) {
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
		slug, err := Slug(cutText(t.Slug, MaxSlug-len(suffix)) + suffix)
		if err != nil {
			return "", err
		}
		names[i] = slug
	}
	free, err := db.Select(ctx, q, pgx.RowTo[string], `select n from pg_catalog.unnest($1::pg_catalog.text[]) with ordinality as u (n, i)
		where not exists (select from public.tenants t where t.slug operator(pg_catalog.=) n) order by i limit 1`, names)
	if err != nil {
		return "", fmt.Errorf("read the registry: %w", registryError(err))
	}
	if len(free) == 0 {
		return "", fmt.Errorf("tenant %q: the name %s and those of %d before it are taken", t.Slug, names[tries-1], tries-1)
	}
	return free[0], nil
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
