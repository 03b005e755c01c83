package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/suggest"
)

// Filter says which tenants List returns. The zero Filter means all.
type Filter struct {
	Statuses []Status // none = every status
	Slugs    []string // exact slugs; none = every one
	// Settings are the names of the settings that are wanted, none = none: those of a
	// whole fleet may be more than memory holds.
	Settings    []string
	AllSettings bool
}

// settings returns the expression that reads what is wanted of the settings, and
// still tells what they are where nothing is wanted. names is the parameter with the names.
func (f Filter) settings(names string) string {
	if f.AllSettings {
		return "settings::text"
	}
	some := `'{}'`
	if len(f.Settings) > 0 {
		some = `case when settings ?| ` + names + ` then
			(select jsonb_object_agg(e.key, e.value)::text from jsonb_each(settings) e where e.key = any (` + names +
			`)) else '{}' end`
	}
	return `case when jsonb_typeof(settings) = 'object' then ` + some + ` when settings is not null then '[]' end`
}

// columns are what scan reads, with the settings that are wanted.
func (f Filter) columns(names string) string {
	return strings.Replace(columns, "settings::text", f.settings(names), 1)
}

// forget takes away what stands in the place of settings that were not read, so that
// nobody takes it for them.
func (f Filter) forget(tenants []Tenant) {
	if f.AllSettings || len(f.Settings) > 0 {
		return
	}
	for i := range tenants {
		tenants[i].Settings = nil
	}
}

// List returns the tenants in the order of their slugs, in one round trip, without
// rows that are not valid, and with the settings that f asks for.
func (r Registry) List(ctx context.Context, q db.Querier, f Filter) ([]Tenant, error) {
	tenants, _, err := r.ListAll(ctx, q, f)
	return tenants, err
}

// ListAll is List, and returns the rows that are not valid too. These have whatever
// status they have: only Filter.Slugs leaves some of them out.
func (r Registry) ListAll(ctx context.Context, q db.Querier, f Filter) ([]Tenant, []InvalidRow, error) {
	args := []any{nonNil(f.Slugs)}
	if !f.AllSettings && len(f.Settings) > 0 {
		args = append(args, f.Settings)
	}
	rows, err := db.Select(ctx, q, r.scan, `select `+f.columns("$2::text[]")+`
		from `+r.Tenants()+`
		where cardinality($1::text[]) = 0 or slug = any ($1::text[])
		order by slug collate "C"`, args...)
	if err != nil {
		return nil, nil, fmt.Errorf("read the registry: %w", r.explain(err))
	}
	tenants, invalid := split(rows)
	f.forget(tenants)
	if len(f.Statuses) > 0 {
		tenants = slices.DeleteFunc(tenants, func(t Tenant) bool { return !slices.Contains(f.Statuses, t.Status) })
	}
	return tenants, invalid, nil
}

// Invalid returns the rows that are not valid alone, without reading the settings of
// any.
func (r Registry) Invalid(ctx context.Context, q db.Querier) ([]InvalidRow, error) {
	rows, err := db.Select(ctx, q, r.scan, `select `+Filter{}.columns("")+`
		from `+r.Tenants()+` order by slug collate "C"`)
	if err != nil {
		return nil, fmt.Errorf("read the registry: %w", r.explain(err))
	}
	_, invalid := split(rows)
	return invalid, nil
}

// Get returns one tenant by slug. The error is a *NotFoundError, with the most
// similar slug, where there is none, and an *InvalidRowError where its row is not
// valid.
func (r Registry) Get(ctx context.Context, q db.Querier, slug string) (Tenant, error) {
	tenants, invalid, err := r.ListAll(ctx, q, Filter{Slugs: []string{slug}, AllSettings: true})
	switch {
	case err != nil:
		return Tenant{}, err
	case len(invalid) > 0:
		return Tenant{}, invalid[0].Err()
	case len(tenants) == 0:
		return Tenant{}, r.notFound(ctx, q, slug)
	}
	return tenants[0], nil
}

// Settings returns the settings of the tenants with the given ids, without those that
// are not there any more.
func (r Registry) Settings(ctx context.Context, q db.Querier, ids []string) (map[string]json.RawMessage, error) {
	type row struct{ ID, Settings string }
	rows, err := db.Select(ctx, q, pgx.RowToStructByName[row], `select id::text, settings::text from `+r.Tenants()+`
		where id = any ($1::uuid[]) and settings is not null`, nonNil(ids))
	if err != nil {
		return nil, fmt.Errorf("read the registry: %w", r.explain(err))
	}
	settings := make(map[string]json.RawMessage, len(rows))
	for _, found := range rows {
		settings[found.ID] = json.RawMessage(found.Settings)
	}
	return settings, nil
}

