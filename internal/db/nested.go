package db

import (
	"strings"

	"github.com/jackc/pgx/v5"
)

// NestedBlock runs a script of several statements as one. Its text is the same for all
// scripts, which are one entry in pg_stat_statements: what it runs stands in a setting.
const NestedBlock = `do $crmctl$ begin execute pg_catalog.current_setting('crmctl.script'); end $crmctl$`

// Nested adds a script that runs inside of a block, within a transaction. The server reads
// it once, where single statements cost it a message and a plan each; an error tells of the
// whole block. read gets its error; nil takes that as it is.
func (p *Pipeline) Nested(read func(pgx.Rows) error, script string) {
	p.Exec(setScript, script)
	p.Query(read, NestedBlock)
}

// Nestable adds the question whether a user's statements may run inside of a block. They may
// not where the session's role cannot run one; where the server's log or an event trigger is
// to tell of each statement that changes a schema, for these are shown the text of the block
// (current_query); and with Citus, which would make a table on one node only.
func (p *Pipeline) Nestable(ok *bool) {
	p.QueryRow([]any{ok}, `select pg_catalog.current_setting('log_statement') operator(pg_catalog.=)
			any (array['none', 'all']::pg_catalog.text[])
		and exists (select from pg_catalog.pg_language l where l.lanname operator(pg_catalog.=) 'plpgsql'
			and pg_catalog.has_language_privilege(l.oid, 'usage'))
		and not exists (select from pg_catalog.pg_event_trigger g where g.evtenabled operator(pg_catalog.<>) 'D'
			and g.evtevent operator(pg_catalog.<>) 'login')
		and not exists (select from pg_catalog.pg_extension e where e.extname operator(pg_catalog.=) 'citus')`)
}

// NestedText returns a script as Nested takes it.
func NestedText(script []Statement) string {
	var text strings.Builder
	for i, s := range script {
		if i > 0 {
			text.WriteString("\n;\n") // a statement may end with a comment
		}
		text.WriteString(s.SQL)
	}
	return text.String()
}
