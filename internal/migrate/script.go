package migrate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/sqltext"
)

// Script cuts a text into its statements, for work in tenants' transactions that is
// no migration. It refuses what a migration may not hold either: statements that
// would end the transaction, leave the tenant's schema or change the session for the
// tenants after it, and COPY to or from the client. file is "" for a text that
// stands in none.
func Script(file, text string) ([]db.Statement, error) {
	var out []db.Statement
	for _, c := range sqltext.Split(text) {
		needs := sqltext.Judge(c.Text, true)
		s := db.Statement{SQL: c.Text, File: file, Line: 1 + strings.Count(text[:c.Offset], "\n"), Traces: needs.Session}
		if err := checkScript(c.Text); err != nil {
			return nil, &db.StatementError{Statement: s, Err: err}
		}
		if needs.Setting != "" {
			s.SQL = sqltext.LocalSetting(s.SQL)
		}
		out = append(out, s)
	}
	return out, nil
}

func checkScript(sql string) error {
	first := sqltext.Leading(sql, 2)
	if first[0] == "copy" && len(sqltext.Follow(sql, "from", "stdin"))+len(sqltext.Follow(sql, "to", "stdout")) > 0 {
		return fmt.Errorf("COPY to or from the client is not possible here")
	}
	refusal := sqltext.Judge(sql, true).Refusal
	if refusal == nil || !slices.Contains(scriptRules, refusal.Rule) ||
		slices.Contains([]string{"select", "with", "values"}, first[0]) {
		return nil // what a function sets is looked for when the script has run
	}
	name := strings.ToUpper(first[0])
	if first[0] == "set" {
		name += " " + strings.ToUpper(first[1])
	}
	return fmt.Errorf("%s is not possible here: a tenant's statements are one transaction, in its schema, on a session "+
		"that serves other tenants too", name)
}

// scriptRules are what a script may not break: unlike a migration it may reach other
// schemas.
var scriptRules = []sqltext.Rule{
	sqltext.RuleTransaction, sqltext.RuleSearchPath, sqltext.RuleSession, sqltext.RuleCopy,
}
