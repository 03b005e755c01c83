package cli

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// Manual writes a page for each command and topic of the tool.
type Manual struct {
	Exits   []ExitText
	Source  string    // "crmctl 1.4.0"
	Section string    // of the man pages, "1"
	Date    time.Time // of the man pages
}

// WriteMan writes man pages into a directory, which is made if need be: crmctl.1,
// crmctl-tenant.1 and so on.
func (m *Manual) WriteMan(root *cobra.Command, dir string) (pages int, err error) {
	header := doc.GenManHeader{Section: m.Section, Source: m.Source, Manual: "User Commands", Date: &m.Date}
	return m.write(root, dir, func(cmd *cobra.Command) (string, []byte, error) {
		var b bytes.Buffer
		own := header
		err := doc.GenMan(cmd, &own, &b)
		if codes := m.exitsOf(cmd); len(codes) > 0 {
			b.WriteString(".SH EXIT STATUS\n")
			for _, t := range codes {
				fmt.Fprintf(&b, ".TP\n\\fB%d\\fP\n%s\n", t.Code, t.Text)
			}
		}
		return strings.ReplaceAll(cmd.CommandPath(), " ", "-") + "." + m.Section, b.Bytes(), err
	})
}

// WriteMarkdown writes pages in Markdown into a directory, which is made if need be:
// crmctl.md, crmctl_tenant.md and so on.
func (m *Manual) WriteMarkdown(root *cobra.Command, dir string) (pages int, err error) {
	return m.write(root, dir, func(cmd *cobra.Command) (string, []byte, error) {
		var b bytes.Buffer
		name := strings.ReplaceAll(cmd.CommandPath(), " ", "_") + ".md"
		if cmd.IsAdditionalHelpTopicCommand() {
			fmt.Fprintf(&b, "## %s help %s\n\n%s\n\n```\n%s\n```\n", cmd.Root().Name(), cmd.Name(), cmd.Short,
				strings.Trim(cmd.Long, "\n"))
			return name, b.Bytes(), nil
		}
		err := doc.GenMarkdownCustom(cmd, &b, func(link string) string { return link })
		text := b.String()
		if codes := m.exitsOf(cmd); len(codes) > 0 {
			var rows strings.Builder
			rows.WriteString("### Exit codes\n\n| code | meaning |\n|---|---|\n")
			for _, t := range codes {
				fmt.Fprintf(&rows, "| %d | %s |\n", t.Code, t.Text)
			}
			before, after, _ := strings.Cut(text, "### SEE ALSO")
			text = before + rows.String() + "\n### SEE ALSO" + after
		}
		return name, []byte(text), err
	})
}

// write writes the pages of a command and all below it.
func (m *Manual) write(cmd *cobra.Command, dir string, page func(*cobra.Command) (string, []byte,
	error)) (pages int, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // pages are for everybody
		return 0, err
	}
	cmd.InitDefaultHelpFlag()
	cmd.DisableAutoGenTag = true
	name, text, err := page(cmd)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", cmd.CommandPath(), err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), text, 0o644); err != nil { //nolint:gosec // as above
		return 0, err
	}
	pages = 1
	for _, sub := range cmd.Commands() {
		topic := sub.IsAdditionalHelpTopicCommand() && sub.Long != ""
		if !sub.IsAvailableCommand() && !topic || sub.Name() == "help" {
			continue
		}
		n, err := m.write(sub, dir, page)
		pages += n
		if err != nil {
			return pages, err
		}
	}
	return pages, nil
}

// exitsOf returns the exit codes that a command documents.
func (m *Manual) exitsOf(cmd *cobra.Command) []ExitText {
	codes := strings.Fields(cmd.Annotations[AnnotationExits])
	return slices.DeleteFunc(slices.Clone(m.Exits), func(t ExitText) bool {
		return !slices.Contains(codes, strconv.Itoa(t.Code))
	})
}
