package source

import (
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/registry"
)

// suspendedWords are what applications write for a tenant that is shut for a while.
func suspendedWords() []string {
	return []string{"suspended", "inactive", "disabled", "paused", "blocked", "locked", "frozen", "archived"}
}

// goneWords are what applications write for a tenant that is no more.
func goneWords() []string { return []string{"gone", "deleted", "removed", "destroyed", "dropped"} }

// activeWords are those that nobody has to be told of.
func activeWords() []string {
	return []string{"", "active", "enabled", "live", "open", "ok", "trial", "trialing", "ready"}
}

// StatusOf returns what a word of the application's means. Every other word than the known
// ones is an active tenant: to migrate one that is shut does less harm than to leave out one
// that is not. known reports whether the word is one that is known.
func StatusOf(word *string) (status registry.Status, known bool) {
	if word == nil {
		return registry.Active, true
	}
	// As the server does it: the letters of ASCII, and blanks at the ends.
	plain := strings.Trim(strings.Map(func(r rune) rune {
		if r >= 'A' && r <= 'Z' {
			r += 'a' - 'A'
		}
		return r
	}, *word), " ")
	switch {
	case slices.Contains(goneWords(), plain):
		return registry.Gone, true
	case slices.Contains(suspendedWords(), plain):
		return registry.Suspended, true
	}
	return registry.Active, slices.Contains(activeWords(), plain)
}
