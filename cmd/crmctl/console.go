package main

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
)

// switches are the flags that decide what is said and asked.
type switches struct {
	quiet   bool // nothing but answers and errors
	verbose bool
	debug   bool
	yes     bool // milder questions are answered
}

// console is how a command talks to whoever runs it: what is said on stderr, above a
// bar that may be there, the questions, and the signals and the deadline that end it.
type console struct {
	io         *cli.Streams
	switches   *switches
	now        func() time.Time
	interrupts *interrupts
	// redact hides secrets in a text.
	redact func(text string) string
	// structured reports whether errors are for programs.
	structured func() bool

	changes  atomic.Bool // the command is past the point from which it changes something
	answered atomic.Bool // a signal was answered on stderr
	progress atomic.Pointer[progress]
	ends     <-chan struct{} // closed when the time is over; nil without
	expired  error           // what is returned then
}

// newConsole returns a console on streams, which it guards. Signals are answered on it.
func newConsole(s *cli.Streams, in *interrupts, flags *switches) *console {
	guarded := *s
	guarded.Err = cli.NewGuard(s.Err)
	if s.OutTerminal {
		guarded.Out = cli.NewGuard(s.Out)
	}
	c := &console{
		io: &guarded, switches: flags, now: time.Now, interrupts: in,
		redact: func(text string) string { return text }, structured: func() bool { return false },
	}
	guarded.In = &input{c: c, in: s.In}
	answer := c.answerSignal
	in.answer.Store(&answer)
	return c
}

// setDeadline says when the command has to end, and with what error.
func (c *console) setDeadline(ends <-chan struct{}, expired error) {
	c.ends, c.expired = ends, expired
}

// note prints a line on stderr, unless it is to be quiet. Its arguments are made
// visible: they may come from outside.
func (c *console) note(format string, args ...any) {
	if !c.switches.quiet {
		c.say(format, args...)
	}
}

// verbose prints a line on stderr when more is to be said.
func (c *console) verbose(format string, args ...any) {
	if c.switches.verbose || c.switches.debug {
		c.say(format, args...)
	}
}

// say prints a line on stderr, above a bar that is there.
func (c *console) say(format string, args ...any) {
	c.write(c.redact(fmt.Sprintf(format+"\n", cli.EscapeArgs(args)...)))
}

// write writes whole lines on stderr, above a bar that is there.
func (c *console) write(text string) {
	if p := c.progress.Load(); p != nil {
		p.write(text)
		return
	}
	fmt.Fprint(c.io.Err, text)
}

// drain returns the channel that the first Ctrl-C closes, for a command that
// finishes what is under way before it stops. The second Ctrl-C cancels the
// context. Whoever does not call it is cancelled by the first.
func (c *console) drain() <-chan struct{} { return c.interrupts.drain() }

// wasInterrupted tells whether a signal came.
func (c *console) wasInterrupted() bool { return c.interrupts.seen.Load() }

// answerSignal says at once what a signal does, and what another one would do.
func (c *console) answerSignal(drains, again bool) {
	switch {
	case again && c.interrupts.wanted.Load():
		c.say("crmctl: stopping now: what is under way is undone")
		return
	case again:
		return
	case drains:
		c.say("crmctl: stopping: what is under way is finished, nothing else begins;\n  a second Ctrl-C (or SIGTERM) undoes what is under way")
	case c.changes.Load():
		c.say("crmctl: stopping: what is under way is undone;\n  a second Ctrl-C (or SIGTERM) ends crmctl at once, and leaves that to the server")
	case c.structured():
		return // the error says it
	default:
		c.say("crmctl: interrupted")
	}
	c.answered.Store(true)
}
