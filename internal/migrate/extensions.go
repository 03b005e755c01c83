package migrate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/sqltext"
)

// DefaultExtensionSchema is where extensions are made that stand nowhere yet.
const DefaultExtensionSchema = "extensions"

// Extension is an extension that a migration asks for.
type Extension struct {
	sqltext.Extension

	At db.Statement // where it is asked for
}

// ExtensionOptions say how the extensions of a plan are made.
type ExtensionOptions struct {
	Registry    registry.Registry
	Schema      string // for those that stand nowhere yet; "" = DefaultExtensionSchema
	DryRun      bool   // makes none
	LockTimeout time.Duration
	// Shared are schemas that stand on the path because somebody asked for it, for
	// applications that are written so. Their objects may be used, not changed.
	Shared []string
}

// ExtensionUse is an extension that a plan asks for, and where it stands.
type ExtensionUse struct {
	Name   string
	Schema string
	Made   bool // it was made just now, or would be
}

// Errors about the extensions of a plan.
var (
	// ErrExtensionInTenant says that an extension stands in a tenant's schema.
	ErrExtensionInTenant = errors.New("it stands in a tenant's schema, which would take it along from all others")
	// ErrExtensionRight says that this session may not make an extension.
	ErrExtensionRight = errors.New("this role may not make it: let an administrator make it once for the database")
	// ErrExtensionSchema says that others may make objects where extensions are made.
	ErrExtensionSchema = errors.New("others may make objects there, which tenants' migrations would call")
)

// ExtensionError says which extension of which file is at fault.
type ExtensionError struct {
	Extension Extension
	Schema    string // where it stands, or should
	Err       error
}

// Error names the extension and its file.
func (e *ExtensionError) Error() string {
	return fmt.Sprintf("%s:%d: extension %q in schema %q: %v", e.Extension.At.File, e.Extension.At.Line, e.Extension.Name,
		e.Schema, e.Err)
}

// Unwrap returns the cause.
func (e *ExtensionError) Unwrap() error { return e.Err }

// SharedNamesError says that a schema has to stand on the path for the sake of an
// extension, and that files name, without a schema, what else stands there.
type SharedNamesError struct {
	Schema    string
	Extension string
	Names     []string // as "table x", "function f"
}

// Error names the objects.
func (e *SharedNamesError) Error() string {
	return fmt.Sprintf("extension %q stands in schema %q, where the migrations would also find what is "+
		"no extension's: %s; "+
		"name these with their schema, or move the extension into a schema of its own", e.Extension, e.Schema,
		strings.Join(e.Names, ", "))
}

// Extensions returns the extensions that the migrations ask for, each once.
func (p *Plan) Extensions() []Extension {
	var out []Extension
	for _, m := range p.Migrations {
		for _, e := range m.Extensions {
			if !slices.ContainsFunc(out, func(known Extension) bool { return known.Name == e.Name }) {
				out = append(out, e)
			}
		}
	}
	return out
}

// UseExtensions makes the extensions that the migrations ask for and that the database
// lacks, and returns the plan with their schemas on the path, behind the tenant's, and the
// shared ones behind these. A plan that asks for none, or that went through this before,
// is returned as it is, without asking the server. conn must not be in a transaction.
//
// The error is an *ExtensionError, a *SharedNamesError, a *SharedSchemaError or a
// *ReachError.
func (p *Plan) UseExtensions(ctx context.Context, conn *pgx.Conn, o ExtensionOptions) (*Plan, []ExtensionUse, error) {
	wanted := p.Extensions()
	if len(wanted) == 0 && len(o.Shared) == 0 || !p.path.IsZero() {
		return p, nil, nil
	}
	if o.Schema == "" {
		o.Schema = DefaultExtensionSchema
	}
	there, err := readExtensions(ctx, conn, o.Registry)
	if err != nil {
		return nil, nil, err
	}
	var uses []ExtensionUse
	for _, e := range wanted {
		use, err := useExtension(ctx, conn, e, there, o)
		if err != nil {
			return nil, nil, err
		}
		uses = append(uses, use)
	}
	out := *p
	if out.path, err = p.pathOver(ctx, conn, o.Registry, uses, o.Shared); err != nil {
		return nil, nil, err
	}
	return &out, uses, nil
}

