package backup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// ErrRefused says that a file asks for something that no backup of a tenant may.
var ErrRefused = errors.New("refused")

// ownPrefix begins the names of schemas and roles that are made for a moment, or for
// a tenant to come.
const ownPrefix = "crmctl_"

// states are those that a tenant can be in when it is saved.
func states() []string {
	return []string{"active", "suspended", "gone", "leaving", "incoming", "moved", "deleted"}
}

// checkPlace refuses the name of a schema that cannot be a tenant's, whatever the
// database holds.
func checkPlace(schema string) error {
	if _, err := db.RegisteredSchema(schema); err != nil {
		return corrupt("the tenant's schema: %v", err)
	}
	if strings.HasPrefix(schema, ownPrefix) {
		return corrupt("schema %q is no tenant's: such names are made for a moment", schema)
	}
	return nil
}

// checkVersions refuses versions that no tool has written, or one for the second
// time in a row.
func (m *Manifest) checkVersions() error {
	newest := int64(0)
	for _, v := range m.Versions {
		if v.Version < 0 || strings.ContainsFunc(v.AppliedAt, unicode.IsControl) {
			return corrupt("%d is no version of a migration", v.Version)
		}
	}
	for _, v := range m.Applied() {
		newest = max(newest, v)
	}
	if m.Kind == KindTenant && m.SchemaVersion != newest {
		return corrupt("it is said to be at version %d, but the newest of its migrations is %d", m.SchemaVersion, newest)
	}
	if year := m.TakenAt.Year(); !m.TakenAt.IsZero() && (year < 2000 || year > 9999) {
		return corrupt("it is said to be of the year %d", year)
	}
	return nil
}

// judgePlace refuses a schema whose name means something to others in this database:
// unqualified names of whoever has it on the path, by a setting or as "$user", would
// lead into it. A schema named after the tenant, as this program does it, is none.
func (t *target) judgePlace(ctx context.Context) error {
	if own, err := db.SchemaForSlug(t.row.Slug); err == nil && own == t.schema {
		return nil
	}
	found, err := db.Select(ctx, t.conn, pgx.RowTo[string], `
		select 'a role with rights of its own' from pg_roles r where r.rolname = $1
		  and (r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication or r.rolbypassrls
		  	or r.rolname in (current_user, session_user)
			or r.oid = (select d.datdba from pg_database d where d.datname = current_database()))
		union all
		select 'a search_path of this database' from pg_db_role_setting s, unnest(s.setconfig) c
		where starts_with(c, 'search_path=') and exists (
			select from unnest(string_to_array(substr(c, 13), ',')) p where replace(btrim(p), '"', '') = $1)
		limit 1`, t.row.Schema)
	if err != nil {
		return fmt.Errorf("look for what is called %s: %w", t.schema, err)
	}
	if len(found) > 0 {
		return fmt.Errorf("schema %s %w: %s has that name; the tenant can be restored under another", t.schema,
			ErrRefused, found[0])
	}
	return nil
}

// checkRecord compares the version table, whose rows came as data, with what the
// manifest says and the registry was told.
func (t *target) checkRecord(ctx context.Context, m *Manifest) error {
	var got []Version
	var p db.Pipeline
	p.Ask(collect(&got), "select version_id, is_applied, tstamp::pg_catalog.text from "+
		qualified(t.schema, versionTable)+" order by id")
	if err := p.Run(ctx, t.conn); err != nil {
		return fmt.Errorf("read the versions of schema %s: %w", t.schema, db.Plain(err))
	}
	if !slices.Equal(got, m.Versions) {
		return corrupt("the rows of %s are not the versions that its manifest has", versionTable)
	}
	return nil
}

// judgeRegistry looks at the tenants that a registry's file has brought, as at those
// of a tenant's own file: what stands there is where later commands work.
func judgeRegistry(ctx context.Context, q db.Querier, reg registry.Registry, judge func(Tenant) error) error {
	type row struct {
		Slug, DisplayName, Schema, Status, Settings string
		Role                                        string
		Powerful                                    bool
	}
	rows, err := db.Select(ctx, q, pgx.RowToStructByName[row], `
		select t.slug, t.display_name, t.schema_name as schema, t.status, t.settings::text as settings, coalesce(t.role_name,
			'') as role,
			exists (select from pg_roles r where r.rolname = t.role_name
				and (r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication or r.rolbypassrls
					or r.rolname in (current_user, session_user))) as powerful
		from `+reg.Tenants()+` t`)
	if err != nil {
		return fmt.Errorf("look at the tenants of the registry: %w", err)
	}
	for _, r := range rows {
		t := Tenant{Slug: r.Slug, DisplayName: r.DisplayName, Schema: r.Schema, Status: r.Status, Role: r.Role,
			Settings: []byte(r.Settings)}
		if err := t.check(); err != nil {
			return err
		}
		if r.Powerful {
			return fmt.Errorf("tenant %q %w: %q is a role with rights of its own, not a tenant's", r.Slug, ErrRefused, r.Role)
		}
		if judge == nil {
			continue
		}
		if err := judge(t); err != nil {
			return fmt.Errorf("tenant %q %w: %w", r.Slug, ErrRefused, err)
		}
	}
	return nil
}
