package main

import (
	"errors"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/tenant"
)

// explain returns the next step for errors that come from the database,
// whichever command met them.
func (f *factory) explain(err error) []hint {
	switch {
	case errors.Is(err, db.ErrUnreachable):
		return []hint{f.explainUnreachable()}
	case errors.Is(err, tenant.ErrNoRegistry), errors.Is(err, tenant.ErrOldRegistry), errors.Is(err, migrate.ErrOldRegistry):
		return []hint{{"make it", "crmctl migrate public"}}
	}
	if errors.Is(err, tenant.ErrRoleRight) {
		return []hint{{"as a superuser", "alter role ROLE createrole; or add --role=false"}}
	}
	switch db.SQLState(err) {
	case db.CodeInsufficientPrivilege:
		return []hint{{"the role lacks a right; as its owner", "grant create on database DATABASE to ROLE"}}
	case db.CodeReadOnlyTransaction:
		return []hint{{"this is a read-only replica", "point DATABASE_URL at the primary"}}
	case "28P01", "28000":
		return []hint{{"set the password by", "PGPASSWORD, ~/.pgpass or DATABASE_URL"}}
	case "3D000":
		return []hint{{"create it", "createdb NAME"}}
	}
	return nil
}

// explainUnreachable knows the private PostgreSQL, which is most often just not
// running.
func (f *factory) explainUnreachable() hint {
	if cfg, err := f.config(); err == nil && cfg.DatabaseFromProfile() {
		switch name, named := strings.CutPrefix(cfg.Profile, "local-"); {
		case cfg.Profile == localProfile(""):
			return hint{"start it", "crmctl local start"}
		case named:
			return hint{"start it", "crmctl local start --name " + name}
		}
	}
	return hint{"where the address comes from", "crmctl config show --origin"}
}
