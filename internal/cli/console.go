package cli

import (
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// Switches are the flags that decide what is said and asked.
type Switches struct {
	Quiet   bool // nothing but answers and errors
	Verbose bool
	Debug   bool
	Yes     bool // milder questions are answered
}

// Console is how a command talks to whoever runs it: what is said on stderr, above a
// bar that may be there, the questions, and the signals and the deadline that end it.
type Console struct {
	IO         *Streams
	switches   *Switches
	Now        func() time.Time
	Interrupts *Interrupts
	// Redact hides secrets in a text.
	Redact func(text string) string
	// Structured reports whether errors are for programs.
	Structured func() bool

	Changes  atomic.Bool // the command is past the point from which it changes something
	Reads    atomic.Bool // the command reads for a while, and has something to say when it is stopped
	Serves   atomic.Bool // the command goes on until a signal comes: that is its end, and no interruption
	Answered atomic.Bool // a signal was answered on stderr
	progress atomic.Pointer[Progress]
	held     atomic.Pointer[heldText] // what is said while a full screen is there
	ends     <-chan struct{}          // closed when the time is over; nil without
	expired  error                    // what is returned then
}

// NewConsole returns a console on streams, which it guards. Signals are answered on it.
func NewConsole(s *Streams, in *Interrupts, flags *Switches) *Console {
	guarded := *s
	guarded.Err = NewGuard(s.Err)
	if s.OutTerminal {
		guarded.Out = NewGuard(s.Out)
	}
	c := &Console{
		IO: &guarded, switches: flags, Now: time.Now, Interrupts: in,
		Redact: func(text string) string { return text }, Structured: func() bool { return false },
	}
	guarded.In = &input{c: c, in: s.In}
	answer := c.answerSignal
	in.answer.Store(&answer)
	return c
}

// SetDeadline says when the command has to end, and with what error.
func (c *Console) SetDeadline(ends <-chan struct{}, expired error) {
	c.ends, c.expired = ends, expired
}

// Note prints a line on stderr, unless it is to be quiet. Its arguments are made
// visible: they may come from outside.
func (c *Console) Note(format string, args ...any) {
	if !c.switches.Quiet {
		c.Say(format, args...)
	}
}

// Talks reports whether more is to be said, with --verbose or --debug.
func (c *Console) Talks() bool { return c.switches.Verbose || c.switches.Debug }

// Verbose prints a line on stderr when more is to be said.
func (c *Console) Verbose(format string, args ...any) {
	if c.Talks() {
		c.Say(format, args...)
	}
}

// Fit breaks the lines of a message that a terminal is too narrow for. Off a terminal
// they stay whole, and so do those that end with a command to be pasted.
func (c *Console) Fit(text string) string {
	if !c.IO.ErrTerminal {
		return text
	}
	var out []string
	for line := range strings.SplitSeq(text, "\n") {
		if !strings.Contains(line, ": crmctl ") {
			line = Fold(line, c.IO.Width(), "  ")
		}
		out = append(out, line)
	}
	return strings.Join(out, "\n")
}

// Say prints a line on stderr, above a bar that is there.
func (c *Console) Say(format string, args ...any) {
	c.Write(c.Fit(c.Redact(fmt.Sprintf(format+"\n", EscapeArgs(args)...))))
}

// Write writes whole lines on stderr: above a bar that is there, behind a full screen.
func (c *Console) Write(text string) {
	if h := c.held.Load(); h != nil {
		h.add(text)
		return
	}
	if p := c.progress.Load(); p != nil {
		p.write(text)
		return
	}
	fmt.Fprint(c.IO.Err, text)
}

// Drain returns the channel that the first Ctrl-C closes, for a command that
// finishes what is under way before it stops. The second Ctrl-C cancels the
// context. Whoever does not call it is cancelled by the first.
func (c *Console) Drain() <-chan struct{} { return c.Interrupts.drain() }

// ReadSoFar says how far a command came that only reads: "120 of 300 done".
func (c *Console) ReadSoFar() string {
	const nothing = "nothing was changed"
	if p := c.progress.Load(); p != nil && p.o.Total > 0 && !p.o.Bytes {
		return fmt.Sprintf("%s of %s done, %s", HumanCount(p.count.Load()), HumanCount(p.o.Total), nothing)
	}
	return nothing
}

// WasInterrupted reports whether a signal came.
func (c *Console) WasInterrupted() bool { return c.Interrupts.Seen.Load() }

// answerSignal says at once what a signal does, and what another one would do.
func (c *Console) answerSignal(drains, again bool) {
	switch {
	case again && c.Interrupts.wanted.Load():
		c.Say("crmctl: stopping now: what is under way is undone")
		return
	case again:
		return
	case c.Serves.Load():
		c.Say("crmctl: stopping")
	case drains:
		c.Say("crmctl: stopping: what is under way is finished, nothing else begins;\n  a second Ctrl-C (or SIGTERM) " +
			"undoes what is under way")
	case c.Changes.Load():
		c.Say("crmctl: stopping: what is under way is undone;\n  a second Ctrl-C (or SIGTERM) ends crmctl at once, and " +
			"leaves that to the server")
	case c.Structured():
		return // the error says it
	case c.Reads.Load():
		c.Say("crmctl: stopping: it only reads, and has changed nothing")
	default:
		c.Say("crmctl: interrupted")
	}
	c.Answered.Store(true)
}
