package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
)

// seedOptions are the options of `crmctl seed`.
type seedOptions struct {
	tenant   string
	contacts int
	seed     uint64
	dryRun   bool
}

const (
	seedTenant   = "sample"
	seedContacts = 200
	maxSeed      = 1_000_000
)

func newSeedCmd(f *factory) *cobra.Command {
	opts := &seedOptions{}
	cmd := &cobra.Command{
		Use:   "seed",
		Short: "a sample tenant with contacts and conversations",
		Long: `Create a sample tenant and fill it with believable contacts, conversations and messages. The
same --seed makes the same data. A tenant that is there already is filled only when it has no
contacts.`,
		Example: "crmctl seed\ncrmctl seed --tenant load-test --contacts 50000",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.contacts < 1 || opts.contacts > maxSeed {
				return cli.Usagef("--contacts %d: want 1 to %s", opts.contacts, cli.HumanCount(maxSeed))
			}
			return runSeed(cmd.Context(), f, opts)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&opts.tenant, "tenant", seedTenant, "the `TENANT` to create and fill")
	fs.IntVar(&opts.contacts, "contacts", seedContacts, "make `N` contacts")
	fs.Uint64Var(&opts.seed, "seed", 1, "start the random numbers with `N`")
	addDryRunFlag(fs, &opts.dryRun)
	addExpectDatabaseFlag(fs)
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked)
	return cmd
}

func runSeed(ctx context.Context, f *factory, opts *seedOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	done, err := a.SeedTenant(ctx, app.SeedOptions{Tenant: opts.tenant, Contacts: opts.contacts, RandSeed: opts.seed,
		DryRun: opts.dryRun})
	switch {
	case done.There && f.WasInterrupted() && f.cutShort(err):
		return f.stopped("tenant " + done.Slug + " is there, nothing was put into it")
	case err != nil:
		return err
	case opts.dryRun:
		return cli.PrintObject(p, wouldSeedObject(done, opts))
	}
	return cli.PrintObject(p, cli.Object{
		Kind: "seed", Name: done.Slug,
		Fields: []cli.Field{
			{Name: "tenant", Value: done.Slug},
			{Name: "contacts", Value: done.Contacts},
			{Name: "conversations", Value: done.Conversations},
			{Name: "messages", Value: done.Messages},
		},
	})
}

// wouldSeedObject says what would happen.
func wouldSeedObject(would app.SeedResult, opts *seedOptions) cli.Object {
	result := "would fill"
	if would.Create {
		result = "would create and fill"
	}
	return cli.Object{
		Kind: "seed", Name: would.Slug,
		Fields: []cli.Field{{Name: "result", Value: result}, {Name: "tenant", Value: would.Slug},
			{Name: "contacts", Value: opts.contacts}, {Name: "dry_run", Document: true, Value: true}},
	}
}
