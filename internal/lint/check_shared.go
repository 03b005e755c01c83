package lint

import (
	"fmt"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/sqltext"
)

// sharedNames are what a tenant has at the statement under way, by name, for the question
// whether a name without a schema leads to a shared one.
type sharedNames struct {
	now  map[string]bool // made so far, and not dropped
	ever map[string]bool // made by any file
}

func newSharedNames(sources []*source) sharedNames {
	out := sharedNames{now: map[string]bool{"goose_db_version": true}, ever: map[string]bool{}}
	for _, src := range sources {
		for _, c := range sqltext.Split(src.file.Text) {
			for _, name := range sqltext.Touches(c.Text).Makes {
				out.ever[name] = true
			}
		}
	}
	return out
}

// sharedNames finds names that the tenant's schema does not have when the statement runs,
// so that they are looked for in the shared schemas.
func (c *checker) sharedNames(s *statement) {
	if len(c.opts.Shared) == 0 {
		return
	}
	touched := sqltext.Touches(s.sql)
	where := "a shared schema (" + strings.Join(c.opts.Shared, ", ") + ")"
	has := c.shared.now
	if s.down {
		has = c.shared.ever
	}
	for _, name := range touched.Changes {
		if !has[name] && !sqltext.IsNamedAfter(name, has) {
			c.on(s, s.tree, ruleSharedName, fmt.Sprintf("no file before this makes %s: it would be changed in %s",
				name, where), "")
		}
	}
	if s.down {
		return
	}
	s.tree.walk(func(n node) {
		name := n.text("relname")
		if n.kind != "RangeVar" && n.kind != "relation" && n.kind != "rel" && n.kind != "pktable" || name == "" ||
			n.text("schemaname") != "" {
			return
		}
		if !has[name] && c.shared.ever[name] && !slices.Contains(touched.Changes, name) &&
			!slices.Contains(touched.Makes, name) {
			c.on(s, n, ruleSharedName, fmt.Sprintf("the tenant does not have %s at this point: it is looked for in %s",
				name, where), "")
		}
	})
	for _, name := range touched.Drops {
		delete(has, name)
	}
	for _, name := range touched.Makes {
		has[name] = true
	}
}
