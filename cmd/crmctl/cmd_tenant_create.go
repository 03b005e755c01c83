package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// tenantCreateOptions are the options of `crmctl tenant create`.
type tenantCreateOptions struct {
	names       []string
	displayName string
	from        string
	count       int
	first       int
	template    string
	tablespace  string
	role        bool
	roleGiven   bool // --role was, which wins over the configuration
	ifNotExists bool
	to          int64
	fromHistory bool
	noPool      bool
	node        string
	concurrency int
	lockTimeout time.Duration
	dryRun      bool
}

func (o *tenantCreateOptions) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.displayName, "display-name", "", "`NAME` shown to people, for a single tenant")
	fs.StringVar(&o.from, "from", "", "also the tenants named in `FILE`: a name a line, or name,display name; CSV where "+
		"it ends in .csv; - for stdin")
	fs.IntVar(&o.count, "count", 0, "make `N` tenants of the one name, with a number for %d or %03d in it, or at its end")
	fs.IntVar(&o.first, "first", 1, "with --count, begin with the number `N`")
	fs.StringVar(&o.template, "template", "", "copy the settings of the tenant `NAME`")
	addTablespaceFlag(fs, &o.tablespace, "where the database makes them; remembered for what comes later")
	fs.BoolVar(&o.role, "role", false, "give each a database role of its own, named after the schema (default: the "+
		"configuration's tenant_roles)")
	fs.BoolVar(&o.ifNotExists, "if-not-exists", false, "leave a tenant alone that is there already")
	fs.Int64Var(&o.to, "to", 0, "build the schema at `VERSION` instead of the newest")
	fs.BoolVar(&o.fromHistory, "from-history", false,
		"go through the migrations one by one instead of using their final shape; takes nothing from the pool")
	fs.BoolVar(&o.noPool, "no-pool", false, "take no schema from the pool")
	fs.StringVar(&o.node, "node", "", "have them stand on this node of a Citus cluster, `HOST:PORT` as \"crmctl cluster "+
		"nodes\" shows it")
	addConcurrencyFlag(fs, &o.concurrency)
	addLockTimeoutFlag(fs, &o.lockTimeout)
	addDryRunFlag(fs, &o.dryRun)
	addExpectDatabaseFlag(fs)
}

