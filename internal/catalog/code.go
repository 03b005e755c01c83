package catalog

import (
	"context"
	_ "embed"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

//go:embed code.sql
var codeSQL string

// harmless are the functions that are not immutable, and yet do no more than return a
// value of the session, a clock, a sequence or chance.
func harmless() []string {
	return []string{
		"age", "clock_timestamp", "concat", "concat_ws", "current_database", "current_schema", "current_setting", "currval",
		"date", "date_part", "date_trunc", "extract", "format", "gen_random_bytes", "gen_random_uuid",
		"jsonb_agg", "json_agg",
		"json_build_array", "json_build_object", "json_object_agg", "jsonb_build_array", "jsonb_build_object",
		"jsonb_object_agg",
		"json_populate_record", "jsonb_populate_record", "lastval", "nextval", "now", "overlaps", "pg_typeof",
		"quote_literal",
		"quote_nullable", "random", "row_to_json", "session_user", "statement_timestamp", "string_agg", "text",
		"time", "timeofday",
		"timestamp", "timestamptz", "timetz", "timezone", "to_char", "to_date", "to_json", "to_jsonb", "to_number",
		"to_timestamp",
		"to_tsquery", "to_tsvector", "phraseto_tsquery", "plainto_tsquery", "websearch_to_tsquery", "transaction_timestamp",
		"ts_headline",
		"uuid_generate_v1", "uuid_generate_v1mc", "uuid_generate_v4", "uuidv4", "uuidv7", "array_agg", "array_to_string",
		"generate_series",
		"array_out", "record_eq", "record_ne",
	}
}

// Code returns what in a schema is code that somebody else than the migrations wrote
// and that does more than compute a value: functions, triggers and rules, and
// expressions, views and policies that call such a function, or one of the system that
// reaches further, or that read a relation or use a type outside the schema. made is the schema as it
// was just read, trusted what the migrations make: an object with the same definition
// is not told. It looks at the parsed expressions in the catalog, not at their text, and
// runs within the caller's transaction.
func Code(ctx context.Context, conn *pgx.Conn, schema db.Schema, made, trusted *Shape) ([]string, error) {
	type definition struct {
		kind Kind
		text string
	}
	// Whether a trigger or a rule is switched off does not matter.
	of := func(o Object) definition {
		if o.Kind == KindTrigger || o.Kind == KindRule {
			return definition{o.Kind, detailOf[stateDetail](o).Definition}
		}
		return definition{o.Kind, o.Definition}
	}
	known := make(map[definition]bool, len(trusted.Objects))
	for _, o := range trusted.Objects {
		known[of(o)] = true
	}
	theirs := func(o Object) bool { return !known[of(o)] }
	var out []string
	for _, o := range made.Objects {
		code := slices.Contains(otherKinds, o.Kind)
		switch o.Kind {
		case KindFunction, KindProcedure, KindAggregate, KindTrigger, KindRule:
			code = true
		case KindType: // with functions of its own
			code = !strings.HasPrefix(o.Definition, "enum ") && !strings.HasPrefix(o.Definition, "composite ")
		}
		if code && theirs(o) {
			out = append(out, o.Subject())
		}
	}
	type use struct{ Kind, Parent, Name, Uses string }
	var uses []use
	err := aside(ctx, conn, func() error {
		var p db.Pipeline
		p.Exec("select pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true)")
		p.Query(func(rows pgx.Rows) (err error) {
			uses, err = pgx.CollectRows(rows, pgx.RowToStructByName[use])
			return err
		}, codeSQL, schema.String(), harmless())
		return p.Run(ctx, conn)
	})
	if err != nil {
		return nil, fmt.Errorf("look for code in %s: %w", schema, err)
	}
	for _, u := range uses {
		o, found := made.find(key{Kind(u.Kind), u.Parent, u.Name})
		if !found || !theirs(o) {
			continue // what a partition has from its parent is told of the parent
		}
		if subject := o.Subject() + " (" + u.Uses + ")"; !slices.Contains(out, subject) {
			out = append(out, subject)
		}
	}
	return out, nil
}
