package db

import "github.com/jackc/pgx/v5"

// A statement that names a tenant's table is an entry of its own in pg_stat_statements for
// each tenant: on PostgreSQL 14 to 17 queries are told apart by the tables that they name,
// on all by the text of other statements. So the statement stands in a setting, and a block
// whose text is the same for all tenants runs it. Where the server runs no blocks it is sent
// as it is.

// Apart adds a statement of ours on a tenant's table, within a transaction. An error has the
// statement, not the block.
func (p *Pipeline) Apart(sql string) {
	p.add(step{statement: Statement{SQL: setScript}, block: true}, []any{sql})
	p.add(step{statement: Statement{SQL: sql}, block: true, sent: NestedBlock, inside: sql}, nil)
	p.add(step{statement: Statement{SQL: sql}, spelled: true}, nil)
}

// setScript sets what NestedBlock runs.
const setScript = `select pg_catalog.set_config('crmctl.script', $1::pg_catalog.text, true)`

// inBlock returns a block that runs a statement, whose text is the same for all tenants.
func inBlock(sql string) string {
	return "do " + Literal("begin execute "+Literal(sql)+"; end")
}

// askBlock opens a cursor for a question.
const askBlock = `do $crmctl$ declare answer refcursor := 'crmctl_answer'; begin
	open answer no scroll for execute pg_catalog.current_setting('crmctl.question')
		using pg_catalog.current_setting('crmctl.first')::pg_catalog.text[],
			pg_catalog.current_setting('crmctl.second')::pg_catalog.text[]; end $crmctl$`

// changeBlock runs a statement, and keeps in a setting of how many rows that was.
const changeBlock = `do $crmctl$ declare n pg_catalog.int8; begin
	execute pg_catalog.current_setting('crmctl.question')
		using pg_catalog.current_setting('crmctl.first')::pg_catalog.text[],
			pg_catalog.current_setting('crmctl.second')::pg_catalog.text[];
	get diagnostics n = row_count;
	perform pg_catalog.set_config('crmctl.changed', n::pg_catalog.text, true); end $crmctl$`

// Change adds a statement of ours that changes rows of a tenant's table, within a transaction,
// and counts them. It has parameters as Ask.
func (p *Pipeline) Change(rows *int64, sql string, args ...[]string) {
	plain := p.question(sql, args)
	p.add(step{statement: Statement{SQL: sql}, block: true, sent: changeBlock, inside: sql}, nil)
	p.add(step{statement: Statement{SQL: "select pg_catalog.current_setting('crmctl.changed')::pg_catalog.int8"},
		block: true, read: func(found pgx.Rows) (err error) {
			*rows, err = pgx.CollectExactlyOneRow(found, pgx.RowTo[int64])
			return err
		}}, nil)
	p.add(step{statement: Statement{SQL: sql}, spelled: true, read: func(done pgx.Rows) error {
		done.Close()
		*rows = done.CommandTag().RowsAffected()
		return done.Err()
	}}, plain)
}

// Ask adds a query of ours on a tenant's table, within a transaction. It has up to two
// parameters, $1 and $2, and read is as for Query.
func (p *Pipeline) Ask(read func(pgx.Rows) error, sql string, args ...[]string) {
	plain := p.question(sql, args)
	p.add(step{statement: Statement{SQL: sql}, block: true, sent: askBlock, inside: sql}, nil)
	p.add(step{statement: Statement{SQL: "fetch all from crmctl_answer"}, block: true, read: read}, nil)
	p.add(step{statement: Statement{SQL: "close crmctl_answer"}, block: true}, nil)
	p.add(step{statement: Statement{SQL: sql}, spelled: true, read: read}, plain)
}

// question adds the settings of a block, and returns the parameters of the statement without.
func (p *Pipeline) question(sql string, args [][]string) (plain []any) {
	settings := []any{sql, []string{}, []string{}}
	for i, a := range args {
		settings[1+i] = append([]string{}, a...)
		plain = append(plain, settings[1+i])
	}
	p.add(step{statement: Statement{SQL: `select pg_catalog.set_config('crmctl.question', $1::pg_catalog.text, true),
		pg_catalog.set_config('crmctl.first', $2::pg_catalog.text[]::pg_catalog.text, true),
		pg_catalog.set_config('crmctl.second', $3::pg_catalog.text[]::pg_catalog.text, true)`}, block: true}, settings)
	return plain
}
