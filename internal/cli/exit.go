package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// The exit codes are an interface: scripts depend on them.
const (
	ExitOK          = 0
	ExitFailure     = 1
	ExitPartial     = 3
	ExitPending     = 4
	ExitStopped     = 5
	ExitUnreachable = 10
	ExitLocked      = 11
	ExitUsage       = 64
	ExitInterrupted = 130
)

// ExitText says what an exit code means.
type ExitText struct {
	Code int
	Text string
}

var (
	// ErrInterrupted is the cause of a context that a signal ended, and what a
	// prompt returns for Ctrl-C.
	ErrInterrupted = errors.New("interrupted")

	// ErrTimedOut is the cause of a context that --timeout ended.
	ErrTimedOut = errors.New("--timeout is over")
)

// Error is an error with what the command line adds to it: the exit
// code and the next step.
type Error struct {
	Code    int    // 0: found from err
	Err     error  // nil: the command has said everything itself
	Hints   []Hint // at most two are shown
	Subject string // what it is about; "" where err tells or there is nothing
	Told    string // without Err: what people were told, for programs in one line
}

// Hint is a line below an error: what it is good for and the command to type.
type Hint struct{ Label, Command string }

func (e *Error) Unwrap() error { return e.Err }

func (e *Error) Error() string {
	if e.Err == nil {
		return fmt.Sprintf("exit code %d", e.Code)
	}
	return e.Err.Error()
}

// Usagef returns an error for wrong flags, arguments or configuration: exit
// code 64.
func Usagef(format string, args ...any) error {
	return &Error{Code: ExitUsage, Err: fmt.Errorf(format, args...)}
}

// WithCode gives err an exit code. A nil err stays nil.
func WithCode(err error, code int) error {
	if err == nil {
		return nil
	}
	return &Error{Code: code, Err: err}
}

// ExitWith ends the command with a code and no message, for a command that has
// already printed what there is to say.
func ExitWith(code int) error {
	if code == ExitOK {
		return nil
	}
	return &Error{Code: code}
}

// ExitTold is ExitWith for a command that people have been told enough by; programs
// get the code and this line.
func ExitTold(code int, format string, args ...any) error {
	if code == ExitOK {
		return nil
	}
	return &Error{Code: code, Told: fmt.Sprintf(format, args...)}
}

// ToldIn returns what ExitTold was given, "" for another error.
func ToldIn(err error) string {
	if ce, ok := errors.AsType[*Error](err); ok && ce.Err == nil {
		return ce.Told
	}
	return ""
}

// EndedItself reports whether err is a command's ExitWith or ExitTold.
func EndedItself(err error) bool {
	ce, ok := errors.AsType[*Error](err)
	return ok && ce.Err == nil
}

// WithHint adds a next step to an error: withHint(err, "details", "crmctl
// migrate runs show 42") is shown as "  details: crmctl migrate runs show 42".
func WithHint(err error, label, command string) error {
	if err == nil {
		return nil
	}
	return &Error{Err: err, Hints: []Hint{{label, command}}}
}

// CodeIn returns the exit code that an error was given, 0 for none.
func CodeIn(err error) int {
	for e := err; e != nil; {
		var ce *Error
		if !errors.As(e, &ce) {
			break
		}
		if ce.Code != 0 {
			return ce.Code
		}
		e = ce.Err
	}
	return 0
}

// HintsOf collects the hints of an error, the outermost first.
func HintsOf(err error) []Hint {
	var hints []Hint
	for e := err; e != nil; {
		var ce *Error
		if !errors.As(e, &ce) {
			break
		}
		hints = append(hints, ce.Hints...)
		e = ce.Err
	}
	return hints
}

// IsSilent reports whether nothing is to be printed for an error: the command has
// said it all, or the reader of stdout has gone (crmctl tenant list | head).
func IsSilent(err error) bool {
	var ce *Error
	if errors.As(err, &ce) && ce.Err == nil {
		return true
	}
	// A connection to the database that breaks is another matter.
	_, network := errors.AsType[*net.OpError](err)
	return errors.Is(err, syscall.EPIPE) && !network
}

// IsStop reports whether err says no more than that the command was told to end.
func IsStop(err error) bool {
	return errors.Is(err, ErrInterrupted) || errors.Is(err, ErrTimedOut) || errors.Is(err, context.Canceled)
}
