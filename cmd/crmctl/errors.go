package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
)

// maxErrorLines is how long an error may be; --debug shows the rest.
const maxErrorLines = 3

// report prints an error on stderr, if there is anything to say.
func (f *factory) report(err error) {
	if err == nil || cli.IsSilent(err) {
		f.reportCode(err)
		return
	}
	if f.structured() {
		f.printRecord(f.errorRecordOf(err))
	} else {
		for _, line := range f.errorLines(err) {
			fmt.Fprintln(f.IO.Err, f.Fit(f.redact(line)))
		}
	}
	if f.flags.Debug {
		f.printChain(f.IO.Err, err)
	}
}

// reportCode gives programs the exit code of a command that ended itself, and why, where
// no error has told them: they do not read what people were told.
func (f *factory) reportCode(err error) {
	if err == nil || !cli.EndedItself(err) || f.recorded || !f.structured() {
		return
	}
	r := f.errorRecordOf(err)
	if r.Message = cli.ToldIn(err); r.Message == "" {
		r.Message = exitText(r.Code)
	}
	f.printRecord(r)
}

// errorLines returns the lines that are shown for an error: what failed and
// why, then the next step.
func (f *factory) errorLines(err error) []string {
	if errors.Is(err, config.ErrNoDatabase) {
		return noDatabase(f.hasProfile(app.LocalProfile("")))
	}
	var lines []string
	for line := range strings.Lines("crmctl: " + textOf(err)) {
		line = cli.Visible(strings.TrimRight(line, "\n"))
		if len(lines) > 0 {
			line = "  " + strings.TrimSpace(line)
		}
		lines = append(lines, line)
	}
	hints := append(cli.HintsOf(err), f.explain(err)...)
	room := max(1, maxErrorLines-min(len(hints), maxErrorLines-1))
	if len(lines) > room {
		lines = lines[:room]
		lines[room-1] += " (--debug shows more)"
	}
	for _, h := range hints {
		if len(lines) == maxErrorLines {
			break
		}
		lines = append(lines, "  "+h.Label+": "+cli.Visible(h.Command))
	}
	return lines
}

// noDatabase says how to get a database, in two lines.
func noDatabase(hasLocal bool) []string {
	first := "  try one now:      crmctl local start"
	if hasLocal {
		first = "  the local one:    export CRMCTL_PROFILE=local"
	}
	return []string{
		"crmctl: no database configured (crmctl help environment)",
		first,
		"  or use your own:  export DATABASE_URL=postgres://user@host/db",
	}
}

func (f *factory) hasProfile(name string) bool {
	cfg, err := f.config()
	return err == nil && slices.Contains(cfg.Profiles(), name)
}

// printChain prints each error of a tree on a line of its own, with its type.
func (f *factory) printChain(w io.Writer, err error) {
	var walk func(err error, depth int)
	walk = func(err error, depth int) {
		if err == nil {
			return
		}
		text := cli.Visible(f.redact(err.Error()))
		fmt.Fprintf(w, "%s%T: %s\n", strings.Repeat("  ", depth), err, text)
		switch e := err.(type) { //nolint:errorlint // walks the tree itself
		case interface{ Unwrap() error }:
			walk(e.Unwrap(), depth+1)
		case interface{ Unwrap() []error }:
			for _, inner := range e.Unwrap() {
				walk(inner, depth+1)
			}
		}
	}
	fmt.Fprintln(w, "debug:")
	walk(err, 1)
}
