package main

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
		{name: "typed", typed: "acme-corp\n", terminal: true, code: exitOK, stderr: "Type the tenant's name (acme-corp) to go on: "},
		{name: "typed without a line end", typed: "acme-corp", terminal: true, code: exitOK},
		{name: "typed on Windows", typed: "acme-corp\r\n", terminal: true, code: exitOK},
		{name: "another case", typed: "Acme-Corp\n", terminal: true, code: exitFailure},
		{name: "a blank more", typed: "acme-corp \n", terminal: true, code: exitFailure},
		{name: "nothing", typed: "\n", terminal: true, code: exitFailure},
		{name: "end of input", typed: "", terminal: true, code: exitInterrupted},
		{name: "flag", given: "acme-corp", code: exitOK},
		{name: "wrong flag on a terminal", given: "acme", typed: "acme-corp\n", terminal: true, code: exitUsage},
		{name: "no terminal", typed: "acme-corp\n", code: exitUsage},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			b := newDesk()
			b.InTerminal, b.ErrTerminal = tt.terminal, tt.terminal
			b.In = strings.NewReader(tt.typed)
			f := b.console(t)
			b.flags.yes = true // must not count
			err := f.confirmName(t.Context(), confirmation{stakes: "9 M contacts", name: "acme-corp", given: tt.given, flag: "--confirm", what: "the tenant's name"})
			if code := codeOfAsked(err); code != tt.code {
				t.Errorf("exit code %d (%v), want %d", code, err, tt.code)
			}
			if !strings.Contains(b.err.String(), tt.stderr) {
				t.Errorf("stderr %q", b.err)
			}
			if !tt.terminal && tt.code != exitOK {
				if b.err.String() != "" || hintsOf(err)[0].command != "--confirm acme-corp" {
					t.Errorf("without a terminal: stderr %q, hints %v", b.err, hintsOf(err))
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
	time.AfterFunc(20*time.Millisecond, func() { cancel(errInterrupted) })
	err := f.confirmYes(ctx, "Really?")
	if !errors.Is(err, errInterrupted) {
		t.Errorf("got %v", err)
	}
}

func TestConfirmYes(t *testing.T) {
	t.Parallel()
	for typed, want := range map[string]int{"y\n": exitOK, "YES\n": exitOK, "n\n": exitFailure, "\n": exitFailure, "yeah\n": exitFailure} {
		b := newDesk().onTerminal()
		b.In = strings.NewReader(typed)
		if code := codeOfAsked(b.console(t).confirmYes(t.Context(), "Really?")); code != want {
			t.Errorf("%q: exit code %d, want %d", typed, code, want)
		}
	}
	b := newDesk()
	f := b.console(t)
	if err := f.confirmYes(t.Context(), "Really?"); codeOfAsked(err) != exitUsage || hintsOf(err)[0].command != "--yes" {
		t.Errorf("without a terminal: %v", err)
	}
	b.flags.yes = true
	if err := f.confirmYes(t.Context(), "Really?"); err != nil {
		t.Errorf("with --yes: %v", err)
	}
}

// codeOfAsked returns the exit code of an answer.
func codeOfAsked(err error) int {
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errInterrupted):
		return exitInterrupted
	}
	return codeIn(err)
}
