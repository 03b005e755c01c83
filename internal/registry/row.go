package registry

import (
	"encoding/json"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/crmctl/crmctl/internal/db"
)

// InvalidRow is a row of the registry that this program would not have written:
// somebody else did, and may have meant anything by it. It is shown and never acted
// on; the other rows do not suffer from it.
type InvalidRow struct {
	ID     string // uuid
	Slug   string // this and the following as they stand there: they may hold anything
	Schema string
	Status Status
	Why    string // in plain words, with what was read quoted
}

// columns are what scan reads. Each may hold anything, since the table's checks may
// be gone. A moment outside of the years 1 to 9999, which neither Go nor JSON can
// write down, is read as null, and the last column but one tells.
const columns = `id::text, slug, display_name, schema_name, status, role_name, ` + roleState +
	`, schema_version, settings::text,
	case when created_at ` + inReach + ` then created_at end, case when updated_at ` + inReach + ` then updated_at end,
	case when deleted_at ` + inReach + ` then deleted_at end, case when purge_after ` + inReach + ` then purge_after end,
	deleted_from, case when purge_started_at ` + inReach + ` then purge_started_at end,
	not (created_at ` + inReach + ` and updated_at ` + inReach + ` and coalesce(deleted_at ` + inReach + `, true)
		and coalesce(purge_after ` + inReach + `, true) and coalesce(purge_started_at ` + inReach + `, true)),
	case when jsonb_typeof(settings -> '` + SettingTablespace + `') = 'string'
		then settings ->> '` + SettingTablespace + `' else '' end`

const inReach = `between '0001-01-01 00:00:00+00'::timestamptz and '9999-12-31 00:00:00+00'::timestamptz`

// States of the role that a row of the registry names.
const (
	roleForeign  = "foreign"  // it was not made for the tenant
	roleUnmarked = "unmarked" // it may have been, before roles were marked
)

// roleState is an expression over a row of public.tenants: the state of its role, ""
// where it was made for the tenant, or is not there. Before roles were marked they
// were named like the schema and had no rights of their own over the server.
const roleState = `case when role_name is null then '' when octet_length(role_name) > 63 then '` + roleForeign +
	`' else coalesce((
		select case when d.description = '` + db.RoleMark + `' || tenants.id::text then ''
			when starts_with(d.description, '` + db.RoleMark + `') then '` + roleForeign + `'
			when tenants.role_name = tenants.schema_name
				and not (r.rolsuper or r.rolcreaterole or r.rolcreatedb or r.rolreplication or r.rolbypassrls)
					then '` + roleUnmarked + `'
			else '` + roleForeign + `' end
		from pg_catalog.pg_roles r
		left join pg_catalog.pg_shdescription d on d.objoid = r.oid and d.classoid = 'pg_catalog.pg_authid'::regclass
		where r.rolname = tenants.role_name::name), '') end`

// row is a row of the registry, valid or not: exactly one of the two is filled.
type row struct {
	Tenant

	invalid *InvalidRow
}

// scan reads a row of this registry. A list of pointers grows without copying the rows.
func (r Registry) scan(from pgx.CollectableRow) (*row, error) {
	var (
		t                                     Tenant
		slug, display, schema, settings, role pgtype.Text
		status, deletedFrom                   pgtype.Text
		created, updated                      pgtype.Timestamptz
		state                                 string
		version                               pgtype.Int8
		odd                                   pgtype.Bool
	)
	err := from.Scan(&t.ID, &slug, &display, &schema, &status, &role, &state, &version, &settings,
		&created, &updated, &t.DeletedAt, &t.PurgeAfter, &deletedFrom, &t.PurgeStartedAt, &odd,
		&t.Tablespace)
	if err != nil {
		return nil, err
	}
	t.Slug, t.DisplayName = slug.String, display.String
	t.Status, t.DeletedFrom = Status(status.String), Status(deletedFrom.String)
	if t.Role, t.RoleUnmarked = role.String, state == roleUnmarked; state == roleForeign {
		t.Role, t.ForeignRole = "", t.Role
	}
	why := ""
	switch {
	case !slug.Valid:
		why = "slug is null"
	case !display.Valid:
		why = "display_name is null"
	case !schema.Valid:
		why = "schema_name is null"
	case !status.Valid:
		why = "status is null"
	case !settings.Valid:
		why = "settings is null"
	case !version.Valid:
		why = "schema_version is null"
	case !odd.Valid || odd.Bool || !created.Valid || !updated.Valid:
		why = "one of its dates is missing, infinite or out of the years 1 to 9999"
	default:
		t.Version, t.Settings, t.CreatedAt, t.UpdatedAt = version.Int64, json.RawMessage(settings.String), created.Time,
			updated.Time
		t.Schema, err = db.RegisteredSchema(schema.String)
		if why = fault(t, err); why == "" && t.Schema == r.Schema() {
			why = fmt.Sprintf("schema %q is the registry's", t.Schema)
		}
	}
	if why != "" {
		return &row{invalid: &InvalidRow{ID: t.ID, Slug: t.Slug, Schema: schema.String, Status: t.Status, Why: why}}, nil
	}
	return &row{Tenant: t}, nil
}

