package migrate

import (
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/sqltext"
)

// spreadValues finds the files that may use what an earlier one adds to an enum: there
// the plan has to be cut. A file without a transaction that uses what it adds itself is
// one that no transaction takes as a whole.
func (p *Plan) spreadValues() {
	var r *valueReader
	for i, m := range p.Migrations {
		for _, v := range m.values {
			if r == nil {
				r = newValueReader(p)
			}
			types := r.types(v.Type)
			carried := r.any(func(u *sqltext.Usage) bool { return u.Carries(v.Label, types) })
			uses := func(u *sqltext.Usage) bool { return u.Uses(v.Label, types, carried) }
			for k := i + 1; k < len(p.Migrations); k++ {
				later := p.Migrations[k]
				if !slices.Contains(later.uses, m.Version) && slices.ContainsFunc(r.files[k], uses) {
					later.uses = append(later.uses, m.Version)
				}
			}
			if !m.Transactional && !m.Apart {
				m.Apart = slices.ContainsFunc(r.files[i][addedAt(m.Up, v)+1:], uses)
			}
		}
	}
}

// addedAt returns the index of the statement that adds a value.
func addedAt(script []db.Statement, v sqltext.Value) int {
	return slices.IndexFunc(script, func(s db.Statement) bool {
		return strings.Contains(s.SQL, v.Label) && slices.Contains(sqltext.Judge(s.SQL, true).Values, v)
	})
}

// valueReader has the statements of every file of a plan, read once.
type valueReader struct {
	files [][]*sqltext.Usage
}

func newValueReader(p *Plan) *valueReader {
	r := &valueReader{files: make([][]*sqltext.Usage, len(p.Migrations))}
	for i, m := range p.Migrations {
		for _, s := range m.Up {
			if s.File == "" {
				s.SQL = "" // our own
			}
			r.files[i] = append(r.files[i], sqltext.NewUsage(s.SQL))
		}
	}
	return r
}

func (r *valueReader) any(is func(*sqltext.Usage) bool) bool {
	return slices.ContainsFunc(r.files, func(file []*sqltext.Usage) bool { return slices.ContainsFunc(file, is) })
}

// types returns the names that an enum has in the plan, and those of the types that are
// made of it.
func (r *valueReader) types(name string) []string {
	out := []string{name}
	for grown := true; grown; {
		grown = false
		for _, file := range r.files {
			for _, u := range file {
				if alias := u.Alias(out); alias != "" && !slices.Contains(out, alias) {
					out, grown = append(out, alias), true
				}
			}
		}
	}
	return out
}
