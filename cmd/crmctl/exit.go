package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// The exit codes are an interface: scripts depend on them.
const (
	exitOK          = 0
	exitFailure     = 1
	exitPartial     = 3
	exitPending     = 4
	exitStopped     = 5
	exitUnreachable = 10
	exitLocked      = 11
	exitUsage       = 64
	exitInterrupted = 130
)

// exitText says what an exit code means.
type exitText struct {
	code int
	text string
}

var (
	// errInterrupted is the cause of a context that a signal ended, and what a
	// prompt returns for Ctrl-C.
	errInterrupted = errors.New("interrupted")

	// errTimedOut is the cause of a context that --timeout ended.
	errTimedOut = errors.New("--timeout is over")
)

// commandError is an error with what the command line adds to it: the exit
// code and the next step.
type commandError struct {
	code    int    // 0: found from err
	err     error  // nil: the command has said everything itself
	hints   []hint // at most two are shown
	subject string // what it is about; "" where err tells or there is nothing
}

// hint is a line below an error: what it is good for and the command to type.
type hint struct{ label, command string }

func (e *commandError) Unwrap() error { return e.err }

func (e *commandError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

// usagef returns an error for wrong flags, arguments or configuration: exit
// code 64.
func usagef(format string, args ...any) error {
	return &commandError{code: exitUsage, err: fmt.Errorf(format, args...)}
}

// withCode gives err an exit code. A nil err stays nil.
func withCode(err error, code int) error {
	if err == nil {
		return nil
	}
	return &commandError{code: code, err: err}
}

// exitWith ends the command with a code and no message, for a command that has
// already printed what there is to say.
func exitWith(code int) error {
	if code == exitOK {
		return nil
	}
	return &commandError{code: code}
}

// withHint adds a next step to an error: withHint(err, "details", "crmctl
// migrate runs show 42") is shown as "  details: crmctl migrate runs show 42".
func withHint(err error, label, command string) error {
	if err == nil {
		return nil
	}
	return &commandError{err: err, hints: []hint{{label, command}}}
}

// codeIn returns the exit code that an error was given, 0 for none.
func codeIn(err error) int {
	for e := err; e != nil; {
		var ce *commandError
		if !errors.As(e, &ce) {
			break
		}
		if ce.code != 0 {
			return ce.code
		}
		e = ce.err
	}
	return 0
}

// hintsOf collects the hints of an error, the outermost first.
func hintsOf(err error) []hint {
	var hints []hint
	for e := err; e != nil; {
		var ce *commandError
		if !errors.As(e, &ce) {
			break
		}
		hints = append(hints, ce.hints...)
		e = ce.err
	}
	return hints
}

// isSilent tells whether nothing is to be printed for an error: the command has
// said it all, or the reader of stdout has gone (crmctl tenant list | head).
func isSilent(err error) bool {
	var ce *commandError
	if errors.As(err, &ce) && ce.err == nil {
		return true
	}
	// A connection to the database that breaks is another matter.
	_, network := errors.AsType[*net.OpError](err)
	return errors.Is(err, syscall.EPIPE) && !network
}

// isStop tells whether err says no more than that the command was told to end.
func isStop(err error) bool {
	return errors.Is(err, errInterrupted) || errors.Is(err, errTimedOut) || errors.Is(err, context.Canceled)
}
