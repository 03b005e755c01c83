package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenantsql"
)

// tenantExecOptions are the options of `crmctl tenant exec`.
type tenantExecOptions struct {
	selection

	names            []string
	all              bool
	command          string
	file             string
	write            bool
	suspended        bool
	dryRun           bool
	aggregate        string
	concurrency      int
	attempts         int
	maxFailures      string
	failFast         bool
	lockTimeout      time.Duration
	statementTimeout time.Duration
}

func (o *tenantExecOptions) addOwnFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.all, "all", false, "over every tenant that is not deleted")
	fs.StringVarP(&o.command, "command", "c", "", "the `SQL` to run")
	fs.StringVarP(&o.file, "file", "f", "", "run the statements in `FILE`; - for stdin")
	fs.BoolVar(&o.write, "write", false, "let the statements change data, and commit them")
	fs.BoolVar(&o.suspended, "suspended", false, "with --write, change suspended tenants too")
	fs.Var(cli.NewEnum(&o.aggregate, "", aggregates()), "aggregate",
		"one row for all tenants: `FUNCTION` sum, avg, min, max or count of each column of numbers")
	addConcurrencyFlag(fs, &o.concurrency)
	fs.IntVar(&o.attempts, "retries", fleet.DefaultAttempts-1, "try a busy tenant `N` times again")
	fs.StringVar(&o.maxFailures, "max-failures", "", "begin no other tenant once more than `N`, or N%, have failed")
	fs.BoolVar(&o.failFast, "fail-fast", false, "begin no other tenant once one has failed")
	addLockTimeoutFlag(fs, &o.lockTimeout)
	fs.Var(newDuration(&o.statementTimeout, config.Default(config.KeyStatementTimeout)), "statement-timeout",
		"cancel a statement after this `DURATION`, 0 for never; 30s unless it is set here or in the configuration, or "+
			"--write is given")
	addDryRunFlag(fs, &o.dryRun)
	addExpectDatabaseFlag(fs)
}

func (o *tenantExecOptions) validate() error {
	picked := len(o.tenants) > 0 || o.from != ""
	switch {
	case o.command == "" && o.file == "":
		return cli.Usagef("no SQL to run: give -c 'SQL' or -f FILE")
	case o.command != "" && o.file != "":
		return cli.Usagef("-c and -f: give one of them")
	case o.file == "-" && o.from == "-":
		return cli.Usagef("--file and --tenants-from cannot both be stdin")
	case len(o.names) == 0 && !o.all && !picked:
		return cli.Usagef("no tenant to run it on: give names, --all or --tenant")
	case len(o.names) > 0 && (o.all || picked):
		return cli.Usagef("names do not go with --all, --tenant and --tenants-from")
	case o.attempts < 0:
		return cli.Usagef("--retries %d: want 0 or more", o.attempts)
	case o.failFast && o.maxFailures != "":
		return cli.Usagef("--fail-fast is --max-failures 0: give one of them")
	}
	_, err := o.stopAfter(100)
	return err
}

func (o *tenantExecOptions) stopAfter(n int) (int, error) {
	return (&runPolicy{failFast: o.failFast, maxFailures: o.maxFailures}).stopAfter(n)
}

