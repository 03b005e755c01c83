package main

import (
	"fmt"
	"strings"

	"github.com/crmctl/crmctl/internal/cli"
)

// onGitHub tells whether a GitHub workflow runs the command. Its log knows
// commands of its own: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
func (c *console) onGitHub() bool { return c.io.Getenv("GITHUB_ACTIONS") == "true" }

// group folds the lines until the returned function is called, where GitHub
// shows them; elsewhere it prints nothing.
func (c *console) group(title string) (end func()) {
	if !c.onGitHub() {
		return func() {}
	}
	fmt.Fprintln(c.io.Err, "::group::"+escapeAnnotation(title))
	return func() { fmt.Fprintln(c.io.Err, "::endgroup::") }
}

// escapeAnnotation keeps a text on one line: it could start a command of its
// own otherwise.
func escapeAnnotation(s string) string {
	return cli.Visible(strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s))
}
