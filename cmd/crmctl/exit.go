package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// The exit codes are an interface: scripts depend on them. The texts are shown
// by `crmctl help exit-codes` and in the help of each command.
const (
	exitOK          = 0
	exitFailure     = 1
	exitPartial     = 3
	exitPending     = 4
	exitStopped     = 5
	exitUnreachable = 10
	exitLocked      = 11
	exitNoTenant    = 12
	exitUsage       = 64
	exitInterrupted = 130
)

type exitText struct {
	code int
	text string
}

// exitTexts returns every exit code and its meaning, in order.
func exitTexts() []exitText {
	return []exitText{
		{exitOK, "done, or nothing to do"},
		{exitFailure, "failed"},
		{exitPartial, "some tenants or rows failed, the rest is done"},
		{exitPending, "something is pending or unhealthy"},
		{exitStopped, "stopped early: too many failures, or the canary failed"},
		{exitUnreachable, "the database cannot be reached"},
		{exitLocked, "another run holds the lock"},
		{exitNoTenant, "no such tenant"},
		{exitUsage, "wrong usage or configuration; nothing was done"},
		{exitInterrupted, "interrupted (Ctrl-C or SIGTERM)"},
	}
}

// sentinelCodes says which exit code an error of a library stands for. The
// first that matches wins.
func sentinelCodes() []struct {
	err  error
	code int
} {
	return []struct {
		err  error
		code int
	}{
		{config.ErrInvalid, exitUsage},
		{config.ErrNoDatabase, exitUsage},
		{registry.ErrInvalidName, exitUsage},
		{registry.ErrNotFound, exitNoTenant},
		{db.ErrNoTenant, exitNoTenant},
		{db.ErrUnreachable, exitUnreachable},
		{db.ErrBusy, exitLocked},
		{context.Canceled, exitInterrupted},
		{errInterrupted, exitInterrupted},
	}
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
	code   int    // 0: found from err
	err    error  // nil: the command has said everything itself
	hints  []hint // at most two are shown
	tenant string // the tenant it is about; "" where err tells or there is none
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

// exitCode returns the exit code for what a command returned.
func exitCode(err error) int {
	if err == nil {
		return exitOK
	}
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
	for _, s := range sentinelCodes() {
		if errors.Is(err, s.err) {
			return s.code
		}
	}
	return appCode(err)
}

// appCode returns the exit code of an error of the application.
func appCode(err error) int {
	if _, is := errors.AsType[*app.FilesError](err); is {
		return exitUsage
	}
	if _, is := errors.AsType[*app.DirError](err); is {
		return exitUsage
	}
	if v, is := errors.AsType[*app.VersionError](err); is && !v.Data {
		return exitUsage
	}
	return exitFailure
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
