package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/cli"
)

// documentFiles are the documents whose commands have to exist.
func documentFiles(t *testing.T) []string {
	t.Helper()
	files := []string{"../../README.md", "../../CHANGELOG.md", "../../CONTRIBUTING.md"}
	for _, pattern := range []string{"../../docs/*.md", "../../examples/*/*"} {
		more, err := filepath.Glob(pattern)
		if err != nil || len(more) == 0 {
			t.Fatalf("%s: %q, %v", pattern, more, err)
		}
		files = append(files, more...)
	}
	return files
}

// documentCommands returns the command lines of crmctl in a document: whole ones
// of its blocks, and those between `...` in its sentences, which may leave out
// arguments. What is not Markdown is one block.
func documentCommands(file, text string) (whole, inline []string) {
	var prose strings.Builder
	fenced, markdown := false, strings.HasSuffix(file, ".md")
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		switch {
		case markdown && strings.HasPrefix(line, "```"):
			fenced = !fenced
		case markdown && !fenced && !strings.HasPrefix(line, "    "):
			prose.WriteString(line)
		case commandWords(line) != nil:
			whole = append(whole, strings.TrimSpace(line))
		}
	}
	for i, span := range strings.Split(prose.String(), "`") {
		if span = strings.Join(strings.Fields(span), " "); i%2 == 1 && commandWords(span) != nil {
			inline = append(inline, span)
		}
	}
	return whole, inline
}

// startOfCommand finds the program at the beginning of a line of a shell, a crontab
// or a unit; in a sentence it is no command.
var startOfCommand = regexp.MustCompile(`^\s*(?:\$ |[-\d*]+ [-\d*]+ [*] [*] [*] |ExecStart=)?\s*(?:[A-Z_]+=\S+ +)*(?:/usr/local/bin/)?crmctl (.*)$`)

// commandWords returns the words behind crmctl in a line, as a shell splits them,
// up to a pipe, a redirection or a comment. It returns nil for other lines.
func commandWords(line string) []string {
	found := startOfCommand.FindStringSubmatch(strings.TrimSpace(line))
	if found == nil {
		return nil
	}
	words := []string{}
	var word strings.Builder
	started := false
	quote := rune(0)
	end := func() {
		if started {
			words = append(words, word.String())
		}
		word.Reset()
		started = false
	}
	for _, r := range found[1] {
		switch {
		case quote != 0 && r == quote:
			quote = 0
		case quote != 0:
			word.WriteRune(r)
		case r == '\'' || r == '"':
			quote, started = r, true
		case r == ' ':
			end()
		case strings.ContainsRune("|;>", r), r == '#' && !started:
			end()
			return words
		default:
			started = true
			word.WriteRune(r)
		}
	}
	end()
	return words
}

// checkCommandLine parses a command line without running it: the command, its flags
// and their values, and, where the line is whole, its arguments.
func checkCommandLine(root *cobra.Command, words []string, whole bool) error {
	if len(words) > 0 && words[0] == "help" {
		cmd := root
		for _, word := range words[1:] {
			if cmd = cli.FindChild(cmd, word); cmd == nil {
				return errors.New("no help on " + word)
			}
		}
		return nil
	}
	cmd, rest, err := root.Find(words)
	if err != nil {
		return err
	}
	if err := cmd.ParseFlags(rest); errors.Is(err, pflag.ErrHelp) {
		return nil
	} else if err != nil {
		return err
	}
	args := cmd.Flags().Args()
	if cmd.HasSubCommands() && len(args) > 0 {
		return errors.New("no command " + args[0])
	}
	if !whole || cmd.HasSubCommands() {
		return nil
	}
	return cmd.ValidateArgs(args)
}

