package cli

import (
	"context"
	"os"
	"os/signal"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Interrupts turns signals into the two ways of stopping. For most commands the
// first signal cancels the context. A command that can stop gently asks for
// drain: then the first signal closes its channel (start nothing new, finish
// what is under way) and the second cancels. Whichever it is, the first is answered
// at once.
type Interrupts struct {
	cancel   context.CancelCauseFunc
	signals  chan os.Signal
	done     chan struct{}
	draining chan struct{}
	wanted   atomic.Bool
	Seen     atomic.Bool
	once     sync.Once
	// first is closed by the first signal: whatever waits for somebody else's input
	// ends with it.
	first chan struct{}
	// answer says what a signal does; nil says nothing.
	answer atomic.Pointer[func(drains, again bool)]
}

// answerTimeout bounds the wait for an answer to be written: a stderr that nobody
// reads must not keep a signal from its work.
const answerTimeout = 500 * time.Millisecond

// WatchInterrupts starts to listen until stop is called.
func WatchInterrupts(ctx context.Context) (context.Context, *Interrupts) {
	ctx, cancel := context.WithCancelCause(ctx)
	in := &Interrupts{
		cancel:   cancel,
		signals:  make(chan os.Signal, 2),
		done:     make(chan struct{}),
		draining: make(chan struct{}),
		first:    make(chan struct{}),
	}
	for _, s := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		// nohup, and a shell that put us into the background, mean what they say.
		if !signal.Ignored(s) {
			signal.Notify(in.signals, s)
		}
	}
	// A reader that went away is an error of that write, not the death of the
	// process in the middle of its work.
	signal.Ignore(syscall.SIGPIPE)
	go in.watch()
	return ctx, in
}

func (in *Interrupts) watch() {
	for {
		select {
		case <-in.signals:
			in.Interrupt()
		case <-in.done:
			return
		}
	}
}

// Interrupt is what a signal does.
func (in *Interrupts) Interrupt() {
	first := in.Seen.CompareAndSwap(false, true)
	drains := first && in.wanted.Load()
	in.say(drains, !first)
	if first {
		close(in.first)
	}
	if drains {
		in.once.Do(func() { close(in.draining) })
		return
	}
	in.cancel(ErrInterrupted)
	// Whoever presses Ctrl-C once more means it.
	signal.Stop(in.signals)
}

// say answers a signal, before it does its work.
func (in *Interrupts) say(drains, again bool) {
	answer := in.answer.Load()
	if answer == nil {
		return
	}
	said := make(chan struct{})
	go func() {
		defer close(said)
		(*answer)(drains, again)
	}()
	select {
	case <-said:
	case <-time.After(answerTimeout):
	}
}

// drain makes the first signal a gentle one, and returns the channel it closes.
func (in *Interrupts) drain() <-chan struct{} {
	in.wanted.Store(true)
	return in.draining
}

// Stop ends the listening.
func (in *Interrupts) Stop() {
	signal.Stop(in.signals)
	close(in.done)
	in.cancel(nil)
}
