package main

import (
	"errors"

	"github.com/crmctl/crmctl/internal/db"
)

// explain returns the next step for errors that come from the database,
// whichever command met them.
func explain(err error) []hint {
	if errors.Is(err, db.ErrUnreachable) {
		return []hint{{"where the address comes from", "crmctl config show --origin"}}
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
