package migrate

import (
	"fmt"
	"strings"

	"github.com/crmctl/crmctl/internal/sqltext"
)

// checkStatement refuses a statement that would end the tenant's transaction,
// leave the tenant's schema, or change the session for the tenants after it.
func checkStatement(sql string) error {
	first := sqltext.Leading(sql, 3)
	switch first[0] {
	case "begin", "start", "commit", "end", "rollback", "abort", "prepare":
		if first[0] == "prepare" && first[1] != "transaction" || first[0] == "rollback" && first[1] == "to" {
			return nil
		}
		return fmt.Errorf("%s: a tenant's migrations are one transaction already; "+
			"use -- +goose NO TRANSACTION for what cannot run in one", strings.ToUpper(first[0]))
	case "discard", "reset":
		return fmt.Errorf("%s changes the session for the tenants after this one", strings.ToUpper(first[0]))
	case "set":
		return checkSet(first[1], first[2])
	case "copy":
		if len(sqltext.Follow(sql, "from", "stdin")) > 0 {
			return fmt.Errorf("COPY FROM stdin: its data cannot stand in a migration; use INSERT")
		}
	}
	return nil
}

func checkSet(second, third string) error {
	name := second
	if second == "local" {
		name = third
	}
	switch {
	case name == "search_path", name == "schema":
		return fmt.Errorf("SET %s: a migration runs in the tenant's schema and must stay there", strings.ToUpper(name))
	case name == "role", name == "session":
		return fmt.Errorf("SET %s: a migration runs as the role the run was started with", strings.ToUpper(name))
	case second == "local", second == "constraints", second == "transaction":
		return nil
	}
	return fmt.Errorf("SET %s changes the session for the tenants after this one; use SET LOCAL", name)
}