// Ghosts returns the slugs of the tenants whose schema is not there.
func (r Registry) Ghosts(ctx context.Context, q db.Querier) ([]string, error) {
	slugs, err := db.Select(ctx, q, pgx.RowTo[string], `select t.slug from `+r.Tenants()+` t
		where not exists (select from pg_catalog.pg_namespace n
			where n.nspname operator(pg_catalog.=) t.schema_name::pg_catalog.name)`)
	if err != nil {
		return nil, fmt.Errorf("read the registry: %w", r.explain(err))
	}
	return slugs, nil
}

// Versions returns the cached version of every tenant, by id; -1 where there is none.
func (r Registry) Versions(ctx context.Context, q db.Querier) (map[string]int64, error) {
	type row struct {
		ID      string
		Version int64
	}
	rows, err := db.Select(ctx, q, pgx.RowToStructByName[row],
		`select id::text, coalesce(schema_version, -1) as version from `+r.Tenants())
	if err != nil {
		return nil, fmt.Errorf("read the registry: %w", r.explain(err))
	}
	versions := make(map[string]int64, len(rows))
	for _, found := range rows {
		versions[found.ID] = found.Version
	}
	return versions, nil
}

// Slugs returns the slugs that start with a prefix, at most limit, for
// completion.
func (r Registry) Slugs(ctx context.Context, q db.Querier, prefix string, limit int) ([]string, error) {
	slugs, err := db.Select(ctx, q, pgx.RowTo[string], `select slug from `+r.Tenants()+`
		where starts_with(slug, $1) order by slug collate "C" limit $2`, prefix, limit)
	if err != nil {
		return nil, fmt.Errorf("read the registry: %w", r.explain(err))
	}
	return slices.DeleteFunc(slugs, func(s string) bool {
		written, err := Slug(s)
		return err != nil || written != s
	}), nil
}

// Recent returns the schemas of the tenants that were registered last, at most so many.
func (r Registry) Recent(ctx context.Context, q db.Querier, limit int) ([]db.Schema, error) {
	names, err := db.Select(ctx, q, pgx.RowTo[string], `select t.schema_name from `+r.Tenants()+` t
		where t.status <> 'deleted' order by t.id desc limit $1`, limit)
	if err != nil {
		return nil, r.explain(err)
	}
	var out []db.Schema
	for _, name := range names {
		if s, err := db.RegisteredSchema(name); err == nil { // what is not valid is told elsewhere
			out = append(out, s)
		}
	}
	return out, nil
}

// explain turns "relation public.tenants does not exist" into ErrNoRegistry, and a missing column into ErrOldRegistry.
func (r Registry) explain(err error) error {
	switch {
	case r.Missing(err):
		return ErrNoRegistry
	case db.SQLState(err) == db.CodeUndefinedColumn:
		return ErrOldRegistry
	}
	return err
}

// ExplainTable says of an error of reading a table that came later than the tenants what
// it means: ErrNoRegistry, ErrOldRegistry, or that what was tried failed.
func (r Registry) ExplainTable(ctx context.Context, q db.Querier, what string, err error) error {
	switch {
	case err == nil:
		return nil
	case !r.Missing(err):
		return fmt.Errorf("%s: %w", what, err)
	}
	if lacks := r.Lacking(ctx, q); lacks != nil {
		return lacks
	}
	return ErrOldRegistry
}

// Lacking returns ErrNoRegistry or ErrOldRegistry where the registry is not what this
// program needs, and otherwise nil.
func (r Registry) Lacking(ctx context.Context, q db.Querier) error {
	_, err := r.List(ctx, q, Filter{Slugs: []string{"-"}})
	if errors.Is(err, ErrNoRegistry) || errors.Is(err, ErrOldRegistry) {
		return err
	}
	return nil
}

func (r Registry) notFound(ctx context.Context, q db.Querier, slug string) error {
	e := &NotFoundError{Slug: slug}
	// A suggestion is a courtesy: where it cannot be had the answer stands.
	all, err := db.Select(ctx, q, pgx.RowTo[string], `select slug from `+r.Tenants()+
		` where slug is not null order by slug limit 20000`)
	if err == nil {
		e.Similar = suggest.Nearest(slug, all)
	}
	return e
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
