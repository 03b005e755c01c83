package cli

import (
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"
)

func TestConfirmName(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name     string
		given    string
		typed    string
		terminal bool
		code     int
		stderr   string
	}{
		{name: "typed", typed: "acme-corp\n", terminal: true, code: ExitOK,
			stderr: "Type the tenant's name (acme-corp) to go on: "},
		{name: "typed without a line end", typed: "acme-corp", terminal: true, code: ExitOK},
		{name: "typed on Windows", typed: "acme-corp\r\n", terminal: true, code: ExitOK},
		{name: "another case", typed: "Acme-Corp\n", terminal: true, code: ExitFailure},
		{name: "a blank more", typed: "acme-corp \n", terminal: true, code: ExitFailure},
		{name: "nothing", typed: "\n", terminal: true, code: ExitFailure},
		{name: "end of input", typed: "", terminal: true, code: ExitInterrupted},
		{name: "flag", given: "acme-corp", code: ExitOK},
		{name: "wrong flag on a terminal", given: "acme", typed: "acme-corp\n", terminal: true, code: ExitUsage},
		{name: "no terminal", typed: "acme-corp\n", code: ExitUsage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newDesk()
			b.InTerminal, b.ErrTerminal = tt.terminal, tt.terminal
			b.In = strings.NewReader(tt.typed)
			f := b.console(t)
			b.flags.Yes = true // must not count
			err := f.ConfirmName(t.Context(), Confirmation{Impact: "9 M contacts", Name: "acme-corp", Given: tt.given,
				Flag: "--confirm", What: "the tenant's name"})
			if code := codeOfAsked(err); code != tt.code {
				t.Errorf("exit code %d (%v), want %d", code, err, tt.code)
			}
			if !strings.Contains(b.err.String(), tt.stderr) {
				t.Errorf("stderr %q", b.err)
			}
			if !tt.terminal && tt.code != ExitOK {
				if b.err.String() != "" || HintsOf(err)[0].Command != "--confirm acme-corp" {
					t.Errorf("without a terminal: stderr %q, hints %v", b.err, HintsOf(err))
				}
			}
		})
	}
}

func TestInterruptAtAPrompt(t *testing.T) {
	t.Parallel()
	b := newDesk().onTerminal()
	in, keyboard := io.Pipe() // nobody types
	defer keyboard.Close()
	b.In = in
	f := b.console(t)
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(20*time.Millisecond, func() { cancel(ErrInterrupted) })
	err := f.ConfirmYes(ctx, "Really?")
	if !errors.Is(err, ErrInterrupted) {
		t.Errorf("got %v", err)
	}
}

func TestConfirmYes(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]int{"y\n": ExitOK, "YES\n": ExitOK, "n\n": ExitFailure, "\n": ExitFailure,
		"yeah\n": ExitFailure} {
		b := newDesk().onTerminal()
		b.In = strings.NewReader(typed)
		if code := codeOfAsked(b.console(t).ConfirmYes(t.Context(), "Really?")); code != want {
			t.Errorf("%q: exit code %d, want %d", typed, code, want)
		}
	}
	b := newDesk()
	f := b.console(t)
	if err := f.ConfirmYes(t.Context(), "Really?"); codeOfAsked(err) != ExitUsage || HintsOf(err)[0].Command != "--yes" {
		t.Errorf("without a terminal: %v", err)
	}
	b.flags.Yes = true
	if err := f.ConfirmYes(t.Context(), "Really?"); err != nil {
		t.Errorf("with --yes: %v", err)
	}
}

// codeOfAsked returns the exit code of an answer.
func codeOfAsked(err error) int {
	switch {
	case err == nil:
		return ExitOK
	case errors.Is(err, ErrInterrupted):
		return ExitInterrupted
	}
	return CodeIn(err)
}

// What is asked, and what will be lost, fits the terminal.
func TestQuestionsAreFolded(t *testing.T) {
	t.Parallel()
	d := newDesk()
	d.InTerminal, d.ErrTerminal = true, true
	d.Width = func() int { return 40 }
	d.In = strings.NewReader("trial\n")
	c := d.console(t)
	err := c.ConfirmName(t.Context(), Confirmation{Name: "trial", Flag: "--confirm", What: "the instance's name",
		Impact: "The local PostgreSQL trial in /home/somebody/.local/share (48 MB, running) will be destroyed now."})
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.SplitSeq(d.err.String(), "\n") {
		if len(line) > 40 {
			t.Errorf("%d columns: %q", len(line), line)
		}
	}
	if !strings.HasSuffix(d.err.String(), " on: ") {
		t.Errorf("the question ends otherwise: %q", d.err.String())
	}
}
