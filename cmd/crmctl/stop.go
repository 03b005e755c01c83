package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
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

// runEnd is how a run over tenants ended, and what its command knows to say of it.
type runEnd struct {
	fleet.Summary

	did  string       // to the tenants that are done: "created"; "" where nothing is changed
	more []string     // flags with which the same command goes on after an interruption
	left func() error // says what an interruption has left, where the counts are not enough

	alone     func(error) error // adds the next step to the error of a single tenant
	threshold bool              // failures may end the run early
	exclusive bool              // tenants that others hold are theirs, and none that failed
	unsaid    bool              // the failures were not named: the first stands for all
	told      bool              // the answer names every error and why the run ended
	line      string            // with told, the same for programs
}

// end turns the end of a run into what its command returns: the exit code, what nobody
// has said so far, and the command that goes on.
func (f *factory) end(e runEnd) error {
	first, code := e.First(), e.code()
	switch {
	case e.Whole() && e.Stopped == nil:
		return nil
	case f.WasInterrupted() && e.left != nil:
		return e.left()
	case f.WasInterrupted() && e.did != "" && (e.Items > 1 || e.NotStarted > 0):
		return f.stoppedRun(e)
	case e.Done+e.Failed == 0 && errors.Is(e.Unserved, db.ErrUnreachable):
		return e.Unserved
	case e.Done == 0 && errors.Is(e.Stopped, db.ErrUnreachable): // in the canary
		return e.Stopped
	case e.told:
		return cli.ExitTold(code, "%s", e.line)
	case e.Items == 1 && first != nil && e.alone != nil:
		return e.alone(first)
	case e.Items == 1 && first != nil, errors.Is(first, registry.ErrNoRegistry):
		return first
	case code == cli.ExitStopped:
		return cli.ExitWith(code)
	case e.unsaid && first != nil:
		return cli.WithCode(first, code)
	case e.Unserved != nil:
		return cli.WithCode(e.Unserved, code)
	case errors.Is(e.Stopped, fleet.ErrDrained):
		return cli.ExitWith(cli.ExitInterrupted)
	case e.Stopped != nil:
		return cli.WithCode(e.Stopped, code)
	}
	return cli.ExitWith(code)
}

// code returns the exit code of a run that did not do all.
func (e *runEnd) code() int {
	switch {
	case errors.Is(e.Stopped, migrate.ErrCanary), errors.Is(e.Stopped, fleet.ErrTooManyFailures),
		e.threshold && errors.Is(e.Stopped, fleet.ErrServer):
		return cli.ExitStopped
	case errors.Is(e.Stopped, migrate.ErrCanaryBusy), e.exclusive && e.Locked():
		return cli.ExitLocked
	case e.Done == 0 && errors.Is(e.Stopped, db.ErrUnreachable):
		return cli.ExitUnreachable
	case e.Done+e.Unneeded > 0:
		return cli.ExitPartial
	case e.told:
		return cli.ExitFailure
	}
	return sharedCode(e.Errors)
}

// sharedCode returns the exit code of errors that are all about the same state of the
// world, and that of a failure for others.
func sharedCode(errs []error) int {
	code := 0
	for _, err := range errs {
		c := exitCode(err)
		world := c == cli.ExitUnreachable || c == cli.ExitLocked || c == exitNoTenant
		if !world || code != 0 && code != c {
			return cli.ExitFailure
		}
		code = c
	}
	return cmp.Or(code, cli.ExitFailure)
}

// stoppedRun is stopped for a run over tenants.
func (f *factory) stoppedRun(e runEnd) error {
	text := fmt.Sprintf("%s of %s %s", cli.HumanCount(int64(e.Done)), cli.Plural(e.Items, "tenant"), e.did)
	if e.Failed > 0 {
		text += fmt.Sprintf(", %s failed", cli.HumanCount(int64(e.Failed)))
	}
	if e.NotStarted > 0 {
		text += fmt.Sprintf(", %s not done", cli.HumanCount(int64(e.NotStarted)))
	}
	return f.stopped(text, e.more...)
}

// sayFailures names the tenants that failed, of several. Where a progress line was
// shown it has done so for people, but for those of which it told only the first few.
func (f *factory) sayFailures(results []fleet.Result, slug func(i int) string, explain func(error) error) {
	if len(results) < 2 {
		return
	}
	var failed []tenantError
	for i, r := range results {
		if r.State == fleet.Failed {
			failed = append(failed, tenantError{slug(i), explain(r.Err)})
		}
	}
	f.sayFailed(failed, len(results) > manyTenants)
}

// sayFailed names tenants that failed; told is whether a progress line has done so.
func (f *factory) sayFailed(failed []tenantError, told bool) {
	if !told || f.structured() {
		f.sayTenants(failed)
		return
	}
	for _, g := range f.groupErrors(failed) {
		if cli.Many(len(g.slugs)) {
			f.sayAlike(g)
		}
	}
}

// runLine returns "50 tenants in 928 ms", and what went wrong if anything did.
func runLine(s fleet.Summary, elapsed time.Duration) string {
	text := fmt.Sprintf("%s in %s", cli.Plural(s.Done, "tenant"), cli.HumanDuration(elapsed))
	if s.Failed > 0 {
		text += fmt.Sprintf(", %d failed", s.Failed)
	}
	if s.NotStarted > 0 {
		text += fmt.Sprintf(", %d not started", s.NotStarted)
	}
	return text
}