func newTenantExecCmd(f *factory) *cobra.Command {
	opts := &tenantExecOptions{}
	cmd := &cobra.Command{
		Use:     "exec [TENANT...] -c SQL",
		Aliases: []string{"query"},
		Short:   "run SQL over one, some or all tenants",
		Long: `Run SQL over tenants, each in a transaction with its schema as the search path, and print the
rows of all of them with the tenant in the first column. "tenant query" is the same command.

Nothing can be changed unless --write is given: the transactions are read only, each reads one
snapshot, and a statement is cancelled after 30 seconds. With --write each tenant's statements
are one transaction, with a row in the audit; --dry-run runs them and rolls back. If one of the
tenants is suspended nothing is run, unless --suspended includes suspended tenants.

After the tenant's schema the search path has the same schemas as in migrations: those of
extensions, and shared_schemas.

Rows are printed tenant by tenant, in the order of names. A tenant's rows are printed when all
its statements have succeeded, so that a retry prints no row twice. Many rows that wait for
their turn go to a temporary file. Of several statements, the rows of the last are printed. All
tenants must return the columns of the first one; others fail. On a terminal, a row with more
columns than fit is printed one column a line; -o wide keeps each row on one line.

--aggregate computes one row from all, exactly. avg is the sum of all rows divided by their
number: over 'select count(*)' it is the average per tenant, over 'select avg(x)' an average
of averages.`,
		Example: `crmctl tenant exec acme-corp -c 'select email, name from contacts limit 10'
crmctl tenant query --all -c 'select count(*) from contacts' -o csv
crmctl tenant query --all -c 'select count(*) from contacts' --aggregate sum
crmctl tenant exec --tenant 'acme*' --write -f mend.sql
crmctl tenant exec --all --write -f mend.sql --dry-run`,
		ValidArgsFunction: completeTenants(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.names = args
			if err := opts.validate(); err != nil {
				return err
			}
			return runTenantExec(cmd.Context(), f, opts)
		},
	}
	opts.selection.addFlags(f, cmd)
	opts.addOwnFlags(cmd.Flags())
	cli.RegisterCompletion(cmd, "aggregate", cli.CompleteWords(aggregates()...))
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitStopped, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func aggregates() []string {
	var out []string
	for _, function := range tenantsql.Functions() {
		out = append(out, string(function))
	}
	return out
}

// text returns the SQL, and the name of its file for errors.
func (o *tenantExecOptions) text(f *factory) (name, text string, err error) {
	if o.file == "" {
		return "", o.command, nil
	}
	read, err := f.ReadInput(o.file)
	if name = o.file; name == "-" {
		name = "stdin"
	}
	return name, strings.TrimPrefix(string(read), "\ufeff"), cli.InputError(err)
}

func runTenantExec(ctx context.Context, f *factory, opts *tenantExecOptions) error {
	name, text, err := opts.text(f)
	if err != nil {
		return err
	}
	s := opts.selection
	if len(opts.names) > 0 {
		s.tenants = opts.names
	}
	chosen, err := s.read(f)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	out := execPrinter{f: f, p: p, o: opts}
	done, err := a.Exec(ctx, app.ExecOptions{
		Selection: chosen, Name: name, SQL: text, Write: opts.write, Suspended: opts.suspended, DryRun: opts.dryRun,
		Concurrency: opts.concurrency, Attempts: opts.attempts + 1,
		StopAfter: func(n int) int {
			most, _ := opts.stopAfter(n) // validated
			return most
		},
		LockTimeout: opts.lockTimeout, StatementTimeout: opts.statementTimeout, Unwatched: out.isProgress(),
		Confirm: func(plan app.ExecPlan) error { return confirmExec(ctx, f, text, plan) }, Show: out.show,
	})
	if err != nil {
		return execHint(err)
	}
	return out.finish(done)
}

// execHint adds the ways out where tenants are suspended.
func execHint(err error) error {
	e, is := errors.AsType[*app.SuspendedError](err)
	switch {
	case !is:
		return err
	case e.Tenants == 1:
		return &cli.Error{
			Err: &registry.StateError{Slug: e.Slugs[0], State: registry.Suspended},
			Hints: []cli.Hint{{Label: "open it", Command: "crmctl tenant activate " + e.Slugs[0]},
				{Label: "or write to it as it is", Command: "--suspended"}},
		}
	}
	some := e.Slugs[:min(len(e.Slugs), 3)]
	names, verb := strings.Join(some, ", "), "are"
	if len(some) < len(e.Slugs) {
		names += ", ..."
	}
	if len(e.Slugs) == 1 {
		verb = "is"
	}
	return &cli.Error{
		Err: fmt.Errorf("%s of %s %s suspended (%s); nothing was run", cli.HumanCount(int64(len(e.Slugs))),
			cli.Plural(e.Tenants, "tenant"), verb, names),
		Hints: []cli.Hint{{Label: "write to them too", Command: "--suspended"},
			{Label: "or leave them out", Command: "--exclude " + strings.Join(some, ",")}},
	}
}

func confirmExec(ctx context.Context, f *factory, text string, plan app.ExecPlan) error {
	target, err := f.target()
	if err != nil {
		return err
	}
	what := firstCharacters(oneLine(text), 60)
	if len(plan.Script) > 1 {
		what = cli.Plural(len(plan.Script), "statement")
	}
	where := cli.Plural(len(plan.Tenants), "tenant")
	if len(plan.Tenants) == 1 {
		where = plan.Tenants[0].Slug
	}
	return f.ConfirmYes(ctx, fmt.Sprintf("Run %s in %s of %s, and commit?", cli.Visible(what), cli.Visible(where),
		cli.Visible(target.Place())))
}

// firstCharacters cuts a text without cutting a character.
func firstCharacters(s string, n int) string {
	if runes := []rune(s); len(runes) > n {
		return string(runes[:n])
	}
	return s
}
