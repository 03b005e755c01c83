package db

import "github.com/jackc/pgx/v5"

// Become adds that what follows is done as a role, until Return or the end of the
// transaction; "" adds nothing. The session must be a member of the role.
func (p *Pipeline) Become(role string) {
	if role != "" {
		p.Exec(`select pg_catalog.set_config('role', $1, true)`, role)
	}
}

// CreateRole adds the making of a role that owns nothing and that nobody logs in as. The
// coordinator of a cluster works on the other nodes as the role, so there it may log in: it
// has no password, and whether a node lets it in is up to that.
func (p *Pipeline) CreateRole(name string) {
	p.Apart("create role " + Quoted(name) + " nologin")
	p.distributed("alter role " + Quoted(name) + " login")
}

// Return adds that what follows is done as the session's own role again, be it the one
// that a setting of the database or of the login names.
func (p *Pipeline) Return() { p.Exec("reset role") }

// StillIn adds a check that unqualified names are made in s. left is its error; unlike
// CheckSchema it fails on the server, so that nothing behind it in the pipeline runs.
func (p *Pipeline) StillIn(s Schema, left error) {
	p.Query(func(rows pgx.Rows) error {
		rows.Close()
		if SQLState(rows.Err()) == CodeDivisionByZero {
			return left
		}
		return rows.Err()
	}, `select 1 operator(pg_catalog./) (coalesce(pg_catalog.current_schema(), '')
		operator(pg_catalog.=) $1::pg_catalog.text)::pg_catalog.int4`, s.String())
}

// Block adds a statement of ours that errors name by what it does: its text is long, and says
// nothing to whoever reads them.
func (p *Pipeline) Block(does, sql string) {
	p.add(step{statement: Statement{SQL: does}, sent: sql}, nil)
}
