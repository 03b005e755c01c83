package cli

import (
	"strings"
	"unicode"
)

// Wrap breaks a text at blanks into lines of at most width bytes.
func Wrap(text string, width int) []string {
	var lines []string
	line := ""
	for word := range strings.FieldsSeq(text) {
		if line != "" && len(line)+1+len(word) > width {
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

// needsQuotes tells whether a shell may take a character for something else.
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
