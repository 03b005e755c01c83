package cli

import (
	"context"
	"errors"
	"slices"
	"testing"
)

func TestFirstInterruptCancels(t *testing.T) {
	t.Parallel()
	ctx, in := WatchInterrupts(t.Context())
	defer in.Stop()
	in.Interrupt()
	if !errors.Is(context.Cause(ctx), ErrInterrupted) {
		t.Errorf("cause %v", context.Cause(ctx))
	}
}

func TestDrainThenCancel(t *testing.T) {
	t.Parallel()
	ctx, in := WatchInterrupts(t.Context())
	defer in.Stop()
	type said struct{ drains, again bool }
	var answers []said
	answer := func(drains, again bool) { answers = append(answers, said{drains, again}) }
	in.answer.Store(&answer)
	drain := in.drain()
	in.Interrupt()
	select {
	case <-drain:
	default:
		t.Error("the first interrupt does not drain")
	}
	if ctx.Err() != nil {
		t.Error("the first interrupt cancels")
	}
	in.Interrupt()
	if !errors.Is(context.Cause(ctx), ErrInterrupted) {
		t.Errorf("the second interrupt does not cancel: %v", context.Cause(ctx))
	}
	if want := []said{{true, false}, {false, true}}; !slices.Equal(answers, want) {
		t.Errorf("answers %v, want %v", answers, want)
	}
}
