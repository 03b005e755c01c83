package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
)

// interrupted ends a run that a signal stopped. A command that drained has said what is
// done and what goes on; for one that was cut short it is said here.
func (f *factory) interrupted(err error) int {
	switch {
	case err == nil || cli.IsSilent(err):
		f.reportCode(err)
		return cli.ExitInterrupted
	case !f.cutShort(err):
		f.report(cli.WithCode(err, cli.ExitInterrupted)) // something else went wrong as well
		return cli.ExitInterrupted
	}
	stop := stoppedError{}
	switch {
	case errors.As(err, &stop):
		f.report(err)
	case f.Changes.Load():
		f.report(f.stopped("what was under way is undone"))
	case f.Reads.Load():
		f.report(f.stopped(f.ReadSoFar()))
	case !f.Answered.Load():
		f.report(cli.ErrInterrupted)
	}
	return cli.ExitInterrupted
}

// cutShort reports whether err is what an interruption makes of a statement: pgx's word,
// the server's answer to a cancel request, or a connection that was cut because no
// answer came.
func (f *factory) cutShort(err error) bool {
	if errors.Is(err, db.ErrCommitUnknown) {
		return false
	}
	if _, stop := errors.AsType[stoppedError](err); stop || cli.IsStop(err) || errors.Is(err, context.DeadlineExceeded) {
		return true
	}
	return db.SQLState(err) == db.CodeQueryCanceled || db.ConnectionLost(err)
}

// stoppedError says how far a command came that was interrupted.
type stoppedError struct{ done string }

// Error returns "interrupted: 3 of 10 tenants created, 7 not begun".
func (e stoppedError) Error() string { return "interrupted: " + e.done }

// Is makes errors.Is(err, errInterrupted) true.
func (e stoppedError) Is(target error) bool { return target == cli.ErrInterrupted }

// stopped returns the error of a command that was interrupted: what is done and what
// is not, and the command that goes on, which is the one that was typed with more added
// to it.
func (f *factory) stopped(done string, more ...string) error {
	return cli.WithHint(cli.WithCode(stoppedError{done}, cli.ExitInterrupted), "next", f.sameCommand(more...))
}

// sameCommand returns what was typed, to be pasted, with more flags where it has not
// got them. Whatever decided on files and database is in it as it was given.
func (f *factory) sameCommand(more ...string) string {
	words := slices.Clone(f.args)
	for _, flag := range more {
		if !slices.Contains(words, flag) {
			words = append(words, flag)
		}
	}
	return f.withInput("crmctl " + cli.ShellWords(words))
}

// commandFor returns what was typed, for other tenants than the named ones or those of
// a selection.
//
// Where those that are done are fewer and all were meant, they are left out instead.
func (f *factory) commandFor(former, tenants, done []string) string {
	selects := func(word string) bool {
		name, _, _ := strings.Cut(word, "=")
		return slices.Contains([]string{"--tenant", "--exclude", "--tenants-from"}, name)
	}
	if len(done) < len(tenants) && len(former) == 0 && !slices.ContainsFunc(f.args, selects) {
		if len(done) == 0 {
			return f.sameCommand()
		}
		return f.sameCommand("--exclude", strings.Join(done, ","))
	}
	var words []string
	for i := 0; i < len(f.args); i++ {
		word := f.args[i]
		switch {
		case word == "--all", i > 1 && slices.Contains(former, word):
		case selects(word):
			if !strings.Contains(word, "=") {
				i++
			}
		default:
			words = append(words, word)
		}
	}
	return f.withInput("crmctl " + cli.ShellWords(append(words, "--tenant", strings.Join(tenants, ","))))
}

// withInput adds a comment for whoever pastes a command that reads stdin.
func (f *factory) withInput(command string) string {
	if slices.Contains(f.args, "-") {
		command += " # and its input once more"
	}
	return command
}

// stoppedRun is stopped for a run over many items: done counts those that are made,
// failed those that were named, left those that were not begun or undone.
func (f *factory) stoppedRun(what string, done, failed, left int, more ...string) error {
	text := fmt.Sprintf("%s of %s %s", cli.HumanCount(int64(done)), cli.Plural(done+failed+left, "tenant"), what)
	if failed > 0 {
		text += fmt.Sprintf(", %s failed", cli.HumanCount(int64(failed)))
	}
	if left > 0 {
		text += fmt.Sprintf(", %s not done", cli.HumanCount(int64(left)))
	}
	return f.stopped(text, more...)
}
