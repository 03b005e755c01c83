package migrate

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/sqltext"
)

// judge fills in what a file asks of its transaction, its session and its database, and
// refuses what cannot be part of a tenant's migration. text is the whole file.
//
// What is about an extension is taken out of the scripts: it belongs to the database, for
// which EnsureExtensions makes it once, and it stays when a tenant goes back.
func (m *Migration) judge(text string) error {
	lines := strings.Split(text, "\n")
	for _, script := range []*[]db.Statement{&m.Up, &m.Down} {
		own := make([]db.Statement, 0, len(*script))
		for _, s := range *script {
			needs := sqltext.Judge(s.SQL, m.Transactional)
			kept := needs.OfDatabase && script == &m.Down
			if r := needs.Refusal; r != nil && !kept && !(r.Rule == sqltext.RuleCatalogGuard && allowed(lines, s, r.Rule)) {
				return fmt.Errorf("line %d: %w", s.Line, r)
			}
			m.Apart = m.Apart || needs.Apart
			m.Session = m.Session || needs.Session
			m.deferred = m.deferred || needs.Deferred
			m.writes = m.writes || needs.Writes
			m.leaves = m.leaves || needs.Leaves
			switch {
			case needs.Extension.Name != "" && script == &m.Up:
				m.Extensions = append(m.Extensions, Extension{Extension: needs.Extension, At: s})
			case !needs.OfDatabase:
				own = append(own, s)
			}
		}
		m.undone = m.undone || script == &m.Down && len(*script) > 0
		*script = own
	}
	return nil
}

// allowed reports whether a comment before a statement, or within it, lifts a rule:
// "-- crmctl:allow RULE reason".
func allowed(lines []string, s db.Statement, rule sqltext.Rule) bool {
	comment := regexp.MustCompile(`--\s*crmctl:allow\s+` + regexp.QuoteMeta(string(rule)) + `\s+\S`)
	if comment.MatchString(s.SQL) {
		return true
	}
	for n := s.Line - 2; n >= 0 && n < len(lines); n-- {
		line := strings.TrimSpace(lines[n])
		if line != "" && !strings.HasPrefix(line, "--") {
			return false
		}
		if comment.MatchString(line) {
			return true
		}
	}
	return false
}

// spread passes on what a file makes for those after it: a check at the end of the
// transaction waits for the rows that later files change, and a routine that may leave
// something in the session may be called by each of them, through a trigger too.
func (p *Plan) spread() {
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
