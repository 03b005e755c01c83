package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"
)

func TestFirstInterruptCancels(t *testing.T) {
	t.Parallel()
	ctx, in := watchInterrupts(t.Context())
	defer in.stop()
	in.interrupt()
	if !errors.Is(context.Cause(ctx), errInterrupted) {
		t.Errorf("cause %v", context.Cause(ctx))
	}
}

func TestDrainThenCancel(t *testing.T) {
	t.Parallel()
	ctx, in := watchInterrupts(t.Context())
	defer in.stop()
	type said struct{ drains, again bool }
	var answers []said
	answer := func(drains, again bool) { answers = append(answers, said{drains, again}) }
	in.answer.Store(&answer)
	drain := in.drain()
	in.interrupt()
	select {
	case <-drain:
	default:
		t.Error("the first interrupt does not drain")
	}
	if ctx.Err() != nil {
		t.Error("the first interrupt cancels")
	}
	in.interrupt()
	if !errors.Is(context.Cause(ctx), errInterrupted) {
		t.Errorf("the second interrupt does not cancel: %v", context.Cause(ctx))
	}
	if want := []said{{true, false}, {false, true}}; !slices.Equal(answers, want) {
		t.Errorf("answers %v, want %v", answers, want)
	}
}

func TestInterruptedExitCode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		err    error
		stderr string
	}{
		{"the command noticed", context.Canceled, "crmctl: interrupted\n"},
		{"a statement was cancelled", fmt.Errorf("read: %w", &pgconn.PgError{Code: "57014", Message: "canceling statement due to user request"}), "crmctl: interrupted\n"},
		{"with its own summary", exitWith(exitPartial), "crmctl: interrupted\n"},
		{"done", nil, "crmctl: interrupted\n"},
		{"something else", errors.New("the disk is full"), "crmctl: interrupted\ncrmctl: the disk is full\n"},
	} {
		b := newBench(t)
		_, in := watchInterrupts(t.Context())
		f := newFactory(b.Streams, in)
		root := newRootCmd(f)
		root.AddCommand(&cobra.Command{Use: "probe", RunE: func(*cobra.Command, []string) error {
			in.interrupt()
			return tt.err
		}})
		if code := f.execute(t.Context(), root, []string{"probe"}); code != exitInterrupted {
			t.Errorf("%s: exit code %d", tt.name, code)
		}
		equal(t, tt.name, b.err.String(), tt.stderr)
		in.stop()
	}
}
