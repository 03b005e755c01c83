package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// migrateStatusOptions are the options of `crmctl migrate status`.
type migrateStatusOptions struct {
	selection

	all         bool
	verify      bool
	alone       bool // --verify=false
	exitCode    bool
	lockTimeout time.Duration
}

func newMigrateStatusCmd(f *factory) *cobra.Command {
	opts := &migrateStatusOptions{}
	cmd := &cobra.Command{
		Use:   "status",
		Short: "which tenants are behind, and by what",
		Long: `Show which tenants have pending migrations. The versions are the registry's, which change in
the same transaction as the tenants' own. Where tenants were adopted, whose program may go on, each
says itself at which version it is (not with --verify=false). --verify asks every tenant's own
schema, and shows where the two differ: one restored from a backup, migrated by hand, or gone.`,
		Example: `crmctl migrate status
crmctl migrate status --all -o json
crmctl migrate status --verify
crmctl migrate status --exit-code -q`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			opts.alone = cmd.Flags().Changed("verify") && !opts.verify
			return runMigrateStatus(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(f, cmd)
	cmd.Flags().BoolVar(&opts.all, "all", false, "list every tenant, not only those behind")
	cmd.Flags().BoolVar(&opts.verify, "verify", false, "read the versions from the tenants' own schemas")
	addLockTimeoutFlag(cmd.Flags(), &opts.lockTimeout)
	cmd.Flags().BoolVar(&opts.exitCode, "exit-code", false,
		"exit 4 when a tenant is behind, or not what the registry says")
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitPending, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

// versionRow is a tenant's version.
type versionRow struct {
	registry.Tenant

	pending []*migrate.Migration
	head    int64
	trouble string // of --verify
}

func runMigrateStatus(ctx context.Context, f *factory, opts *migrateStatusOptions) error {
	m, err := opts.read(f)
	if err != nil {
		return err
	}
	plan, p, conn, err := f.openWithPlan(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	f.Reads.Store(true)
	if err := f.checkOthers(ctx, conn, plan); err != nil {
		return err
	}
	tenants, err := f.tenants(ctx, conn, m, registry.Active, registry.Suspended)
	if err != nil {
		return err
	}
	all, err := statusRows(ctx, f, conn, plan, tenants, opts)
	if err != nil {
		return err
	}
	behind, wrong := 0, 0
	var rows []versionRow
	for _, row := range all {
		if len(row.pending) > 0 {
			behind++
		}
		if row.trouble != "" {
			wrong++
		}
		if opts.all || len(row.pending) > 0 || row.trouble != "" || row.Version > plan.Head() {
			rows = append(rows, row)
		}
	}
	// On a terminal the line below says it all when nobody is behind.
	if len(rows) > 0 || !p.Terminal || !p.IsTable() {
		list := statusList(opts.verify || wrong > 0)
		list.Alike = alikeTenants(func(r versionRow) registry.Tenant { return r.Tenant })
		list.Alike.Each = f.sameWide
		if err := cli.PrintList(p, list, rows); err != nil {
			return err
		}
	}
	f.Note("%s", statusLine(all, plan.Head(), behind))
	if wrong > 0 && opts.verify {
		f.Note("%s not as the registry says        next: crmctl migrate all-tenants --verify", cli.Plural(wrong, "tenant"))
	}
	if err := f.refuseNewer(app.NewerThan(plan, tenants), plan); err != nil {
		return err
	}
	if behind+wrong > 0 && opts.exitCode {
		return cli.ExitTold(cli.ExitPending, "%s", statusLine(all, plan.Head(), behind))
	}
	return nil
}

// statusRows takes the versions from the registry or, with --verify, from the
// schemas.
func statusRows(ctx context.Context, f *factory, conn *pgx.Conn, plan *migrate.Plan, tenants []registry.Tenant,
	opts *migrateStatusOptions) ([]versionRow, error) {
	var wrong map[string]error
	if !opts.verify && !opts.alone {
		a, err := f.app()
		if err == nil {
			wrong, err = a.Standing(ctx, conn, plan, tenants, opts.lockTimeout)
		}
		if err != nil {
			return nil, err
		}
	}
	rows := make([]versionRow, len(tenants))
	for i, t := range tenants {
		rows[i] = versionRow{Tenant: t, pending: plan.After(t.Version), head: plan.Head()}
		if err := wrong[t.ID]; err != nil {
			rows[i].trouble = textOf(err)
		}
	}
	if !opts.verify {
		return rows, nil
	}
	actual, err := plan.Verify(ctx, conn, tenants, opts.lockTimeout)
	if err != nil {
		return nil, err
	}
	for i, v := range actual {
		row := &rows[i]
		switch {
		case v.Err != nil:
			row.trouble, row.pending = textOf(v.Err), nil
			continue
		case len(v.Late) > 0:
			row.trouble = "never applied: " + names(v.Late)
		case v.Version != row.Version:
			row.trouble = fmt.Sprintf("the registry says %d", row.Version)
		}
		row.Version, row.pending = v.Version, plan.After(v.Version)
	}
	return rows, nil
}

func statusList(verified bool) cli.List[versionRow] {
	l := cli.List[versionRow]{
		Plural: "tenants",
		Columns: []cli.Column[versionRow]{
			{Name: "tenant", Value: func(r versionRow) any { return r.Slug }},
			{Name: "status", Value: func(r versionRow) any { return statusCell(r.Status) }},
			{Name: "schema_version", Title: "VERSION", Value: func(r versionRow) any { return cli.Serial(r.Version) }},
			{Name: "behind", Right: true, Value: func(r versionRow) any {
				if len(r.pending) == 0 {
					return cli.Either{Human: "", Machine: 0}
				}
				return cli.Styled{Value: len(r.pending), Color: cli.Yellow}
			}},
			{Name: "pending", Text: true, Value: func(r versionRow) any {
				files := fileNames(r.pending)
				if r.Version > r.head {
					return cli.Either{Human: fmt.Sprintf("newer than these files (%d)", r.head), Machine: files}
				}
				return cli.Either{Human: names(r.pending), Machine: files}
			}},
			{Name: "schema", Document: true, Value: func(r versionRow) any { return r.Schema.String() }},
			{Name: "newest_version", Document: true, Value: func(r versionRow) any { return r.head }},
			{Name: "trouble", Text: true, Document: !verified, Value: func(r versionRow) any {
				return cli.Styled{Value: r.trouble, Color: cli.Red}
			}},
		},
		Name: func(r versionRow) string { return r.Slug },
	}
	return l
}

// fileNames returns the names of migrations, never nil.
func fileNames(ms []*migrate.Migration) []string {
	out := make([]string, len(ms))
	for i, m := range ms {
		out[i] = m.Name()
	}
	return out
}

// statusLine returns "5,000 tenants: 4,812 at version 4, 188 at version 6; 4,812
// behind version 6".
func statusLine(tenants []versionRow, head int64, behind int) string {
	if len(tenants) == 0 {
		return "no tenants"
	}
	counts := map[int64]int{}
	for _, t := range tenants {
		counts[t.Version]++
	}
	versions := make([]int64, 0, len(counts))
	for v := range counts {
		versions = append(versions, v)
	}
	slices.SortFunc(versions, func(a, b int64) int { return cmp.Compare(b, a) })
	if len(versions) == 1 && behind == 0 {
		return fmt.Sprintf("%s at version %d", cli.Plural(len(tenants), "tenant"), versions[0])
	}
	var parts []string
	for _, v := range versions {
		parts = append(parts, fmt.Sprintf("%s at version %d", cli.HumanCount(int64(counts[v])), v))
	}
	return fmt.Sprintf("%s: %s; %s behind version %d", cli.Plural(len(tenants), "tenant"), strings.Join(parts, ", "),
		cli.HumanCount(int64(behind)), head)
}