// fault says what this program would not have written, "" for nothing. schemaErr is
// what is wrong with the name of the schema.
func fault(t Tenant, schemaErr error) string {
	slug, err := Slug(t.Slug)
	switch {
	case err != nil:
		return err.Error()
	case slug != t.Slug:
		return fmt.Sprintf("the name %q is not as a tenant's is written (%q)", t.Slug, slug)
	case schemaErr != nil:
		return schemaErr.Error()
	case db.IsPoolName(t.Schema.String()):
		return fmt.Sprintf("schema %q is one of the pool", t.Schema)
	case t.Version < 0:
		return fmt.Sprintf("schema_version is %d", t.Version)
	case !isObject(t.Settings):
		return "settings is not an object"
	}
	switch t.Status {
	case Active, Suspended, Leaving, Incoming, Moved:
		if t.DeletedAt != nil || t.PurgeStartedAt != nil || t.DeletedFrom != "" {
			return fmt.Sprintf("status is %s, and it has dates of a deletion", t.Status)
		}
	case Gone:
		if t.DeletedAt != nil || t.PurgeStartedAt != nil {
			return "status is gone, and it has dates of a deletion"
		}
		if t.DeletedFrom != "" && t.DeletedFrom != Active && t.DeletedFrom != Suspended {
			return fmt.Sprintf("deleted_from is %q", t.DeletedFrom)
		}
	case Deleted:
		if t.DeletedAt == nil || t.PurgeAfter == nil {
			return "status is deleted, without the dates of that"
		}
		if t.DeletedFrom != "" && t.DeletedFrom != Active && t.DeletedFrom != Suspended && t.DeletedFrom != Moved {
			return fmt.Sprintf("deleted_from is %q", t.DeletedFrom)
		}
	default:
		return fmt.Sprintf("status is %q", t.Status)
	}
	return ""
}

func isObject(text json.RawMessage) bool {
	return len(text) > 0 && text[0] == '{'
}

// split tells valid rows from the others. Rows that share a name or a schema, as they
// can where the table has lost its unique keys, are none of them valid: nobody could
// say which of them is meant.
func split(rows []*row) (valid []Tenant, invalid []InvalidRow) {
	slugs, schemas := make(map[string]int, len(rows)), make(map[string]int, len(rows))
	for _, r := range rows {
		if r.invalid != nil {
			slugs[r.invalid.Slug]++
			schemas[r.invalid.Schema]++
			continue
		}
		slugs[r.Slug]++
		schemas[r.Schema.String()]++
	}
	valid = make([]Tenant, 0, len(rows))
	for _, r := range rows {
		switch {
		case r.invalid != nil:
			invalid = append(invalid, *r.invalid)
		case slugs[r.Slug] > 1:
			invalid = append(invalid, r.because("another row has the same name"))
		case schemas[r.Schema.String()] > 1:
			invalid = append(invalid, r.because("another row has the same schema, "+r.Schema.String()))
		default:
			valid = append(valid, r.Tenant)
		}
	}
	return valid, invalid
}

func (r *row) because(why string) InvalidRow {
	return InvalidRow{ID: r.ID, Slug: r.Slug, Schema: r.Schema.String(), Status: r.Status, Why: why}
}
