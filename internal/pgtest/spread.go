package pgtest

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/wasilibs/go-pgquery/parser"
)

// A cluster that keeps each tenant on a node refuses some statements that PostgreSQL takes, or
// does otherwise, and most tests have no cluster. So the statements of ours that name a
// tenant's table are looked at for what was seen to differ there.

// tenantName finds the schemas of tenants.
var tenantName = regexp.MustCompile(`\b(tenant|crmctl_pool)_[a-z0-9_]+`)

// spreads returns a statement that names a tenant's schema with one name for all tenants.
func spreads(sql string) (string, bool) {
	if !tenantName.MatchString(sql) {
		return "", false
	}
	return tenantName.ReplaceAllString(sql, "tenant_x"), true
}

// notOnACluster are the places that send statements to PostgreSQL alone: what they do is
// refused on a cluster, in words.
func notOnACluster() []string {
	return []string{"internal/crm/merge.go", "internal/crm/importer/undo", "internal/crm/importer/keep.go",
		"internal/doctor/fix.go", // leaves the sequences of tenants on nodes alone
		"internal/migrate/apply", // asks for the path beside a subquery, which the coordinator answers
	}
}

// refusedOnACluster says what a cluster would refuse of a statement, "" for nothing.
func refusedOnACluster(sql string) string {
	parserMutex.Lock()
	answer, err := parser.ParseToJSON(sql)
	parserMutex.Unlock()
	if err != nil {
		return "" // offence tells
	}
	var result struct {
		Stmts []struct {
			Stmt any `json:"stmt"`
		} `json:"stmts"`
	}
	if err := json.Unmarshal([]byte(answer), &result); err != nil {
		return fmt.Sprintf("cannot be read (%v)", err)
	}
	if len(result.Stmts) > 1 {
		return "several statements in one message"
	}
	var out []string
	for _, one := range result.Stmts {
		out = append(out, refused(sql, one.Stmt)...)
	}
	return strings.Join(out, ", ")
}

// tablesBelow collects the tables named below a node, tenants' and others.
func tablesBelow(v any) (tenants, locals []string) {
	visit(v, "", func(_ string, fields map[string]any) {
		name, schema := text(fields, "relname"), text(fields, "schemaname")
		switch {
		case name == "" || schema == "" || schema == "pg_catalog" || schema == "information_schema":
		case strings.HasPrefix(schema, "tenant_"), schema == "pg_temp" && strings.HasPrefix(name, "crmctl_"):
			// Scratch tables stand in the tenant's schema there.
			tenants = append(tenants, name)
		default:
			locals = append(locals, schema+"."+name)
		}
	})
	return tenants, locals
}

// filter finds a filter of an export, which a cluster is sent as a literal.
var filter = regexp.MustCompile(`'crmctl\.export_`)

// refused returns what a cluster would refuse of one statement.
func refused(sql string, tree any) []string {
	tenants, locals := tablesBelow(tree)
	if len(tenants) == 0 {
		return nil
	}
	found := map[string]bool{}
	visit(tree, "", func(kind string, fields map[string]any) {
		switch kind {
		case "FuncCall":
			switch f := last(list(fields, "funcname")); f {
			case "current_schema", "current_schemas":
				found[f+"() beside a tenant's table, where it runs on the node"] = true
			case "current_setting":
				if filter.MatchString(sql) {
					break
				}
				found["current_setting() beside a tenant's table: what was set is unknown on the node"] = true
			case "setval":
				found["setval() of a tenant's sequence"] = true
			}
		case "SQLValueFunction":
			if text(fields, "op") == "SVFOP_CURRENT_SCHEMA" {
				found["current_schema beside a tenant's table, where it runs on the node"] = true
			}
		case "InsertStmt":
			visit(fields["returningList"], "", func(kind string, _ map[string]any) {
				if kind == "SubLink" {
					found["a subquery in what an INSERT returns"] = true
				}
			})
		case "onConflictClause", "OnConflictClause":
			visit(fields["targetList"], "", func(kind string, inner map[string]any) {
				// In statements about scratch tables the time is written down.
				if kind == "SQLValueFunction" || kind == "FuncCall" && last(list(inner, "funcname")) == "now" &&
					!strings.Contains(sql, "pg_temp.crmctl_") {
					found["a function that is not immutable in DO UPDATE"] = true
				}
			})
		case "SubLink":
			inside, outside := tablesBelow(fields)
			if len(locals) > 0 && (len(inside) > 0 || len(outside) > 0) && text(fields, "subLinkType") == "EXISTS_SUBLINK" {
				found["EXISTS with a tenant's table and "+locals[0]] = true
			}
		case "JoinExpr":
			if inside, outside := tablesBelow(fields); text(fields, "jointype") != "JOIN_INNER" && len(inside) > 0 &&
				len(outside) > 0 {
				found["an outer join of a tenant's table and "+outside[0]] = true
			}
		case "AlterSeqStmt":
			found["ALTER SEQUENCE of a tenant's"] = true
		case "MergeStmt":
			found["MERGE into a tenant's table"] = true
		}
	})
	return slices.Sorted(maps.Keys(found))
}

// refusals describes the statements that a cluster would refuse.
func (c *collector) refusals() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if os.Getenv(EnvCitus) != "" {
		return nil // it has seen to them itself
	}
	var out []string
	for _, sql := range slices.Sorted(maps.Keys(c.spread)) {
		by := c.spread[sql]
		if slices.ContainsFunc(notOnACluster(), func(place string) bool { return strings.HasPrefix(by, place) }) {
			continue
		}
		if what := refusedOnACluster(sql); what != "" {
			out = append(out, fmt.Sprintf("%s: a Citus cluster refuses it, or does otherwise: %s\n\t%s", by, what, sql))
		}
	}
	return out
}
