package migrate

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
)

// pg_stat_statements tells queries apart by the tables that they name, so that a
// statement on the version table of each tenant would fill it with one entry a tenant (on
// PostgreSQL 14 to 17; later it goes by names). A DO block whose text is the same for all
// tenants is one entry. It costs the server what the statement inside costs. The schema
// stands in the setting crmctl.schema (db.Locals.Named).

// block returns a DO block with a body of PL/pgSQL, in which home is the tenant's schema.
func block(variables, body string) string {
	return `do $crmctl$ declare home pg_catalog.text := pg_catalog.current_setting('crmctl.schema'); ` + variables +
		` begin ` + body + ` end $crmctl$`
}

// run returns a statement that runs SQL on the version table, which is %I.goose_db_version
// in it, with what may follow EXECUTE.
func (v versionTable) run(sql, then string) string {
	return "execute pg_catalog.format(" + db.Literal(strings.ReplaceAll(sql, "TABLE", "%1$I."+string(v))) + ", home) " +
		then + "; "
}

// expectBlock fails with division_by_zero unless the transaction stands in the tenant's
// schema, and that has so many versions of which one is the newest. Then it adds others.
func (v versionTable) expectBlock(known int, newest int64, added []Step) string {
	versions := make([]string, len(added))
	for i, s := range added {
		versions[i] = strconv.FormatInt(s.Version, 10)
	}
	return block(`known pg_catalog.int8; newest pg_catalog.int8; added pg_catalog.int8;`,
		v.run(`select pg_catalog.count(*), coalesce(pg_catalog.max(version_id), 0) from TABLE
			where is_applied and version_id operator(pg_catalog.>) 0`, "into known, newest")+
			fmt.Sprintf(`if not coalesce(pg_catalog.current_schema()::pg_catalog.text operator(pg_catalog.=) home, false)
				or known operator(pg_catalog.<>) %d or newest operator(pg_catalog.<>) %d then
				raise division_by_zero; end if; `, known, newest)+
			`foreach added in array '{`+strings.Join(versions, ",")+`}'::pg_catalog.int8[] loop `+
			v.run(`insert into TABLE (version_id, is_applied) values ($1, true)`, "using added")+`end loop;`)
}

// stepBlock adds or removes the version row of a step.
func (v versionTable) stepBlock(s Step) string {
	sql := `insert into TABLE (version_id, is_applied) values ($1, true)`
	if s.Down {
		sql = `delete from TABLE where version_id operator(pg_catalog.=) $1`
	}
	return block("", v.run(sql, fmt.Sprintf("using %d::pg_catalog.int8", s.Version)))
}

// readBlock puts the applied versions into the setting crmctl.applied, as an array.
func (v versionTable) readBlock() string {
	return block("list pg_catalog.text;",
		v.run(`select pg_catalog.array_agg(version_id order by id)::pg_catalog.text from TABLE where is_applied`,
			"into list")+
			`perform pg_catalog.set_config('crmctl.applied', coalesce(list, '{}'), true);`)
}
