package app

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
)

// ownerSample is how many tenants tell whom a new one belongs to.
const ownerSample = 50

// OwnerError says that new tenants cannot be given to the role that the configuration names.
type OwnerError struct {
	Role string
	Gone bool   // there is no such role
	Me   string // the session's role, which may not take it
}

// Error says why, and what would let it.
func (e *OwnerError) Error() string {
	if e.Gone {
		return fmt.Sprintf("tenants are to belong to role %q, which there is none of", e.Role)
	}
	return fmt.Sprintf("tenants are to belong to role %q, and role %q may not take it: grant %s to %s", e.Role, e.Me,
		db.Quoted(e.Role), db.Quoted(e.Me))
}

// ownRole reports whether all work is done as the session's role.
func (a *App) ownRole() bool { return a.Config.TenantOwner == config.NoOwner }

// newOwner returns the role that a new tenant belongs to, "" for the session's: the one
// that is configured, else the one that the tenants registered last all belong to.
func (a *App) newOwner(ctx context.Context, conn *pgx.Conn) (string, error) {
	switch role := a.Config.TenantOwner; role {
	case config.NoOwner:
		return "", nil
	case "":
	default:
		return configuredOwner(ctx, conn, role)
	}
	schemas, err := a.Registry.Recent(ctx, conn, ownerSample)
	if err != nil || len(schemas) == 0 {
		return "", nil //nolint:nilerr // who makes the tenant meets it too, and explains it
	}
	roles, err := owner.Read(ctx, conn, schemas)
	if err != nil {
		return "", err
	}
	first := roles.Of(schemas[0]).Work
	for _, s := range schemas {
		if roles.Of(s).Work != first {
			return "", nil
		}
	}
	return first, nil
}

// configuredOwner returns the role unless it is the session's own.
func configuredOwner(ctx context.Context, conn *pgx.Conn, role string) (string, error) {
	standing, err := owner.Stand(ctx, conn, role)
	switch {
	case err != nil:
		return "", err
	case standing.Me == role:
		return "", nil
	case !standing.Exists || !standing.Takes:
		return "", &OwnerError{Role: role, Gone: !standing.Exists, Me: standing.Me}
	}
	return role, nil
}

// ownerOf returns the role that the copy of a tenant belongs to.
func (a *App) ownerOf(ctx context.Context, conn *pgx.Conn, s db.Schema) (string, error) {
	if a.Config.TenantOwner != "" {
		return a.newOwner(ctx, conn)
	}
	roles, err := owner.Read(ctx, conn, []db.Schema{s})
	return roles.Of(s).Work, err
}

// entering returns what to do before a transaction looks whether it stands in a tenant's
// schema: it finds as which role the work there is done. nil where that is the session's
// everywhere.
func (a *App) entering(s db.Schema, role *string) func(*db.Pipeline) {
	if a.ownRole() {
		return nil
	}
	return owner.Entering(s, role)
}