func newTenantCreateCmd(f *factory) *cobra.Command {
	opts := &tenantCreateOptions{}
	cmd := &cobra.Command{
		Use:   "create NAME...",
		Short: "provision tenants, each whole or not at all",
		Long: `Create tenants. Registry row, schema, every migration and the audit row are one transaction
a tenant: it is whole afterwards, or absent. Where the migrations need several (an enum's value that
a later file uses, a CALL that commits), the last makes it a tenant.

The name becomes lower case, and everything but letters and digits becomes a hyphen: "Tech
Startup" is tech-startup, its schema tenant_tech_startup. Two names that become the same are
an error.

Where the migrations are many, a new schema is built from their final shape, which costs what
the schema is and not how it came to be. It is found out once (the migrations are run and rolled
back) and proved to be the same, object by object and row by row; where it cannot be, the
migrations are run one by one and the reason is said once (each time with -v). A schema that "tenant pool fill" has made
ready is taken first.

With --role, or tenant_roles: true in the configuration, a tenant gets a database role named
after its schema. It may not log in; it reads and writes the tenant's tables, those of later
migrations too, and has nothing to do with any other. Suspending or deleting the tenant takes
the schema away from it. Making it needs a session that may create roles.

A Citus cluster makes tenants on its nodes in turn. With --node each is moved to that one once it is
there, a second or two a tenant; what was cut short goes on with --if-not-exists, which then moves
those that stand elsewhere.`,
		Example: `crmctl tenant create acme-corp "Tech Startup"
crmctl tenant create globex --display-name "Globex Corp." --if-not-exists
crmctl tenant create --from names.csv --template acme-corp --concurrency 8
crmctl tenant create customer-%03d --count 50 --role
crmctl tenant create big-corp --tablespace fast`,
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.names, opts.roleGiven = args, cmd.Flags().Changed("role")
			return runTenantCreate(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(cmd.Flags())
	cli.RegisterCompletion(cmd, "template", completeTenants(f))
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runTenantCreate(ctx context.Context, f *factory, opts *tenantCreateOptions) error {
	cfg, err := f.config()
	if err != nil {
		return err
	}
	if !opts.roleGiven {
		opts.role = cfg.TenantRoles
	}
	specs, err := opts.specs(f)
	if err != nil {
		return err
	}
	settings := ""
	if opts.template != "" {
		if settings, err = registry.Slug(opts.template); err != nil {
			return fmt.Errorf("--template: %w", err)
		}
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	result, err := a.CreateTenants(ctx, app.CreateOptions{
		Specs: specs, Settings: settings, IfNotExists: opts.ifNotExists, To: opts.to, FromHistory: opts.fromHistory,
		NoPool: opts.noPool, Tablespace: opts.tablespace, Node: opts.node,
		Concurrency: opts.concurrency, LockTimeout: opts.lockTimeout, DryRun: opts.dryRun,
	})
	switch {
	case err != nil:
		return err
	case opts.dryRun:
		return printDryCreate(f, p, result.Created)
	}
	return reportCreated(f, p, result)
}

// manyTenants is from how many on a run shows its progress and a last line.
const manyTenants = 5

// createdRow is what became of one tenant.
type createdRow struct {
	result   string
	tenant   registry.Tenant
	duration time.Duration
	err      error // why there is none; in answers for programs alone
}

func createdList(f *factory) cli.List[createdRow] {
	return cli.List[createdRow]{
		Plural: "tenants",
		Columns: documented([]cli.Column[createdRow]{
			{Name: "result", Value: func(r createdRow) any { return cli.Styled{Value: r.result, Color: resultColor(r.result)} }},
			{Name: "tenant", Value: func(r createdRow) any { return r.tenant.Slug }},
			{Name: "schema", Value: func(r createdRow) any { return r.tenant.Schema.String() }},
			{Name: "schema_version", Value: func(r createdRow) any {
				return cli.Either{Human: fmt.Sprintf("version %d", r.tenant.Version), Machine: r.tenant.Version}
			}},
			{Name: "seconds", Right: true, Value: func(r createdRow) any {
				if r.duration == 0 {
					return nil
				}
				return r.duration
			}},
			{Name: "error", Document: true, Optional: true, Value: func(r createdRow) any {
				if r.err == nil {
					return nil
				}
				return f.redact(f.withTarget(r.err).Error())
			}},
			{Name: "sqlstate", Document: true, Optional: true, Value: func(r createdRow) any { return db.SQLState(r.err) }},
		}, func(r createdRow) registry.Tenant { return r.tenant }),
		Name:     func(r createdRow) string { return r.tenant.Slug },
		NoHeader: true,
	}
}

func resultColor(result string) cli.Color {
	switch result {
	case "created", "migrated", "restored":
		return cli.Green
	case "exists", "unchanged":
		return cli.Dim
	}
	return cli.Plain
}

// What became of a tenant that is not there.
const (
	resultFailed     = "failed"
	resultNotStarted = "not started"
)

func reportCreated(f *factory, p *cli.Printer, done app.CreateResult) error {
	var rows, missing []createdRow
	for i, r := range done.Results {
		c := done.Created[i]
		switch {
		case r.State == fleet.NotStarted:
			missing = append(missing, createdRow{resultNotStarted, c.Tenant, 0, r.Err})
		case r.State == fleet.Failed:
			missing = append(missing, createdRow{resultFailed, c.Tenant, 0, r.Err})
		case c.Existed:
			rows = append(rows, createdRow{"exists", c.Tenant, 0, nil})
		default:
			rows = append(rows, createdRow{"created", c.Tenant, r.Duration, nil})
		}
	}
	f.sayFailures(done.Results, func(i int) string { return done.Created[i].Tenant.Slug }, createHint)
	if !p.IsTable() {
		rows = append(rows, missing...)
	}
	if err := cli.PrintList(p, createdList(f), rows); err != nil {
		return err
	}
	s := done.Summary()
	if s.Items > manyTenants {
		f.Note("%s", runLine(s, done.Elapsed))
	}
	return f.end(runEnd{Summary: s, did: "created", more: []string{"--if-not-exists"}, alone: createHint})
}

func cmpErr(a, b error) error {
	if a != nil {
		return a
	}
	return b
}

// createHint adds the next step to the refusal of a single tenant.
func createHint(err error) error {
	if moved, is := errors.AsType[*app.NotMovedError](err); is {
		return cli.WithHint(err, "move it", "crmctl tenant move "+moved.Slug+" --to "+moved.Node)
	}
	var exists *registry.ExistsError
	if !errors.As(err, &exists) {
		return err
	}
	switch exists.Status {
	case registry.Deleted:
		return cli.WithHint(err, "bring it back", "crmctl tenant undelete "+exists.Slug)
	case "":
		return err
	}
	return cli.WithHint(err, "see it", "crmctl tenant show "+exists.Slug)
}

// printDryCreate says what would happen.
func printDryCreate(f *factory, p *cli.Printer, would []tenant.Created) error {
	rows := make([]createdRow, len(would))
	for i, c := range would {
		rows[i] = createdRow{result: "would create", tenant: c.Tenant}
		if c.Existed {
			rows[i].result = "exists"
		}
	}
	return cli.PrintList(p, createdList(f), rows)
}
