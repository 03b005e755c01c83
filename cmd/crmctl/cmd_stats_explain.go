package main

import (
	"context"
	"errors"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
)

// statsExplainOptions are the options of `crmctl stats explain`.
type statsExplainOptions struct {
	selection

	name             string
	statement        string
	all              bool
	analyze          bool
	concurrency      int
	statementTimeout time.Duration
}

// take reads the arguments: a tenant, unless flags say which, and the statement.
func (o *statsExplainOptions) take(args []string) error {
	picked := o.all || len(o.tenants) > 0 || o.from != ""
	switch {
	case picked && len(args) == 1:
		o.statement = args[0]
	case picked:
		return cli.Usagef("want one argument beside --all-tenants or --tenant: the statement, in quotes")
	case len(args) == 2:
		o.name, o.statement = args[0], args[1]
	default:
		return cli.Usagef("want a tenant and a statement in quotes, or --all-tenants and a statement")
	}
	return nil
}

func newStatsExplainCmd(f *factory) *cobra.Command {
	opts := &statsExplainOptions{}
	cmd := &cobra.Command{
		Use:   "explain [TENANT] STATEMENT",
		Short: "how a tenant, or the fleet, runs a statement, and what would help",
		Long: `Show the plan of a statement in a tenant's schema: EXPLAIN, in a read-only transaction that is
rolled back, with the search path and the role that "tenant exec" has. With --all-tenants, or
--tenant 'a*', tenants whose plans have the same shape are one entry, and below each it is said
what its tenants have otherwise than most: no such index, never analyzed, other sizes.

Conditions that are tried on every row of a table of 10,000 rows and more get a suggestion: a
pattern index for like 'name@%', an index on reverse() or pg_trgm for '%@company.com', which no
pattern index serves. The statements are for a migration; nothing is made.

--analyze runs the statement and measures, where it only reads. With parameters ($1) the plan is
the one for any values, as prepared statements get it. The statement - is read from stdin.

What it costs: a plan for each tenant, with the locks of a reader; a statement that runs is
cancelled after --statement-timeout. A tenant whose tables are locked fails after 500 ms.`,
		Example: `crmctl stats explain acme "select * from contacts where email like 'ada@%'"
crmctl stats explain acme 'select * from contacts where email = $1'
crmctl stats explain acme --analyze 'select count(*) from contacts'
crmctl stats explain --all-tenants 'select * from contacts where name is null'`,
		Args: func(cmd *cobra.Command, args []string) error { return opts.take(args) },
		ValidArgsFunction: func(cmd *cobra.Command, args []string, prefix string) ([]cobra.Completion,
			cobra.ShellCompDirective) {
			return completeOne(f)(cmd, args, prefix)
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return runStatsExplain(cmd.Context(), f, opts) },
	}
	opts.addFlags(f, cmd)
	fs := cmd.Flags()
	fs.BoolVar(&opts.all, "all-tenants", false, "every tenant that is not deleted")
	fs.BoolVar(&opts.analyze, "analyze", false, "run the statement and measure; it may only read")
	addConcurrencyFlag(fs, &opts.concurrency)
	fs.Var(newDuration(&opts.statementTimeout, config.Default(config.KeyStatementTimeout)), "statement-timeout",
		"cancel the statement after this `DURATION`, 0 for never; 30s unless it is set here or in the configuration")
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runStatsExplain(ctx context.Context, f *factory, opts *statsExplainOptions) error {
	if opts.name != "" {
		opts.tenants = []string{opts.name}
	}
	m, err := opts.read(f)
	if err != nil {
		return err
	}
	if opts.statement == "-" {
		read, err := f.ReadInput("-")
		if err != nil {
			return cli.InputError(err)
		}
		opts.statement = string(read)
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	f.Reads.Store(true)
	// Of a run over tenants that changes nothing no failure is a lack of --write.
	run := execPrinter{f: f, p: p, o: &tenantExecOptions{write: true}}
	found, err := a.Explain(ctx, app.ExplainOptions{Selection: m, SQL: opts.statement, Analyze: opts.analyze,
		Concurrency: opts.concurrency, StatementTimeout: opts.statementTimeout, Unwatched: run.isProgress(),
		Skip: f.skipInvalid})
	if bad, is := errors.AsType[*app.ScriptError](err); is {
		return cli.Usagef("%s", bad)
	}
	if err != nil {
		return err
	}
	s := explainScreen{p: p, found: found}
	if len(found.Groups) > 0 {
		if err := s.print(); err != nil {
			return err
		}
	}
	if !p.Terminal || !p.IsTable() {
		f.noteLines(s.notes())
	}
	run.sayFailures(found.Outcomes)
	return f.end(runEnd{Summary: found.Summary()})
}
