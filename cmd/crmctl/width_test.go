package main

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
)

// tooWide returns the lines of a text that are wider than a terminal.
func tooWide(text string, width int) []string {
	var out []string
	for line := range strings.Lines(text) {
		if line = strings.TrimRight(line, "\n"); utf8.RuneCountInString(line) > width {
			out = append(out, line)
		}
	}
	return out
}

// Every help fits a terminal of 80 columns, and the first one a screen of 24 lines.
func TestHelpFits(t *testing.T) {
	t.Parallel()
	helpOf := func(args ...string) string {
		b := newBench(t)
		if code := b.run(append([]string{"help"}, args...)...); code != cli.ExitOK {
			t.Fatalf("help %v: exit code %d\n%s", args, code, b.err)
		}
		return b.out.String()
	}
	if lines := strings.Count(helpOf(), "\n"); lines > 24 {
		t.Errorf("crmctl --help has %d lines", lines)
	}
	var walk func(cmd *cobra.Command, path []string)
	walk = func(cmd *cobra.Command, path []string) {
		for _, line := range tooWide(helpOf(path...), 80) {
			t.Errorf("help %s: %d columns: %s", strings.Join(path, " "), utf8.RuneCountInString(line), line)
		}
		for _, sub := range cmd.Commands() {
			walk(sub, append(slices.Clip(path), sub.Name()))
		}
	}
	walk(newRootCmd(newBench(t).factory(t)), nil)
}
