package migrate

import (
	"fmt"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/sqltext"
)

// settings keeps what a file sets with plain SET and RESET within the file: goose gives
// each file a transaction of its own, here files share one with each other and with what
// is ours. A pooler's session never sees them.
type settings struct{ names []string }

// localize returns a statement in the form that ends with the transaction, where needs
// says that it is about a setting.
func (s *settings) localize(statement db.Statement, needs sqltext.Needs) db.Statement {
	if needs.Setting == "" {
		return statement
	}
	if !slices.Contains(s.names, needs.Setting) {
		s.names = append(s.names, needs.Setting)
	}
	statement.SQL = sqltext.LocalSetting(statement.SQL)
	return statement
}

// within puts statements around a script that remember the settings and put them back.
func (s *settings) within(script []db.Statement) []db.Statement {
	if len(s.names) == 0 {
		return script
	}
	keep, restore := make([]string, len(s.names)), make([]string, len(s.names))
	for i, name := range s.names {
		kept := fmt.Sprintf("'crmctl.kept_%d'", i+1)
		keep[i] = fmt.Sprintf("pg_catalog.set_config(%s, pg_catalog.current_setting(%s, true), true)", kept, db.Literal(name))
		restore[i] = fmt.Sprintf("pg_catalog.set_config(%s, pg_catalog.current_setting(%s), true)", db.Literal(name), kept)
	}
	return slices.Concat(
		[]db.Statement{{SQL: "select " + strings.Join(keep, ", ") + ";"}},
		script,
		[]db.Statement{{SQL: "select " + strings.Join(restore, ", ") + ";"}},
	)
}