// extensionHome is where an extension stands.
type extensionHome struct {
	Name, Schema string
	OfTenant     bool
}

func readExtensions(ctx context.Context, conn *pgx.Conn, reg registry.Registry) (map[string]extensionHome, error) {
	rows, err := db.Select(ctx, conn, pgx.RowToStructByName[extensionHome],
		`select e.extname::pg_catalog.text as name, n.nspname::pg_catalog.text as schema,
			exists (select from `+reg.Tenants()+` t where t.schema_name = n.nspname) as of_tenant
		from pg_catalog.pg_extension e join pg_catalog.pg_namespace n on n.oid = e.extnamespace`)
	if err != nil {
		return nil, fmt.Errorf("read which extensions there are: %w", err)
	}
	out := make(map[string]extensionHome, len(rows))
	for _, row := range rows {
		out[row.Name] = row
	}
	return out, nil
}

func useExtension(ctx context.Context, conn *pgx.Conn, e Extension, there map[string]extensionHome,
	o ExtensionOptions) (ExtensionUse, error) {
	if home, is := there[e.Name]; is {
		if home.OfTenant {
			return ExtensionUse{}, &ExtensionError{Extension: e, Schema: home.Schema, Err: ErrExtensionInTenant}
		}
		return ExtensionUse{Name: e.Name, Schema: home.Schema}, nil
	}
	use := ExtensionUse{Name: e.Name, Schema: o.Schema, Made: true}
	if e.Schema != "" {
		use.Schema = e.Schema
	}
	if o.DryRun {
		return use, nil
	}
	err := makeExtension(ctx, conn, e, use.Schema, o)
	switch db.SQLState(err) {
	case db.CodeUniqueViolation, db.CodeDuplicateObject, db.CodeDuplicateSchema: // another run was first
		again, readErr := readExtensions(ctx, conn, o.Registry)
		if home, is := again[e.Name]; readErr == nil && is {
			return ExtensionUse{Name: e.Name, Schema: home.Schema}, nil
		}
	case db.CodeInsufficientPrivilege:
		err = errors.Join(ErrExtensionRight, err)
	}
	if err != nil {
		return use, &ExtensionError{Extension: e, Schema: use.Schema, Err: err}
	}
	return use, nil
}

// makeExtension makes an extension, and the schema for extensions where that is missing.
// In that one nobody else may make anything: it stands on the path of every tenant.
func makeExtension(ctx context.Context, conn *pgx.Conn, e Extension, schema string, o ExtensionOptions) error {
	quoted := pgx.Identifier{schema}.Sanitize()
	return db.InTx(ctx, conn, db.Locals{LockTimeout: o.LockTimeout, Follow: true},
		func(ctx context.Context, q db.Querier) error {
			if schema == o.Schema {
				if err := ensureExtensionSchema(ctx, q, schema); err != nil {
					return err
				}
			}
			sql := "create extension if not exists " + pgx.Identifier{e.Name}.Sanitize() + " with schema " + quoted
			if e.Version != "" {
				sql += " version " + pgx.Identifier{e.Version}.Sanitize()
			}
			if e.Cascade {
				sql += " cascade"
			}
			_, err := q.Exec(ctx, sql)
			return err
		})
}

// openSchema says of the schema n whether others than the session's role and the schema's
// owner may make objects there.
const openSchema = `(not pg_catalog.pg_has_role(current_user, n.nspowner, 'usage')
			or exists (select from pg_catalog.aclexplode(n.nspacl) a where a.privilege_type = 'CREATE'
				and a.grantee <> n.nspowner))`

func ensureExtensionSchema(ctx context.Context, q db.Querier, schema string) error {
	var there, open bool
	err := q.QueryRow(ctx, `select pg_catalog.count(*) > 0, coalesce(pg_catalog.bool_or(`+openSchema+`), false)
		from pg_catalog.pg_namespace n where n.nspname = $1`, schema).Scan(&there, &open)
	switch {
	case err != nil:
		return err
	case open:
		return ErrExtensionSchema
	case there:
		return nil
	}
	quoted := pgx.Identifier{schema}.Sanitize()
	for _, sql := range []string{"create schema " + quoted, "grant usage on schema " + quoted + " to public"} {
		if _, err := q.Exec(ctx, sql); err != nil {
			return err
		}
	}
	return nil
}
