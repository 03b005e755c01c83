package cli

import (
	"fmt"
	"strings"
)

// OnGitHub reports whether a GitHub workflow runs the command. Its log knows
// commands of its own: https://docs.github.com/actions/reference/workflow-commands-for-github-actions
func (c *Console) OnGitHub() bool { return c.IO.Getenv("GITHUB_ACTIONS") == "true" }

// group folds the lines until the returned function is called, where GitHub
// shows them; elsewhere it prints nothing.
func (c *Console) group(title string) (end func()) {
	if !c.OnGitHub() {
		return func() {}
	}
	fmt.Fprintln(c.IO.Err, "::group::"+EscapeAnnotation(title))
	return func() { fmt.Fprintln(c.IO.Err, "::endgroup::") }
}

// EscapeAnnotation keeps a text on one line: it could start a command of its
// own otherwise.
func EscapeAnnotation(s string) string {
	return Visible(strings.NewReplacer("%", "%25", "\r", "%0D", "\n", "%0A").Replace(s))
}
