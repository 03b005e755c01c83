package staging

import (
	"slices"

	"github.com/crmctl/crmctl/internal/db"
)

// Stage is a part of a script: a transaction, or one statement outside of any.
type Stage struct {
	Script []db.Statement
	Direct bool
}

// Several reports whether a script is more than one transaction.
func Several(script []db.Statement) bool {
	return slices.ContainsFunc(script, func(s db.Statement) bool { return s.Cut != db.SameTransaction })
}

// Stages cuts a script. Statements outside of transactions that follow each other are
// one stage.
func Stages(script []db.Statement) []Stage {
	var out []Stage
	for _, s := range script {
		last := len(out) - 1
		direct := s.Cut == db.Direct
		if last < 0 || s.Cut == db.NewTransaction || out[last].Direct != direct {
			out = append(out, Stage{Direct: direct})
			last++
		}
		out[last].Script = append(out[last].Script, s)
	}
	return out
}
