package tenant

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// RoleExistsError says that the role of a new tenant is there already. Roles
// belong to the whole cluster: it may be that of a tenant in another database,
// whose members would get into this one.
type RoleExistsError struct{ Role string }

// Error names the role and the two ways on.
func (e *RoleExistsError) Error() string {
	return fmt.Sprintf("role %q exists already, and roles belong to the whole cluster: drop it, or create the tenant "+
		"without a role", e.Role)
}

// Is makes errors.Is(err, ErrExists) true.
func (e *RoleExistsError) Is(target error) bool { return target == registry.ErrExists }

// queueRole adds the statements that make a tenant's role, before those that make
// its tables: the default privileges cover them and all later ones of the role
// that runs the migrations.
func queueRole(p *db.Pipeline, t registry.Tenant) {
	schema, role := t.Schema.Quoted(), db.Quoted(t.Role)
	p.CreateRole(t.Role)
	p.Apart("comment on role " + role + " is " + db.Literal(db.RoleMark+t.ID))
	p.Apart("grant usage on schema " + schema + " to " + role)
	p.Apart("alter default privileges in schema " + schema + " grant select, insert, update, delete on tables to " + role)
	p.Apart("alter default privileges in schema " + schema + " grant usage, select, update on sequences to " + role)
}

// queueRoleTables adds the rights that default privileges would have given on what
// is in the schema already.
func queueRoleTables(p *db.Pipeline, t registry.Tenant) {
	schema, role := t.Schema.Quoted(), db.Quoted(t.Role)
	p.Apart("grant select, insert, update, delete on all tables in schema " + schema + " to " + role)
	p.Apart("grant usage, select, update on all sequences in schema " + schema + " to " + role)
}

// queueRoleLimits adds what the role of a tenant may not do: say at which version
// its schema is.
func queueRoleLimits(p *db.Pipeline, t registry.Tenant) {
	p.Apart("revoke insert, update, delete on " + t.Schema.Quoted() + ".goose_db_version from " + db.Quoted(t.Role))
}

// Roles makes the roles of tenants whose schema is made elsewhere, as Create makes
// those of its own: for a restore and a clone.
type Roles struct{}

// Queue adds the statements that make the role of a schema for the tenant with the
// given id, before those that make the schema's tables. The role must not exist.
func (Roles) Queue(p *db.Pipeline, id string, schema db.Schema, role string) {
	queueRole(p, registry.Tenant{ID: id, Schema: schema, Role: role})
}

// QueueLimits adds what the role may not do, when the tables are there. The role of
// a tenant that is not active does not get into the schema.
func (Roles) QueueLimits(p *db.Pipeline, schema db.Schema, role string, active bool) {
	t := registry.Tenant{Schema: schema, Role: role}
	queueRoleLimits(p, t)
	if !active {
		queueAccess(p, t, false)
	}
}

// QueueTables adds the rights on tables that another role than the one that runs the
// migrations has made, which default privileges do not cover.
func (Roles) QueueTables(p *db.Pipeline, schema db.Schema, role string) {
	queueRoleTables(p, registry.Tenant{Schema: schema, Role: role})
}

// Explain returns a *RoleExistsError, or an error that wraps ErrRoleRight, where the
// server has refused the role for that reason, and otherwise err.
func (Roles) Explain(err error, role string) error { return roleError(err, role) }

// queueAccess adds the statement that lets the tenant's role into its schema, or
// shuts it out. Without usage on the schema none of its tables can be named, in
// sessions that are open too, so the privileges on these stay.
func queueAccess(p *db.Pipeline, t registry.Tenant, open bool) {
	if open {
		p.Apart("grant usage on schema " + t.Schema.Quoted() + " to " + db.Quoted(t.Role))
		return
	}
	p.Apart("revoke usage on schema " + t.Schema.Quoted() + " from " + db.Quoted(t.Role))
}

// roleThere reports whether both the tenant's role and its schema exist: to shut a
// tenant must not fail because somebody dropped one by hand.
func roleThere(ctx context.Context, q db.Querier, t registry.Tenant) (bool, error) {
	if t.Role == "" {
		return false, nil
	}
	var there bool
	err := q.QueryRow(ctx, `select exists (select from pg_catalog.pg_roles where rolname = $1)
		and exists (select from pg_catalog.pg_namespace where nspname = $2)`, t.Role, t.Schema.String()).Scan(&there)
	if err != nil {
		return false, fmt.Errorf("look for the role of tenant %q: %w", t.Slug, err)
	}
	return there, nil
}

// roleUses returns what a role has to do with, beyond the schema that was dropped:
// the other databases, and objects and grants in this one.
type roleUses struct {
	exists    bool
	databases []string // other databases, and "the cluster" for shared objects
	owned     []string // objects in this database that the role owns
	granted   bool     // rights on objects in this database
}

