package cli

import (
	"strings"
	"unicode"

	"github.com/olekukonko/tablewriter/pkg/twwidth"
)

// Wrap breaks a text at blanks into lines of at most width columns; a longer word has
// one to itself.
func Wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && twwidth.Width(line)+1+twwidth.Width(word) > width {
			lines = append(lines, line)
			line = ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}

// Plural returns "1 tenant" or "3 tenants".
func Plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return HumanCount(int64(n)) + " " + noun + "s"
}

// ShellWords returns words as a shell reads them back.
func ShellWords(a []string) string {
	words := make([]string, len(a))
	for i, w := range a {
		words[i] = w
		if w == "" || strings.ContainsFunc(w, needsQuotes) {
			words[i] = "'" + strings.ReplaceAll(w, "'", `'\''`) + "'"
		}
	}
	return strings.Join(words, " ")
}

// needsQuotes reports whether a shell may take a character for something else.
func needsQuotes(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r > unicode.MaxASCII && unicode.IsPrint(r):
		return false
	}
	return !strings.ContainsRune("_-./:,=@%+", r)
}

// Reflow breaks the paragraphs of a text at a width. What is indented stays as it is.
func Reflow(text string, width int) string {
	var out, paragraph []string
	flush := func() {
		if len(paragraph) > 0 {
			out = append(out, Wrap(strings.Join(paragraph, " "), width)...)
		}
		paragraph = nil
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line == "" || strings.HasPrefix(line, " ") || strings.HasPrefix(line, "\t") {
			flush()
			out = append(out, line)
			continue
		}
		paragraph = append(paragraph, line)
	}
	flush()
	return strings.Join(out, "\n")
}

// Fold breaks lines that are wider than a terminal at blanks, and begins what follows
// with an indent. Unlike Wrap it leaves the blanks within a line alone.
func Fold(text string, width int, indent string) string {
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		for twwidth.Width(line) > width {
			at := foldAt(line, width, len(indent))
			if at < 0 {
				break
			}
			out = append(out, strings.TrimRight(line[:at], " "))
			line = indent + strings.TrimLeft(line[at:], " ")
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// foldAt returns the last blank after which a line is too wide, the first one where
// there is none before, -1 where there is none at all. Those of the indent do not count.
func foldAt(line string, width, indent int) int {
	at, used := -1, 0
	for i, r := range line {
		used += twwidth.Width(string(r))
		if r == ' ' && i > indent {
			if used > width+1 && at >= 0 {
				break
			}
			at = i
		}
		if used > width && at >= 0 {
			break
		}
	}
	if at < 0 || strings.TrimLeft(line[at:], " ") == "" {
		return -1
	}
	return at
}
