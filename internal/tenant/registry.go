package tenant

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/suggest"
)

// Errors about the registry.
var (
	// ErrNotFound is wrapped by *NotFoundError.
	ErrNotFound = errors.New("no such tenant")
	// ErrNoRegistry says that the database has no table public.tenants.
	ErrNoRegistry = errors.New("this database has no registry yet")
	// ErrOldRegistry says that public.tenants lacks columns this program needs.
	ErrOldRegistry = errors.New("the registry is older than this crmctl")
	// ErrExists says that the slug or the schema is taken.
	ErrExists = errors.New("tenant exists")
	// ErrState is wrapped by *StateError.
	ErrState = errors.New("not possible in the tenant's state")
)

// NotFoundError names the tenant that is not there, and one whose name is close.
type NotFoundError struct {
	Slug    string
	Similar string // "" when none is close
}

// Error returns `no tenant "acme"`, with a suggestion where there is one.
func (e *NotFoundError) Error() string {
	if e.Similar != "" {
		return fmt.Sprintf("no tenant %q; did you mean %q?", e.Slug, e.Similar)
	}
	return fmt.Sprintf("no tenant %q", e.Slug)
}

// Is makes errors.Is(err, ErrNotFound) true.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// Status is the state of a tenant in the registry.
type Status string

// A purged tenant has no row any more.
const (
	Active    Status = "active"
	Suspended Status = "suspended"
	Deleted   Status = "deleted" // closed, kept until purge_after
	// Purging is Deleted with a purge that has begun: there is no way back. The
	// registry keeps it as deleted with purge_started_at; only State returns it.
	Purging Status = "purging"
)

// Tenant is a row of the registry.
type Tenant struct {
	ID          string // uuid
	Slug        string
	DisplayName string
	Schema      db.Schema
	Status      Status
	Role        string // "" when it has none of its own
	// ForeignRole is a role that the registry names and that was not made for the
	// tenant: nothing is done with it. Role is "" then.
	ForeignRole string
	Version     int64 // cached schema version
	// Settings is an object. It is nil out of a list whose Filter asks for none.
	Settings   json.RawMessage
	CreatedAt  time.Time
	UpdatedAt  time.Time
	DeletedAt  *time.Time
	PurgeAfter *time.Time
	// DeletedFrom is the status that Undelete brings back, "" unless deleted.
	DeletedFrom Status
	// PurgeStartedAt is when a purge began to drop its tables, if one has.
	PurgeStartedAt *time.Time

	unmarked bool // Role has no mark, as those of older releases
}

// State returns the status as people see it: Purging where a purge has begun.
func (t Tenant) State() Status {
	if t.PurgeStartedAt != nil {
		return Purging
	}
	return t.Status
}

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
			(select jsonb_object_agg(e.key, e.value)::text from jsonb_each(settings) e where e.key = any (` + names + `)) else '{}' end`
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
func List(ctx context.Context, q db.Querier, f Filter) ([]Tenant, error) {
	tenants, _, err := ListAll(ctx, q, f)
	return tenants, err
}

// ListAll is List, and returns the rows that are not valid too. These have whatever
// status they have: only Filter.Slugs leaves some of them out.
func ListAll(ctx context.Context, q db.Querier, f Filter) ([]Tenant, []InvalidRow, error) {
	args := []any{nonNil(f.Slugs)}
	if !f.AllSettings && len(f.Settings) > 0 {
		args = append(args, f.Settings)
	}
	rows, err := db.Select(ctx, q, scan, `select `+f.columns("$2::text[]")+`
		from public.tenants
		where cardinality($1::text[]) = 0 or slug = any ($1::text[])
		order by slug collate "C"`, args...)
	if err != nil {
		return nil, nil, fmt.Errorf("read the registry: %w", registryError(err))
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
func Invalid(ctx context.Context, q db.Querier) ([]InvalidRow, error) {
	rows, err := db.Select(ctx, q, scan, `select `+Filter{}.columns("")+`
		from public.tenants order by slug collate "C"`)
	if err != nil {
		return nil, fmt.Errorf("read the registry: %w", registryError(err))
	}
	_, invalid := split(rows)
	return invalid, nil
}

// Get returns one tenant by slug. The error is a *NotFoundError, with the most
// similar slug, where there is none, and an *InvalidRowError where its row is not
// valid.
func Get(ctx context.Context, q db.Querier, slug string) (Tenant, error) {
	tenants, invalid, err := ListAll(ctx, q, Filter{Slugs: []string{slug}, AllSettings: true})
	switch {
	case err != nil:
		return Tenant{}, err
	case len(invalid) > 0:
		return Tenant{}, invalid[0].Err()
	case len(tenants) == 0:
		return Tenant{}, notFound(ctx, q, slug)
	}
	return tenants[0], nil
}

// Settings returns the settings of the tenants with the given ids, without those that
// are not there any more.
func Settings(ctx context.Context, q db.Querier, ids []string) (map[string]json.RawMessage, error) {
	type row struct{ ID, Settings string }
	rows, err := db.Select(ctx, q, pgx.RowToStructByPos[row], `select id::text, settings::text from public.tenants
		where id = any ($1::uuid[]) and settings is not null`, nonNil(ids))
	if err != nil {
		return nil, fmt.Errorf("read the registry: %w", registryError(err))
	}
	settings := make(map[string]json.RawMessage, len(rows))
	for _, r := range rows {
		settings[r.ID] = json.RawMessage(r.Settings)
	}
	return settings, nil
}

// Slugs returns the slugs that start with a prefix, at most limit, for
// completion.
func Slugs(ctx context.Context, q db.Querier, prefix string, limit int) ([]string, error) {
	slugs, err := db.Select(ctx, q, pgx.RowTo[string], `select slug from public.tenants
		where starts_with(slug, $1) order by slug collate "C" limit $2`, prefix, limit)
	if err != nil {
		return nil, fmt.Errorf("read the registry: %w", registryError(err))
	}
	return slices.DeleteFunc(slugs, func(s string) bool {
		written, err := Slug(s)
		return err != nil || written != s
	}), nil
}

// registryError turns "relation public.tenants does not exist" into
// ErrNoRegistry, and a missing column into ErrOldRegistry.
func registryError(err error) error {
	switch {
	case db.MissingRegistry(err):
		return ErrNoRegistry
	case db.SQLState(err) == db.CodeUndefinedColumn:
		return ErrOldRegistry
	}
	return err
}

func notFound(ctx context.Context, q db.Querier, slug string) error {
	e := &NotFoundError{Slug: slug}
	// A suggestion is a courtesy: where it cannot be had the answer stands.
	all, err := db.Select(ctx, q, pgx.RowTo[string], `select slug from public.tenants where slug is not null order by slug limit 20000`)
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

// HoldOpen makes sure, within the caller's transaction, that a tenant is active
// and stays so until the transaction ends. The error wraps ErrState or
// ErrNotFound.
func HoldOpen(ctx context.Context, q db.Querier, t Tenant) error {
	var status Status
	err := q.QueryRow(ctx, `select status from public.tenants where id operator(pg_catalog.=) $1 for share`, t.ID).Scan(&status)
	switch {
	case errors.Is(err, pgx.ErrNoRows):
		return &NotFoundError{Slug: t.Slug}
	case err != nil:
		return fmt.Errorf("look at tenant %q: %w", t.Slug, err)
	case status != Active:
		return &StateError{Slug: t.Slug, State: status}
	}
	return nil
}
