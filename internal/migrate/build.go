package migrate

import (
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/sqltext"
)

// Build returns the script that makes an empty schema one of this plan: the
// version table, every migration, and a version row each. It is one transaction
// unless a file needs one of its own: there the script is cut, as the route of a
// tenant is (see db.Cut). What a migration does outside transactions for the sake of
// other sessions (CREATE INDEX CONCURRENTLY) is done plainly, since nobody else works
// with the schema yet; what may commit for itself (CALL) runs outside of them. It fails
// with a *NoTransactionError where a file is about more than a schema.
func (p *Plan) Build() ([]db.Statement, error) {
	b := building{plan: p}
	b.add(tenantVersions.history("", nil)...)
	b.path(true)
	for i, m := range p.Migrations {
		if err := b.file(m, i > 0); err != nil {
			return nil, err
		}
		b.add(tenantVersions.row(m.Version))
	}
	return b.script, nil
}

// building is a script on its way.
type building struct {
	plan   *Plan
	script []db.Statement
	cut    db.Cut  // of the statement to come
	apart  bool    // the file before was a transaction of its own
	since  []int64 // the files of the transaction under way
}

func (b *building) add(statements ...db.Statement) {
	for _, s := range statements {
		s.Cut, b.cut = b.cut, db.SameTransaction
		b.script = append(b.script, s)
	}
}

// direct adds a statement that runs outside of transactions.
func (b *building) direct(s db.Statement) {
	s.Cut = db.Direct
	b.script = append(b.script, s)
}

// path puts the schemas of extensions on the path.
func (b *building) path(local bool) {
	switch {
	case b.plan.path.IsZero():
	case local:
		b.add(b.plan.path.Statement(true))
	default:
		b.direct(b.plan.path.Statement(false))
	}
}

// begin ends the transaction and begins another.
func (b *building) begin() {
	b.cut, b.since = db.NewTransaction, nil
	b.path(true)
}

func (b *building) file(m *Migration, after bool) error {
	way := inOne
	if !m.Transactional {
		var err error
		if way, err = m.way(); err != nil {
			return err
		}
	}
	apart := m.Apart || way != inOne
	uses := slices.ContainsFunc(b.since, func(version int64) bool { return slices.Contains(m.uses, version) })
	if after && (apart || b.apart || uses) && way != noTransaction {
		b.begin()
	}
	b.apart, b.since = apart, append(b.since, m.Version)
	switch {
	case m.Transactional:
		b.add(m.Up...)
	case way == noTransaction:
		b.path(false)
		for _, s := range m.Up {
			b.direct(s)
		}
		b.begin()
	case way == inOne:
		b.add(m.withinOne()...)
	default:
		for i, s := range m.plainly() {
			if i > 0 {
				b.begin()
			}
			b.add(s)
		}
	}
	return nil
}

// way is how a NO TRANSACTION file takes part in building a schema.
type way int

const (
	inOne         way = iota // in one transaction, since nobody else works with the schema
	oneByOne                 // a transaction for each statement
	noTransaction            // outside of transactions
)

// way tells how the file takes part.
func (m *Migration) way() (way, error) {
	commits := false
	for _, s := range m.Up {
		first := sqltext.Leading(s.SQL, 2)
		switch {
		case first[0] == "create" && (first[1] == "database" || first[1] == "tablespace"),
			first[0] == "alter" && first[1] == "system":
			return inOne, &NoTransactionError{Migration: m}
		case first[0] == "call":
			commits = true
		case first[0] == "do":
			body := strings.ToLower(s.SQL)
			commits = commits || strings.Contains(body, "commit") || strings.Contains(body, "rollback") ||
				strings.Contains(body, "call")
		}
	}
	switch {
	case commits, m.Apart && m.Session:
		return noTransaction, nil
	case m.Apart:
		return oneByOne, nil
	}
	return inOne, nil
}

// withinOne returns plainly with the file's settings ending with it.
func (m *Migration) withinOne() []db.Statement {
	var out []db.Statement
	var set settings
	for _, s := range m.plainly() {
		out = append(out, set.localize(s, sqltext.Judge(s.SQL, true)))
	}
	return set.within(out)
}

// plainly returns the statements of a NO TRANSACTION file in a form that a
// transaction takes, for a schema that nobody else works with.
func (m *Migration) plainly() []db.Statement {
	var out []db.Statement
	for _, s := range m.Up {
		if first := sqltext.Leading(s.SQL, 1)[0]; first == "vacuum" || first == "reindex" {
			continue // an empty schema has nothing to clean
		}
		s.SQL = withoutConcurrently(s.SQL)
		out = append(out, s)
	}
	return out
}
