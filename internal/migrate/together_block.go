package migrate

import (
	"strconv"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// All that a group does in its tenants' schemas is one DO block where that is possible. It
// costs the server a third less than the same statements one by one, half of which say
// where the next tenant is. What an error in it says of a statement is lost, but nobody
// reads it: the group falls apart.

// groupTextMost is how long the text for one tenant may be, in bytes. It is sent for each.
const groupTextMost = 1 << 16

// groupBlock is the block. Its text is the same for all groups of all runs, which are one
// entry in pg_stat_statements: what it runs stands in a setting.
const groupBlock = `do $crmctl$ begin execute pg_catalog.current_setting('crmctl.script'); end $crmctl$`

const (
	// groupBegin is the first statement that it runs. The server plans each index for
	// several processes otherwise, and finds the table too small.
	groupBegin = "set local max_parallel_maintenance_workers = 0"
	// groupEnd is the last: the transaction stands in no tenant's schema then.
	groupEnd = "set local search_path = " + db.OwnPath
)

// queueNested adds the question whether statements of migrations may run inside of a block:
// not where the server's log is to tell of each that changes a schema, for it tells of the
// block then, nor with Citus, which would make a table on one node only.
func queueNested(p *db.Pipeline, nested *bool) {
	p.QueryRow([]any{nested}, `select pg_catalog.current_setting('log_statement') operator(pg_catalog.=)
		any (array['none', 'all']::pg_catalog.text[])
		and not exists (select from pg_catalog.pg_extension e where e.extname operator(pg_catalog.=) 'citus')`)
}

// queueBlock adds the block that takes each of the tenants along its change, where it can be
// one. The transaction stands in no tenant's schema after it.
func (p *Plan) queueBlock(run *db.Pipeline, tenants []registry.Tenant, changes []Change, o ApplyOptions) bool {
	var script strings.Builder
	script.WriteString(groupBegin + ";\n")
	for i, t := range tenants {
		before := script.Len()
		p.addGroupText(&script, t, changes[i], o)
		if script.Len()-before > groupTextMost {
			return false
		}
	}
	script.WriteString(groupEnd)
	run.Exec(`select pg_catalog.set_config('crmctl.script', $1::pg_catalog.text, true)`, script.String())
	run.Query(unexpected(db.CodeDivisionByZero), groupBlock)
	run.Exec("set local row_security = off")
	return true
}

// addGroupText adds what the block does for a tenant. It fails with division_by_zero where
// the tenant is not at the version that the registry has, and where the transaction does not
// stand in its schema after the migrations: nothing is left of these then.
func (p *Plan) addGroupText(script *strings.Builder, t registry.Tenant, c Change, o ApplyOptions) {
	as := o.Owners.Of(t.Schema)
	add := func(parts ...string) {
		for _, part := range parts {
			script.WriteString(part)
		}
		script.WriteString("\n;\n") // a statement may end with a comment
	}
	add("set local search_path = ", p.path.Behind(t.Schema))
	if t.Tablespace != "" {
		add("set local default_tablespace = ", db.Literal(t.Tablespace))
	}
	if as.Work != "" {
		add("set local role ", db.Quoted(as.Work))
	}
	for _, s := range c.Applied {
		for _, statement := range s.Script() {
			add(statement.SQL)
		}
	}
	switch as.Versions {
	case as.Work:
	case "":
		add("reset role")
	default:
		add("set local role ", db.Quoted(as.Versions))
	}
	for i, s := range c.Applied {
		version := strconv.FormatInt(s.Version, 10)
		if i == 0 {
			add(tenantVersions.guarded(t.Schema, version, db.Literal(t.Schema.String()),
				strconv.Itoa(len(p.Migrations)-len(p.After(t.Version))), strconv.FormatInt(t.Version, 10)))
			continue
		}
		add("insert into ", tenantVersions.in(t.Schema), " (version_id, is_applied) values (", version, ", true)")
	}
	if as.Versions != "" {
		add("reset role")
	}
	if t.Tablespace != "" {
		add(usualTablespace)
	}
}