// TestDocumentedCommandsExist: the documents and the examples of the help name only
// commands and flags that there are.
func TestDocumentedCommandsExist(t *testing.T) {
	t.Parallel()
	checked := 0
	check := func(where, line string, whole bool) {
		t.Helper()
		checked++
		if err := checkCommandLine(tree(t), commandWords(line), whole); err != nil {
			t.Errorf("%s: %s\n  %v", where, line, err)
		}
	}
	for _, file := range documentFiles(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		whole, inline := documentCommands(file, string(text))
		if strings.HasSuffix(file, "/README.md") && len(whole)+len(inline) == 0 {
			t.Errorf("%s: found no command", file)
		}
		for _, line := range whole {
			check(filepath.Base(file), line, true)
		}
		for _, line := range inline {
			check(filepath.Base(file), line, false)
		}
	}
	walk(tree(t), func(cmd *cobra.Command) {
		for line := range strings.Lines(cmd.Example) {
			if commandWords(line) == nil {
				continue // a pipe, or what sets something up
			}
			check(cmd.CommandPath()+" --help", strings.TrimSpace(line), true)
		}
	})
	if checked < 150 {
		t.Errorf("found %d command lines: the test does not see them", checked)
	}
}

// TestReadmeNamesEveryCommand: the table of the README leaves no command out.
func TestReadmeNamesEveryCommand(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "\n## The commands\n")
	rows := map[string]string{} // group -> its rows, "" for what has none
	group := ""
	name := regexp.MustCompile("`([a-z -]+)`")
	for line := range strings.Lines(table) {
		cells := strings.Split(line, "|")
		if len(cells) < 4 {
			if len(rows) > 0 {
				break
			}
			continue
		}
		if found := name.FindStringSubmatch(cells[1]); found != nil {
			group = found[1]
		}
		rows[group] += cells[2]
	}
	walk(tree(t), func(cmd *cobra.Command) {
		if !cmd.IsAvailableCommand() || cmd.HasSubCommands() || cmd.IsAdditionalHelpTopicCommand() ||
			strings.HasPrefix(cmd.Name(), "__") {
			return
		}
		words := strings.Fields(cmd.CommandPath())[1:]
		names := rows[strings.Join(words[:len(words)-1], " ")]
		if len(words) == 1 {
			for _, row := range rows {
				names += row
			}
		}
		if !strings.Contains(names, "`"+words[len(words)-1]+"`") {
			t.Errorf("the table of commands lacks %s", cmd.CommandPath())
		}
	})
}

// TestReadmeDemo: the README shows pieces of what the demo prints, none of which
// leaves a line out.
func TestReadmeDemo(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, sample, ok := strings.Cut(string(text), "Some of what `make demo` shows:\n\n```\n")
	sample, _, ended := strings.Cut(sample, "```")
	if !ok || !ended {
		t.Fatal("the README has no sample of the demo")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	home := t.TempDir()
	cmd := exec.CommandContext(ctx, "crmctl", "demo")
	cmd.Env = []string{"GORACE=" + noSleep, "PATH=" + os.Getenv("PATH"), "HOME=" + home, "TMPDIR=" + home, "LANG=C.UTF-8",
		"CRMCTL_PG_BIN=" + os.Getenv("CRMCTL_PG_BIN")}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s", err, &out)
	}
	printed := demoLines(out.String())
	for block := range strings.SplitSeq(sample, "\n\n") {
		want := demoLines(block)
		at := slices.Index(printed, want[0])
		if at < 0 {
			t.Fatalf("the demo does not print %q there:\n%s", want[0], &out)
		}
		printed = printed[at:]
		if len(printed) < len(want) || !slices.Equal(printed[:len(want)], want) {
			t.Fatalf("the demo prints\n%s\nthe README says\n%s", strings.Join(printed[:min(len(printed), len(want))], "\n"),
				strings.Join(want, "\n"))
		}
		printed = printed[len(want):]
	}
}

// demoLines returns the lines of a demo without numbers, and without those that the
// README leaves out: empty ones, the database, and the next step.
func demoLines(text string) []string {
	numbers := regexp.MustCompile(`\d[\d.,]*( (ms|s)\b)?`)
	var lines []string
	for line := range strings.Lines(text) {
		line = numbers.ReplaceAllString(strings.TrimRight(line, "\n"), "N")
		if strings.HasPrefix(line, "slowest ") { // other tenants each time
			line = "slowest"
		}
		if line != "" && !strings.HasPrefix(line, "target ") && !strings.HasPrefix(line, "next: ") {
			lines = append(lines, line)
		}
	}
	return lines
}
