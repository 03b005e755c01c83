package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/maintain"
)

func newMaintenanceCmd(f *factory) *cobra.Command {
	return cli.NewGroup("maintenance", "vacuum, analyze and reindex the tenants' tables",
		newMaintainCmd(f, maintain.Vacuum, "make room of dead rows",
			`A table that autovacuum has not come to is vacuumed when it should be; --only-needed leaves alone
those below autovacuum's thresholds. --freeze puts off the end of the transaction ids.`,
			"crmctl maintenance vacuum --only-needed\ncrmctl maintenance vacuum --tenant 'acme*' --table contacts --analyze\n"+
				"crmctl maintenance vacuum --concurrency 2 --rate-limit 5 --deadline 2h\ncrmctl maintenance vacuum --resume"),
		newMaintainCmd(f, maintain.Analyze, "tell the planner what is in the tables",
			`Tables are sampled anew, for a planner that goes by what was there long ago. --only-needed leaves
alone those below autovacuum's thresholds.`,
			"crmctl maintenance analyze --only-needed\ncrmctl maintenance analyze --table contacts"),
		newMaintainCmd(f, maintain.Reindex, "build the indexes anew, without locking out writes",
			`Indexes are built anew CONCURRENTLY beside the old ones, which need the room meanwhile. Each waits for
the transactions that are older, up to --lock-timeout. Indexes that a reindex before had to leave
behind, named _ccnew or _ccold and not valid, are dropped first. It wants a connection past a
pooler: direct_database_url.`,
			"crmctl maintenance reindex --tenant acme-corp\ncrmctl maintenance reindex --table contacts --rate-limit 1"),
	)
}

// maintenanceOptions are the options of `crmctl maintenance`.
type maintenanceOptions struct {
	selection

	action           maintain.Action
	tables           []string
	onlyNeeded       bool
	analyze, freeze  bool
	resume           bool
	dryRun           bool
	concurrency      int
	rate             float64
	deadline         time.Duration
	attempts         int
	maxFailures      string
	failFast         bool
	lockTimeout      time.Duration
	statementTimeout time.Duration
}

func newMaintainCmd(f *factory, action maintain.Action, short, about, examples string) *cobra.Command {
	opts := &maintenanceOptions{action: action}
	cmd := &cobra.Command{
		Use:   string(action),
		Short: short,
		Long: fmt.Sprintf(`%s the tables of the tenants that are not deleted: table by table, each a statement of its own
outside of a transaction, a tenant at a time unless --concurrency says more.

%s

A locked table does not hold up the others: it is passed by and the tenant tried again later. What
this role may not %s is told as failed (exit code 3). The run stands in "crmctl migrate runs";
where it was cut short, --resume goes on with the tenants that are left. The first Ctrl-C lets the
tenants under way finish, the second cancels them.`, strings.ToUpper(string(action[:1]))+string(action[1:]), about,
			action),
		Example: examples,
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.validate(); err != nil {
				return err
			}
			return runMaintenance(cmd.Context(), f, opts)
		},
	}
	opts.selection.addFlags(f, cmd)
	fs := cmd.Flags()
	fs.StringSliceVar(&opts.tables, "table", nil, "only these tables: `NAMES` or patterns")
	if action != maintain.Reindex {
		fs.BoolVar(&opts.onlyNeeded, "only-needed", false, "only tables past autovacuum's thresholds")
	}
	if action == maintain.Vacuum {
		fs.BoolVar(&opts.analyze, "analyze", false, "analyze the tables too")
		fs.BoolVar(&opts.freeze, "freeze", false, "freeze all rows")
	}
	fs.BoolVar(&opts.resume, "resume", false, "only the tenants that the latest such run has not done")
	fs.Var(&concurrencyValue{&opts.concurrency}, "concurrency", "work on `N` tenants at once, one connection each")
	opts.concurrency = 1
	fs.Lookup("concurrency").DefValue = "1"
	fs.Float64Var(&opts.rate, "rate-limit", 0, "begin at most `N` tenants a second")
	fs.Var(newDuration(&opts.deadline, "0"), "deadline", "begin no other tenant after this `DURATION`")
	fs.IntVar(&opts.attempts, "retries", fleet.DefaultAttempts-1, "try a busy tenant `N` times again")
	fs.StringVar(&opts.maxFailures, "max-failures", "", "begin no other tenant once more than `N`, or N%, have failed")
	fs.BoolVar(&opts.failFast, "fail-fast", false, "begin no other tenant once one has failed")
	addLockTimeoutFlag(fs, &opts.lockTimeout)
	addStatementTimeoutFlag(fs, &opts.statementTimeout)
	addDryRunFlag(fs, &opts.dryRun)
	addExpectDatabaseFlag(fs)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitStopped, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func (o *maintenanceOptions) stopAfter(n int) (int, error) {
	return (&runPolicy{failFast: o.failFast, maxFailures: o.maxFailures}).stopAfter(n)
}

func (o *maintenanceOptions) validate() error {
	switch {
	case o.attempts < 0:
		return cli.Usagef("--retries %d: want 0 or more", o.attempts)
	case !(o.rate >= 0 && o.rate < 1e9):
		return cli.Usagef("--rate-limit %v: want tenants a second", o.rate)
	case o.failFast && o.maxFailures != "":
		return cli.Usagef("--fail-fast is --max-failures 0: give one of them")
	}
	_, err := o.stopAfter(100)
	return err
}

func runMaintenance(ctx context.Context, f *factory, opts *maintenanceOptions) error {
	m, err := opts.read(f)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	done, err := a.Maintain(ctx, app.MaintainOptions{
		Selection: m, Action: opts.action, Analyze: opts.analyze, Freeze: opts.freeze, Tables: opts.tables,
		OnlyNeeded: opts.onlyNeeded, Resume: opts.resume, DryRun: opts.dryRun, Concurrency: opts.concurrency,
		Attempts: opts.attempts + 1, Rate: opts.rate, Deadline: opts.deadline,
		StopAfter: func(n int) int {
			most, _ := opts.stopAfter(n) // validated
			return most
		},
		LockTimeout: opts.lockTimeout, StatementTimeout: opts.statementTimeout,
	})
	s := maintenanceScreen{f: f, p: p, o: opts, done: done}
	switch {
	case done.Report == nil && err != nil:
		return s.hint(err)
	case done.Report == nil:
		return s.plan()
	}
	if printErr := s.print(); printErr != nil {
		return printErr
	}
	if err != nil {
		return err
	}
	return s.end()
}
