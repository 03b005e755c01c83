package migrate

import (
	"fmt"
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
// entry in pg_stat_statements: what it runs, a text for each tenant, stands in a setting.
// The texts leave search_path as they find it, for a block plans each of its expressions
// anew where that has changed.
const groupBlock = `do $crmctl$ declare script pg_catalog.text; begin
	foreach script in array pg_catalog.current_setting('crmctl.scripts')::pg_catalog.text[] loop
		execute script;
	end loop; end $crmctl$`

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
	texts := make([]string, len(tenants))
	for i, t := range tenants {
		if texts[i] = p.groupText(t, changes[i], o); len(texts[i]) > groupTextMost {
			return false
		}
	}
	run.Exec(`select pg_catalog.set_config('crmctl.scripts', $1::pg_catalog.text[]::pg_catalog.text, true)`, texts)
	run.Query(unexpected(db.CodeDivisionByZero), groupBlock)
	run.Exec("set local row_security = off")
	return true
}

// groupText returns what the block does for a tenant. It fails with division_by_zero where
// the tenant is not at the version that the registry has, and where the transaction does not
// stand in its schema before and after the migrations.
func (p *Plan) groupText(t registry.Tenant, c Change, o ApplyOptions) string {
	as := o.Owners.Of(t.Schema)
	var text strings.Builder
	add := func(parts ...string) {
		for _, part := range parts {
			text.WriteString(part)
		}
		text.WriteString("\n;\n") // a statement may end with a comment
	}
	add("set local search_path = ", db.Path{}.Behind(t.Schema))
	if as.Versions != "" {
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
	if as.Work != "" && as.Work != as.Versions {
		add("set local role ", db.Quoted(as.Work))
	}
	if !p.path.IsZero() {
		add("set local search_path = ", p.path.Behind(t.Schema))
	}
	for _, s := range c.Applied {
		for _, statement := range s.Script() {
			add(statement.SQL)
		}
	}
	add(fmt.Sprintf(`select 1 operator(pg_catalog./) coalesce(
		pg_catalog.current_schema() operator(pg_catalog.=) %s, false)::pg_catalog.int4`, db.Literal(t.Schema.String())))
	if as.Versions != "" || as.Work != "" {
		add("reset role")
	}
	add("set local search_path = ", db.OwnPath)
	return text.String()
}
