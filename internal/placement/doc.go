// Package placement says which tenant lives in which database, out of what the registries of
// several say, and writes it for a router or an application.
//
// A tenant lives in one place at any time: one that was transferred counts where it went from
// the commit on that says so, and a copy on its way does not count. Two registries that
// both have it are an error, never a choice. It imports registry alone of this project's
// packages, connects to nothing, and knows no passwords.
package placement
