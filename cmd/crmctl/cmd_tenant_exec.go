package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
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

// readTimeout is --statement-timeout where nobody has set it and nothing is written.
const readTimeout = 30 * time.Second

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

// script reads the SQL; it does not connect.
func (o *tenantExecOptions) script(f *factory) (text string, script []db.Statement, err error) {
	text, name := o.command, ""
	if o.file != "" {
		if name = o.file; name == "-" {
			name = "stdin"
		}
		read, err := f.ReadInput(o.file)
		if err != nil {
			return "", nil, cli.InputError(err)
		}
		text = strings.TrimPrefix(string(read), "\ufeff")
	}
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return "", nil, cli.Usagef("the SQL is not text in UTF-8")
	}
	script, err = migrate.Script(name, text)
	switch {
	case err != nil:
		return "", nil, cli.WithCode(err, cli.ExitUsage)
	case len(script) == 0:
		return "", nil, cli.Usagef("there is no SQL statement in it")
	}
	return text, script, nil
}

func runTenantExec(ctx context.Context, f *factory, opts *tenantExecOptions) error {
	text, script, err := opts.script(f)
	if err != nil {
		return err
	}
	s := opts.selection
	if len(opts.names) > 0 {
		s.tenants = opts.names
	}
	m, err := s.read(f)
	if err != nil {
		return err
	}
	p, err := f.printer()
	if err != nil {
		return err
	}
	if opts.write {
		if err := f.beforeChange(ctx, opts.dryRun); err != nil {
			return err
		}
	}
	conn, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	tenants, err := f.tenants(ctx, conn, m, registry.Active, registry.Suspended)
	if err != nil {
		return err
	}
	if opts.write && !opts.suspended {
		if err := f.refuseSuspended(tenants); err != nil {
			return err
		}
	}
	o, err := opts.options(f, text, len(tenants))
	if err != nil {
		return err
	}
	if o.Path, err = f.tenantPath(ctx, conn, script); err != nil {
		return err
	}
	if opts.write && !opts.dryRun && len(tenants) > 0 {
		if err := confirmExec(ctx, f, text, script, tenants); err != nil {
			return err
		}
	}
	return opts.run(ctx, f, p, conn, tenants, script, o)
}

// refuseSuspended is an error where some of the tenants that are to be changed are
// suspended. Neither to write to them nor to pass them by goes without saying.
func (f *factory) refuseSuspended(tenants []registry.Tenant) error {
	var shut []string
	for _, t := range tenants {
		if t.Status == registry.Suspended {
			shut = append(shut, t.Slug)
		}
	}
	switch {
	case len(shut) == 0:
		return nil
	case len(tenants) == 1:
		return &cli.Error{
			Err: &registry.StateError{Slug: shut[0], State: registry.Suspended},
			Hints: []cli.Hint{{Label: "open it", Command: "crmctl tenant activate " + shut[0]},
				{Label: "or write to it as it is", Command: "--suspended"}},
		}
	}
	some := shut[:min(len(shut), 3)]
	names, verb := strings.Join(some, ", "), "are"
	if len(some) < len(shut) {
		names += ", ..."
	}
	if len(shut) == 1 {
		verb = "is"
	}
	return &cli.Error{
		Err: fmt.Errorf("%s of %s %s suspended (%s); nothing was run", cli.HumanCount(int64(len(shut))),
			cli.Plural(len(tenants), "tenant"), verb, names),
		Hints: []cli.Hint{{Label: "write to them too", Command: "--suspended"},
			{Label: "or leave them out", Command: "--exclude " + strings.Join(some, ",")}},
	}
}

func confirmExec(ctx context.Context, f *factory, text string, script []db.Statement, tenants []registry.Tenant) error {
	target, err := f.target()
	if err != nil {
		return err
	}
	what := firstCharacters(oneLine(text), 60)
	if len(script) > 1 {
		what = cli.Plural(len(script), "statement")
	}
	where := cli.Plural(len(tenants), "tenant")
	if len(tenants) == 1 {
		where = tenants[0].Slug
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

// options returns what the library takes for a run over n tenants.
func (o *tenantExecOptions) options(f *factory, text string, n int) (tenantsql.Options, error) {
	cfg, err := f.config()
	if err != nil {
		return tenantsql.Options{}, err
	}
	stopAfter, err := o.stopAfter(n)
	if err != nil {
		return tenantsql.Options{}, err
	}
	out := tenantsql.Options{
		Trusted:     cfg.TrustedOwners,
		LockTimeout: o.lockTimeout, StatementTimeout: o.statementTimeout, Write: o.write, DryRun: o.dryRun,
		// One that is suspended meanwhile is written to all the same: what mends a fleet
		// must not pass it by because of a moment.
		Registry: f.registry(), Hold: f.registry().QueueHoldUndeleted, Audit: f.execAudit(text),
		Committed: func(ctx context.Context, q db.Querier, e tenantsql.Event) (bool, error) {
			return f.registry().Ran(ctx, q, e.Tenant.ID, registry.ActionExec, e.Token)
		},
		Fleet: fleet.Options{Concurrency: o.concurrency, Attempts: o.attempts + 1, StopAfter: stopAfter},
	}
	if !o.write && cfg.Setting(config.KeyStatementTimeout).Origin == "default" {
		out.StatementTimeout = readTimeout
	}
	if o.write {
		out.Fleet.Drain = f.Drain()
	}
	return out, err
}

// run carries the statements out and prints what they give.
func (o *tenantExecOptions) run(ctx context.Context, f *factory, p *cli.Printer, conn *pgx.Conn,
	tenants []registry.Tenant, script []db.Statement, lib tenantsql.Options) error {
	begun := f.Now()
	out := execPrinter{f: f, p: p, o: o}
	// Rows that come by on a terminal are progress enough.
	var bar *cli.Progress
	if len(tenants) > manyTenants && (!p.Terminal || p.IsTable()) {
		bar = f.NewProgress(cli.ProgressOptions{Verb: "exec", Total: int64(len(tenants))})
		lib.Fleet.Observer = fleetProgress{bar: bar, name: func(i int) string { return tenants[i].Slug }}
		out.bar = bar
	}
	report, err := tenantsql.Run(ctx, fleet.Reuse(conn, f.connect), tenants, script, lib, out.show)
	if bar != nil {
		bar.Finish()
	}
	if err != nil {
		return err
	}
	return out.finish(report, f.Now().Sub(begun))
}

// execAudit returns what adds the audit row of a change: the statements' SHA-256 and
// how they begin, since they may hold what the audit should not.
func (f *factory) execAudit(text string) func(*db.Pipeline, tenantsql.Event) error {
	const beginning = 200
	sum := sha256.Sum256([]byte(text))
	return func(p *db.Pipeline, e tenantsql.Event) error {
		return f.registry().QueueEvent(p, registry.Event{
			TenantID: e.Tenant.ID, Slug: e.Tenant.Slug, Action: registry.ActionExec, Actor: f.actor(), Program: programName(),
			Detail: map[string]any{
				"sha256": hex.EncodeToString(sum[:]), "statement": firstCharacters(text, beginning),
				"rows": e.Affected, "run": e.Token,
			},
		})
	}
}
