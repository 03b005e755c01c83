package main

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
)

func TestInterruptedExitCode(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name   string
		err    error
		stderr string
	}{
		{"the command noticed", context.Canceled, "crmctl: interrupted\n"},
		{"a statement was cancelled", fmt.Errorf("read: %w", &pgconn.PgError{Code: "57014",
			Message: "canceling statement due to user request"}), "crmctl: interrupted\n"},
		{"with its own summary", cli.ExitWith(cli.ExitPartial), "crmctl: interrupted\n"},
		{"done", nil, "crmctl: interrupted\n"},
		{"something else", errors.New("the disk is full"), "crmctl: interrupted\ncrmctl: the disk is full\n"},
	} {
		b := newBench(t)
		_, in := cli.WatchInterrupts(t.Context())
		f := newFactory(b.Streams, in)
		root := newRootCmd(f)
		root.AddCommand(&cobra.Command{Use: "probe", RunE: func(*cobra.Command, []string) error {
			in.Interrupt()
			return tt.err
		}})
		if code := f.execute(t.Context(), root, []string{"probe"}); code != cli.ExitInterrupted {
			t.Errorf("%s: exit code %d", tt.name, code)
		}
		equal(t, tt.name, b.err.String(), tt.stderr)
		in.Stop()
	}
}
