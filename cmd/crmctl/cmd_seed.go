package main

import (
	"context"
	"errors"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/crm"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/planted"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
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
		Short: "a sample tenant with contacts, conversations and messages",
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

// errHasContacts keeps a seed from mixing with somebody's data.
var errHasContacts = errors.New("the tenant has contacts already; nothing was done")

func runSeed(ctx context.Context, f *factory, opts *seedOptions) error {
	slug, err := registry.Slug(opts.tenant)
	if err != nil {
		return err
	}
	cfg, err := f.config()
	if err != nil {
		return err
	}
	p, conn, err := f.openToChange(ctx, opts.dryRun)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	a, err := f.app()
	if err != nil {
		return err
	}
	if err := a.EnsureTenant(ctx, conn, tenant.Spec{Slug: slug, DisplayName: opts.tenant, Role: cfg.TenantRoles},
		opts.dryRun); err != nil {
		return err
	}
	if opts.dryRun {
		return drySeed(ctx, f, p, conn, cfg, slug, opts)
	}
	t, err := f.registry().Get(ctx, conn, slug)
	if err != nil {
		return err
	}
	result, err := seedTenantData(ctx, f, conn, t, opts)
	if f.WasInterrupted() && f.cutShort(err) {
		return f.stopped("tenant " + slug + " is there, nothing was put into it")
	}
	if err != nil {
		return err
	}
	return cli.PrintObject(p, cli.Object{
		Kind: "seed", Name: slug,
		Fields: []cli.Field{
			{Name: "tenant", Value: slug},
			{Name: "contacts", Value: result.Contacts},
			{Name: "conversations", Value: result.Conversations},
			{Name: "messages", Value: result.Messages},
		},
	})
}

// drySeed says what would happen. Nothing is written, not even to be rolled back.
func drySeed(ctx context.Context, f *factory, p *cli.Printer, conn *pgx.Conn, cfg *config.Config, slug string,
	opts *seedOptions) error {
	result := "would fill"
	t, err := f.registry().Get(ctx, conn, slug)
	switch {
	case errors.Is(err, registry.ErrNotFound):
		result = "would create and fill"
	case err != nil:
		return err
	case t.Status != registry.Active:
		return &registry.StateError{Slug: slug, State: t.State()}
	default:
		filled := false
		err := db.InTx(ctx, conn, db.Locals{Schema: t.Schema}, func(ctx context.Context, q db.Querier) error {
			if err := (&planted.Guard{Trusted: cfg.TrustedOwners}).Check(ctx, q, t.Schema); err != nil {
				return err
			}
			return q.QueryRow(ctx, `select exists (select from `+t.Schema.Quoted()+`.contacts)`).Scan(&filled)
		})
		if err == nil && filled {
			err = errHasContacts
		}
		if err != nil {
			return err
		}
	}
	return cli.PrintObject(p, cli.Object{
		Kind: "seed", Name: slug,
		Fields: []cli.Field{{Name: "result", Value: result}, {Name: "tenant", Value: slug},
			{Name: "contacts", Value: opts.contacts}, {Name: "dry_run", Document: true, Value: true}},
	})
}

func seedTenantData(ctx context.Context, f *factory, conn *pgx.Conn, t registry.Tenant,
	opts *seedOptions) (crm.SeedResult, error) {
	cfg, err := f.config()
	if err != nil {
		return crm.SeedResult{}, err
	}
	var result crm.SeedResult
	path, err := f.tenantPath(ctx, conn, nil)
	if err != nil {
		return crm.SeedResult{}, err
	}
	locals := db.Locals{Schema: t.Schema, Path: path, EveryRow: true, Tenant: f.registry().Row(t.ID), Wait: true,
		LockTimeout: cfg.LockTimeout, StatementTimeout: cfg.StatementTimeout, Follow: true}
	err = db.InTx(ctx, conn, locals, func(ctx context.Context, q db.Querier) error {
		if err := f.registry().HoldOpen(ctx, q, t); err != nil {
			return err
		}
		var lock db.Pipeline
		in := t.Schema.Quoted() + "."
		lock.Exec("lock table " + in + "contacts, " + in + "conversations, " + in + "messages in row exclusive mode")
		if err := lock.Run(ctx, q); err != nil {
			return err
		}
		if err := (&planted.Guard{Trusted: cfg.TrustedOwners}).Check(ctx, q, t.Schema); err != nil {
			return err
		}
		var filled bool
		if err := q.QueryRow(ctx, `select exists (select from `+t.Schema.Quoted()+`.contacts)`).Scan(&filled); err != nil {
			return err
		}
		if filled {
			return errHasContacts
		}
		var err error
		if result, err = crm.Seed(ctx, q, crm.SeedOptions{Schema: t.Schema, Contacts: opts.contacts, RandSeed: opts.seed,
			Now: f.Now}); err != nil {
			return err
		}
		var p db.Pipeline
		// What asks the statistics next, stats sizes say, shall not see nothing.
		p.Exec("analyze " + t.Schema.Quoted() + ".contacts")
		if err := f.registry().QueueEvent(&p, registry.Event{
			TenantID: t.ID, Slug: t.Slug, Action: registry.ActionSeed, Actor: f.actor(), Program: programName(),
			Detail: map[string]any{"contacts": result.Contacts, "seed": opts.seed},
		}); err != nil {
			return err
		}
		return p.Run(ctx, q)
	})
	return result, err
}
