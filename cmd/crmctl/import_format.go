package main

import (
	"fmt"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/tabular"
)

// formatText returns "CSV, semicolon, windows-1252, header in row 3".
func formatText(f tabular.Format) string {
	text := ""
	switch f.Kind {
	case tabular.JSON:
		text = "JSON, " + f.Encoding
	case tabular.VCard:
		text = "vCard, " + f.Encoding
	case tabular.XLSX:
		text = fmt.Sprintf("XLSX, sheet %q, ", f.Sheet) + headerText(f)
	default:
		text = "CSV, " + delimiterText(f.Delimiter) + ", " + f.Encoding + ", " + headerText(f)
	}
	if f.Compression != "" {
		text = f.Compression + ", " + text
	}
	return cli.Visible(text)
}

func delimiterText(c byte) string {
	if name := map[byte]string{',': "comma", ';': "semicolon", '\t': "tab", '|': "bar"}[c]; name != "" {
		return name
	}
	return fmt.Sprintf("delimiter %q", c)
}

func headerText(f tabular.Format) string {
	if f.HeaderRow == 0 {
		return "no header"
	}
	return fmt.Sprintf("header in row %d", f.HeaderRow)
}

// formatNotes says what else is worth knowing of a file.
func formatNotes(f tabular.Format) []string {
	var notes []string
	if f.Widened > 0 {
		notes = append(notes, fmt.Sprintf("the rows have %s more than the header, called %q ...",
			cli.Plural(f.Widened, "column"), f.Header[len(f.Header)-f.Widened]))
	}
	if f.Sheets > 1 {
		notes = append(notes, fmt.Sprintf("%s of the workbook not read", cli.Plural(f.Sheets-1, "other sheet")))
	}
	if n := len(f.Skipped); n > 0 {
		notes = append(notes, cli.Plural(n, "line")+" around the header passed over")
	}
	return notes
}
