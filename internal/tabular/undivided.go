package tabular

import (
	"fmt"
	"strings"
	"unicode"
)

// undivided returns the error for a file whose rows have one column that holds
// whole lines: divided by a character that is not among the usual ones, or by
// columns of fixed width.
func undivided(rows []sampleRow, known func(string) bool) error {
	columns, _ := usualColumns(rows)
	if columns != 1 || len(rows) < 2 {
		return nil
	}
	var lines []string
	for _, r := range rows {
		if !r.blank && !r.broken && len(r.fields) == 1 {
			lines = append(lines, r.fields[0])
		}
	}
	if len(lines) < 2 || known != nil && known(headerName(lines[0])) {
		return nil
	}
	if c := consistent(lines); c != "" {
		return &Error{
			Reason: fmt.Sprintf("the rows have one column, but each holds %q as often as the header: it may be the "+
				"delimiter", c),
			Ask: AskDelimiter, Choices: []Choice{{Name: c, Sample: "if it is the delimiter"}},
		}
	}
	if fixedWidth(lines) {
		return &Error{
			Reason: "the columns seem to be of fixed width, with blanks between them, and no delimiter divides them",
			Hint:   "export the file as CSV", Ask: AskDelimiter,
		}
	}
	return nil
}

// consistent returns a mark that every line holds equally often, or "".
func consistent(lines []string) string {
	best, most := "", 0
	for _, c := range lines[0] {
		if unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune(" \"'-_.@()\u00A0", c) {
			continue
		}
		n := strings.Count(lines[0], string(c))
		if n <= most {
			continue
		}
		agree := 0
		for _, line := range lines[1:] {
			if strings.Count(line, string(c)) == n {
				agree++
			}
		}
		if agree*10 >= (len(lines)-1)*8 && agree > 0 {
			best, most = string(c), n
		}
	}
	return best
}

// fixedWidth reports whether the lines have blanks in the same places, two or more
// wide in the header.
func fixedWidth(lines []string) bool {
	width := 0
	for _, line := range lines {
		width = max(width, len(line))
	}
	gaps := 0
	for at := 1; at+1 < width && at+1 < len(lines[0]); at++ {
		// A column begins where the header has a letter after two blanks.
		if lines[0][at] == ' ' || lines[0][at-1] != ' ' || at < 2 || lines[0][at-2] != ' ' {
			continue
		}
		agree := 0
		for _, line := range lines[1:] {
			if len(line) <= at || line[at-1] == ' ' {
				agree++
			}
		}
		if agree*10 >= (len(lines)-1)*9 {
			gaps++
		}
	}
	return gaps > 0
}
