package main

import (
	"errors"
	"strings"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/tabular"
)

// narrowText says what was done to rows on their way into a table that has no place for
// what a field does not take, "" where that is what changeText says.
func narrowText(c importer.Change) string {
	switch c {
	case importer.ChangeSeveral:
		return "cells of several values: the first counts, the others are left out"
	case importer.ChangePhone:
		return "phone numbers brought to E.164"
	case importer.ChangeNoPhone:
		return "values that are no phone number left out"
	default:
		return ""
	}
}

// changeText says what was done to rows.
func changeText(c importer.Change) string {
	switch c {
	case importer.ChangeUnwrapped:
		return `e-mail addresses taken out of "Ann <ann@...>", mailto: and the like`
	case importer.ChangeSeveral:
		return "cells of several values: the first counts, all are kept"
	case importer.ChangeInvisible:
		return "invisible characters taken out"
	case importer.ChangeIDN:
		return "international domains brought to one form"
	case importer.ChangeFormula:
		return `="0123" unwrapped`
	case importer.ChangePhone:
		return "phone numbers brought to E.164, as they came in the metadata"
	case importer.ChangeNoPhone:
		return "values that are no phone number left in the metadata"
	case importer.ChangeName:
		return "names put together of their parts"
	case importer.ChangeHalfName:
		return "names of one part: they replace no whole one"
	case importer.ChangeMojibake:
		return `texts that were decoded wrongly before ("MÃ¼ller"), as they came`
	case importer.ChangeTime:
		return "times in another program's form"
	}
	return string(c)
}

// noteChanges says what was done to the values, and what words may mean nothing.
func noteChanges(f *factory, changed []importer.ChangeCount, nullWords []string, narrow bool) {
	width := 0
	for _, c := range changed {
		width = max(width, len(cli.HumanCount(c.Rows)))
	}
	for i, c := range changed {
		label := "cleaned"
		if i > 0 {
			label = ""
		}
		text := changeText(c.Change)
		if own := narrowText(c.Change); narrow && own != "" {
			text = own
		}
		f.Note("%-8s  %*s  %s", label, width, cli.HumanCount(c.Rows), text)
	}
	for _, word := range nullWords {
		f.Note("next: where it means nothing, add --null %s", shellWord(word))
	}
}

// shellWord returns a word as a shell reads it.
func shellWord(word string) string {
	word = cli.Visible(word)
	if strings.ContainsAny(word, "\"$`\\!'") {
		return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
	}
	return `"` + word + `"`
}

// fileError adds to an error about the file or its columns what to say to make it
// readable, and that only the user can.
func fileError(err error) error {
	if mapping, ok := errors.AsType[*importer.MappingError](err); ok {
		e := &cli.Error{Code: cli.ExitUsage, Err: err}
		for _, c := range mapping.Candidates[:min(len(mapping.Candidates), 8)] {
			e.Hints = append(e.Hints, cli.Hint{Label: "if it is this one", Command: "--map " +
				shellWord(c.Header+"="+string(mapping.Field))})
		}
		if len(e.Hints) == 0 {
			return cli.WithHint(e, "name a column by hand", `--map "HEADER=email"`)
		}
		e.Hints = append(e.Hints, cli.Hint{Label: "if none is", Command: "--map " +
			shellWord(mapping.Candidates[0].Header+"=metadata") + ", and so for each"})
		return e
	}
	if file, ok := errors.AsType[*tabular.Error](err); ok && file.Ask != "" {
		e := &cli.Error{Code: cli.ExitUsage, Err: err}
		for _, choice := range file.Choices {
			e.Hints = append(e.Hints, cli.Hint{Label: choice.Sample, Command: "--" + string(file.Ask) + " " +
				shellWord(choice.Name)})
		}
		if len(e.Hints) == 0 {
			e.Hints = []cli.Hint{{Label: "say it", Command: "--" + string(file.Ask) + " ..."}}
		}
		return e
	}
	return err
}