func usesOfRole(ctx context.Context, q db.Querier, role string) (roleUses, error) {
	var u roleUses
	err := q.QueryRow(ctx, `
		with uses as (
			select d.dbid, d.deptype, d.classid, d.objid, d.objsubid, here.oid as here
			from pg_catalog.pg_shdepend d
			join pg_catalog.pg_roles r on r.oid = d.refobjid and r.rolname = $1
			join pg_catalog.pg_database here on here.datname = pg_catalog.current_database()
			where d.refclassid = 'pg_catalog.pg_authid'::regclass
		)
		select exists (select from pg_catalog.pg_roles where rolname = $1),
			coalesce((select array_agg(distinct coalesce(o.datname, 'the cluster')) from uses
				left join pg_catalog.pg_database o on o.oid = dbid where dbid <> here), '{}')::text[],
			coalesce((select array_agg(pg_catalog.pg_describe_object(classid, objid, objsubid)) from
				(select * from uses where dbid = here and deptype = 'o' limit 5) o), '{}')::text[],
			exists (select from uses where dbid = here and deptype <> 'o')`, role).
		Scan(&u.exists, &u.databases, &u.owned, &u.granted)
	if err != nil {
		return u, fmt.Errorf("look for what role %q is used for: %w", role, err)
	}
	return u, nil
}

// dropRoleOf drops the role that was made for a tenant whose schema is gone, and no
// other. kept is why it stays, "" where there is none left.
func dropRoleOf(ctx context.Context, q db.Querier, t registry.Tenant, reg registry.Registry) (kept string, err error) {
	switch {
	case t.ForeignRole != "":
		return fmt.Sprintf("role %q stays: it was not made for this tenant", t.ForeignRole), nil
	case t.Role == "":
		return "", nil
	case t.RoleUnmarked:
		// Releases that did not mark roles wrote into the audit which they made.
		made, err := reg.MadeRole(ctx, q, t.ID, t.Role)
		if err != nil {
			return "", err
		}
		if !made {
			return fmt.Sprintf("role %q stays: nothing tells that it was made for this tenant", t.Role), nil
		}
	}
	return dropRole(ctx, q, t.Role)
}

// dropRole drops the role of a tenant whose schema is gone, within the caller's
// transaction. Where the role owns something, or another database uses it, or
// this session may not drop it, it stays and the reason is returned: that is no
// cause to keep the tenant.
func dropRole(ctx context.Context, q db.Querier, role string) (kept string, err error) {
	uses, err := usesOfRole(ctx, q, role)
	switch {
	case err != nil:
		return "", err
	case !uses.exists:
		return "", nil
	case len(uses.databases) > 0:
		return fmt.Sprintf("role %q stays: it is used in %s", role, strings.Join(uses.databases, ", ")), nil
	case len(uses.owned) > 0:
		return fmt.Sprintf("role %q stays: it owns %s", role, strings.Join(uses.owned, ", ")), nil
	}
	var p db.Pipeline
	p.Exec("savepoint role")
	if uses.granted {
		p.Apart("drop owned by " + db.Quoted(role)) // it owns nothing: takes away its rights
	}
	p.Apart("drop role " + db.Quoted(role))
	p.Exec("release savepoint role")
	err = p.Run(ctx, q)
	switch db.SQLState(err) {
	case db.CodeInsufficientPrivilege, codeDependentObjects:
		if _, err := q.Exec(ctx, "rollback to savepoint role"); err != nil {
			return "", err
		}
		return fmt.Sprintf("role %q stays: %s", role, serverText(err)), nil
	}
	return "", err
}

const codeDependentObjects = "2BP01"

// serverText returns what the server said, without its code and our wrapping.
func serverText(err error) string {
	if pgErr, ok := pgError(err); ok {
		if pgErr.Detail != "" {
			return pgErr.Message + " (" + strings.ReplaceAll(pgErr.Detail, "\n", "; ") + ")"
		}
		return pgErr.Message
	}
	return err.Error()
}

// queueRoleRename adds the statements that give the role of a tenant another name.
func queueRoleRename(ctx context.Context, q db.Querier, p *db.Pipeline, role, name string) error {
	uses, err := usesOfRole(ctx, q, role)
	switch {
	case err != nil:
		return err
	case !uses.exists:
		return fmt.Errorf("role %q is gone", role)
	case len(uses.databases) > 0:
		return fmt.Errorf("role %q cannot be renamed: it is used in %s", role, strings.Join(uses.databases, ", "))
	}
	p.Exec("alter role " + db.Quoted(role) + " rename to " + db.Quoted(name))
	return nil
}

// roleError explains what the server refused about a role.
func roleError(err error, role string) error {
	pgErr, ok := pgError(err)
	if !ok || role == "" {
		return err
	}
	switch {
	case pgErr.Code == db.CodeDuplicateObject,
		pgErr.Code == db.CodeUniqueViolation && strings.HasPrefix(pgErr.ConstraintName, "pg_authid"):
		return &RoleExistsError{Role: role}
	// The text is translated; the name of the server's function (AlterRole, GrantRole,
	// check_can_set_role) is not.
	case pgErr.Code == db.CodeInsufficientPrivilege && strings.Contains(strings.ToLower(pgErr.Routine), "role"):
		return errors.Join(ErrRoleRight, err)
	}
	return err
}

// ErrRoleRight says that the session may not make, rename or drop roles.
var ErrRoleRight = errors.New("the tenant's role needs a session that may create roles")
