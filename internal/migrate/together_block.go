package migrate

import (
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/owner"
	"github.com/crmctl/crmctl/internal/registry"
)

// All that a group does in its tenants' schemas is one DO block where that is possible. It
// costs the server a third less than the same statements one by one, half of which say
// where the next tenant is. What an error in it says of a statement is lost, but nobody
// reads it: the group falls apart.

// queueNested adds the question whether statements of migrations may run inside of a block:
// not where the server's log is to tell of each that changes a schema, for it tells of the
// block then, nor with Citus, which would make a table on one node only.
func queueNested(p *db.Pipeline, nested *bool) {
	p.QueryRow([]any{nested}, `select pg_catalog.current_setting('log_statement') operator(pg_catalog.=)
		any (array['none', 'all']::pg_catalog.text[])
		and not exists (select from pg_catalog.pg_extension e where e.extname operator(pg_catalog.=) 'citus')`)
}

// sameVersion reports whether tenants are all at one version.
func sameVersion(tenants []registry.Tenant) bool {
	for _, t := range tenants {
		if t.Version != tenants[0].Version {
			return false
		}
	}
	return true
}

// queueBlock adds what takes tenants of one version along a change. The transaction stands
// in no tenant's schema after it.
func (p *Plan) queueBlock(run *db.Pipeline, tenants []registry.Tenant, c Change, o ApplyOptions) {
	schemas, versions, work := make([]string, len(tenants)), make([]string, len(tenants)), make([]string, len(tenants))
	owned := false
	for i, t := range tenants {
		as := o.Owners.Of(t.Schema)
		schemas[i], versions[i], work[i] = t.Schema.String(), as.Versions, as.Work
		owned = owned || as != (owner.Role{})
	}
	if !owned {
		versions, work = []string{}, []string{}
	}
	steps, scripts := []int64{}, []string{}
	if !p.path.IsZero() {
		scripts = append(scripts, p.path.Statement(true).SQL)
	}
	for _, s := range c.Applied {
		steps = append(steps, s.Version)
		for _, statement := range s.Script() {
			scripts = append(scripts, statement.SQL)
		}
	}
	known := len(p.Migrations) - len(p.After(tenants[0].Version))
	run.Exec(`select pg_catalog.set_config('crmctl.schemas', $1::pg_catalog.text[]::pg_catalog.text, true),
		pg_catalog.set_config('crmctl.version_roles', $2::pg_catalog.text[]::pg_catalog.text, true),
		pg_catalog.set_config('crmctl.work_roles', $3::pg_catalog.text[]::pg_catalog.text, true),
		pg_catalog.set_config('crmctl.known', $4::pg_catalog.int8::pg_catalog.text, true),
		pg_catalog.set_config('crmctl.newest', $5::pg_catalog.int8::pg_catalog.text, true),
		pg_catalog.set_config('crmctl.steps', $6::pg_catalog.int8[]::pg_catalog.text, true),
		pg_catalog.set_config('crmctl.scripts', $7::pg_catalog.text[]::pg_catalog.text, true)`,
		schemas, versions, work, known, tenants[0].Version, steps, scripts)
	run.Query(unexpected(db.CodeDivisionByZero), groupBlock())
}

// groupBlock returns the block, whose text is the same for all groups of all runs: what it
// works on stands in settings. It fails with division_by_zero where a tenant is not at the
// version that the registry has, and where the transaction does not stand in its schema
// before and after the migrations.
func groupBlock() string {
	setting := func(name, of string) string {
		return `pg_catalog.current_setting('crmctl.` + name + `')::pg_catalog.` + of
	}
	const standing = ` if not coalesce(pg_catalog.current_schema()::pg_catalog.text operator(pg_catalog.=) home, false)
		then raise division_by_zero; end if; `
	return `do $crmctl$ declare homes pg_catalog.text[] := ` + setting("schemas", "text[]") + `;
		version_roles pg_catalog.text[] := ` + setting("version_roles", "text[]") + `;
		work_roles pg_catalog.text[] := ` + setting("work_roles", "text[]") + `;
		known pg_catalog.int8 := ` + setting("known", "int8") + `;
		newest pg_catalog.int8 := ` + setting("newest", "int8") + `;
		steps pg_catalog.int8[] := ` + setting("steps", "int8[]") + `;
		scripts pg_catalog.text[] := ` + setting("scripts", "text[]") + `;
		home pg_catalog.text; script pg_catalog.text; done pg_catalog.text; added pg_catalog.int8;
		begin for i in 1 .. pg_catalog.cardinality(homes) loop
			home := homes[i];
			done := pg_catalog.set_config('search_path', pg_catalog.concat(pg_catalog.quote_ident(home), ', pg_temp'), true);
			if version_roles[i] operator(pg_catalog.<>) '' then
				done := pg_catalog.set_config('role', version_roles[i], true);
			end if;` + standing +
		tenantVersions.run(`insert into TABLE (version_id, is_applied) select $1, true from TABLE
				where is_applied and version_id operator(pg_catalog.>) 0
				having pg_catalog.count(*) operator(pg_catalog.=) $2
					and coalesce(pg_catalog.max(version_id), 0) operator(pg_catalog.=) $3`, "using steps[1], known, newest") +
		`	get diagnostics added = row_count;
			if added operator(pg_catalog.<>) 1 then raise division_by_zero; end if;
			for j in 2 .. pg_catalog.cardinality(steps) loop ` +
		tenantVersions.run(`insert into TABLE (version_id, is_applied) values ($1, true)`, "using steps[j]") + `
			end loop;
			if work_roles[i] operator(pg_catalog.<>) '' then
				done := pg_catalog.set_config('role', work_roles[i], true);
			end if;
			foreach script in array scripts loop execute script; end loop;` + standing + `
			if pg_catalog.cardinality(work_roles) operator(pg_catalog.>) 0 then reset role; end if;
		end loop;
		done := pg_catalog.set_config('search_path', ` + db.Literal(db.OwnPath) + `, true);
		done := pg_catalog.set_config('row_security', 'off', true);
		end $crmctl$`
}
