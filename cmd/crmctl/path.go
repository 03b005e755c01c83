package main

import (
	"errors"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/migrate"
)

// explainPath says what to do about a name, or a schema, on the search_path.
func explainPath(err error) []cli.Hint {
	if found, ok := errors.AsType[*migrate.SharedSchemaError](err); ok {
		return []cli.Hint{{Label: "take it out of",
			Command: "shared_schemas (crmctl config show --origin), or make it: create schema " +
				cli.Visible(pgx.Identifier{found.Schema}.Sanitize())}}
	}
	if found, ok := errors.AsType[*migrate.ReachError](err); ok {
		return []cli.Hint{{Label: "what all tenants share is made", Command: "once, outside of the tenants' migrations: in " +
			cli.Visible(found.Schema)}}
	}
	if found, ok := errors.AsType[*migrate.ElsewhereError](err); ok && found.Extension == "" {
		return []cli.Hint{{Label: "or put it on the path of every tenant", Command: "CRMCTL_SHARED_SCHEMAS=" +
			cli.Visible(found.Schema) + " (crmctl help configuration)"}}
	}
	return nil
}
