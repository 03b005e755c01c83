package migrate

import (
	"fmt"
	"slices"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/sqltext"
)

// judge fills in what a file asks of its transaction, its session and its database, and
// refuses what cannot be part of a tenant's migration. text is the whole file.
//
// What is about an extension is taken out of the scripts: it belongs to the database, for
// which EnsureExtensions makes it once, and it stays when a tenant goes back.
func (m *Migration) judge(text string) error {
	allows := sqltext.Allows(text)
	for _, script := range []*[]db.Statement{&m.Up, &m.Down} {
		own := make([]db.Statement, 0, len(*script))
		var set settings
		for _, s := range *script {
			needs := sqltext.Judge(s.SQL, m.Transactional)
			kept := needs.OfDatabase && script == &m.Down
			if r := needs.Refusal; r != nil && !kept && !(r.Rule == sqltext.RuleCatalogGuard &&
				lifted(allows, text, s, r.Rule)) {
				return fmt.Errorf("line %d: %w", s.Line, r)
			}
			m.Apart = m.Apart || needs.Apart || script == &m.Down && len(needs.Values) > 0
			m.Session = m.Session || needs.Session
			m.deferred = m.deferred || needs.Deferred
			m.writes = m.writes || needs.Writes
			m.leaves = m.leaves || needs.Leaves
			m.sets = m.sets || needs.Setting != ""
			if script == &m.Up {
				m.values = append(m.values, needs.Values...)
			}
			if needs.Extension.Name != "" && script == &m.Up {
				m.Extensions = append(m.Extensions, Extension{Extension: needs.Extension, At: s})
			}
			if !needs.OfDatabase {
				own = append(own, set.localize(s, needs))
			}
		}
		m.undone = m.undone || script == &m.Down && len(*script) > 0
		*script = set.within(own)
	}
	return nil
}

// lifted reports whether a comment lifts a rule for a statement.
func lifted(allows []sqltext.Allow, text string, s db.Statement, rule sqltext.Rule) bool {
	return slices.ContainsFunc(allows, func(a sqltext.Allow) bool { return a.Lifts(rule, text, s.Line) })
}

// spread passes on what a file makes for those after it: a check at the end of the
// transaction waits for the rows that later files change, and a routine that may leave
// something in the session may be called by each of them, through a trigger too.
func (p *Plan) spread() {
	p.spreadValues()
	deferred, leaves := false, false
	for _, m := range p.Migrations {
		deferred = deferred || m.deferred
		leaves = leaves || m.leaves
		if m.writes {
			m.Apart = m.Apart || deferred
			m.Session = m.Session || leaves
		}
		for _, script := range [][]db.Statement{m.Up, m.Down} {
			for i := range script {
				script[i].Traces = m.Session
			}
		}
	}
}
