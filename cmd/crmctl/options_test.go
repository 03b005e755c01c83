package main

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/localpg"
)

// Every command's flags and arguments end up in its options as a whole.
func TestOptions(t *testing.T) {
	t.Parallel()

	t.Run("local start", func(t *testing.T) {
		t.Parallel()
		check := func(env, args string, want localStartOptions) {
			t.Helper()
			var got localStartOptions
			newBench(t).setenv(env).parse(t, func(f *factory) *cobra.Command {
				return newLocalStartCmd(f, func(_ context.Context, _ *factory, o *localStartOptions) error {
					got = *o
					return nil
				})
			}, strings.Fields(args)...)
			if got != want {
				t.Errorf("%s %s: got %+v, want %+v", env, args, got, want)
			}
		}
		check("", "start", localStartOptions{localOptions: localOptions{name: localpg.DefaultName}, wait: time.Minute})
		check("", "start --name trial --pg-bin /pg/bin --wait 2m",
			localStartOptions{localOptions: localOptions{name: "trial", pgBin: "/pg/bin"}, wait: 2 * time.Minute})
		check("CRMCTL_PG_BIN=/env/bin", "start", localStartOptions{localOptions: localOptions{name: localpg.DefaultName,
			pgBin: "/env/bin"}, wait: time.Minute})
		check("CRMCTL_PG_BIN=/env/bin", "start --pg-bin /pg/bin",
			localStartOptions{localOptions: localOptions{name: localpg.DefaultName, pgBin: "/pg/bin"}, wait: time.Minute})
	})

	t.Run("local stop", func(t *testing.T) {
		t.Parallel()
		check := func(args string, want localStopOptions) {
			t.Helper()
			var got localStopOptions
			newBench(t).parse(t, func(f *factory) *cobra.Command {
				return newLocalStopCmd(f, func(_ context.Context, _ *factory, o *localStopOptions) error {
					got = *o
					return nil
				})
			}, strings.Fields(args)...)
			if got != want {
				t.Errorf("%s: got %+v, want %+v", args, got, want)
			}
		}
		check("stop", localStopOptions{localOptions: localOptions{name: localpg.DefaultName}})
		check("stop --all", localStopOptions{localOptions: localOptions{name: localpg.DefaultName}, all: true})
		check("stop --name x", localStopOptions{localOptions: localOptions{name: "x"}})
	})

	t.Run("local status", func(t *testing.T) {
		t.Parallel()
		check := func(args string, want localStatusOptions) {
			t.Helper()
			var got localStatusOptions
			newBench(t).parse(t, func(f *factory) *cobra.Command {
				return newLocalStatusCmd(f, func(_ context.Context, _ *factory, o *localStatusOptions) error {
					got = *o
					return nil
				})
			}, strings.Fields(args)...)
			if got != want {
				t.Errorf("%s: got %+v, want %+v", args, got, want)
			}
		}
		check("status", localStatusOptions{localOptions: localOptions{name: localpg.DefaultName}})
		check("status --name default", localStatusOptions{localOptions: localOptions{name: localpg.DefaultName}, one: true})
	})

	t.Run("local reset", func(t *testing.T) {
		t.Parallel()
		check := func(env, args string, want localResetOptions) {
			t.Helper()
			var got localResetOptions
			newBench(t).setenv(env).parse(t, func(f *factory) *cobra.Command {
				return newLocalResetCmd(f, func(_ context.Context, _ *factory, o *localResetOptions) error {
					got = *o
					return nil
				})
			}, strings.Fields(args)...)
			if got != want {
				t.Errorf("%s %s: got %+v, want %+v", env, args, got, want)
			}
		}
		check("", "reset --confirm default", localResetOptions{localOptions: localOptions{name: localpg.DefaultName},
			confirm: "default"})
		check("CRMCTL_DRY_RUN=1", "reset --name x", localResetOptions{localOptions: localOptions{name: "x"}, dryRun: true})
	})

	t.Run("config show", func(t *testing.T) {
		t.Parallel()
		var got configShowOptions
		newBench(t).parse(t, func(f *factory) *cobra.Command {
			return newConfigShowCmd(f, func(_ context.Context, _ *factory, o *configShowOptions) error {
				got = *o
				return nil
			})
		}, "show", "--origin")
		if want := (configShowOptions{origin: true}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})

	t.Run("completion", func(t *testing.T) {
		t.Parallel()
		var got completionOptions
		newBench(t).parse(t, func(f *factory) *cobra.Command {
			return newCompletionCmd(f, func(_ context.Context, _ *cobra.Command, o *completionOptions) error {
				got = *o
				return nil
			})
		}, "completion", "fish", "--no-descriptions")
		if want := (completionOptions{shell: "fish", noDescriptions: true}); got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})

	t.Run("global", func(t *testing.T) {
		t.Parallel()
		var got globalFlags
		build := func(f *factory) *cobra.Command {
			return &cobra.Command{Use: "probe", RunE: func(*cobra.Command, []string) error {
				got = f.flags
				return nil
			}}
		}
		newBench(t).setenv("CRMCTL_OUTPUT=csv", "CRMCTL_MIGRATIONS_DIR=/sql").parse(t, build, "probe", "-qv", "--yes",
			"--debug", "--timeout", "90s",
			"--color=never", "--utc", "--database-url", "service=x", "--confirm-profile", "prod")
		want := globalFlags{databaseURL: "service=x", output: "csv", color: "never", migrationsDir: "/sql",
			registrySchema: "public", timeout: 90 * time.Second, utc: true,
			Switches: cli.Switches{Quiet: true, Verbose: true, Debug: true, Yes: true}, confirmProfile: "prod"}
		if got != want {
			t.Errorf("got %+v, want %+v", got, want)
		}
	})
}
