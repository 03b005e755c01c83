package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// migratePlanOptions are the options of `crmctl migrate plan`.
type migratePlanOptions struct {
	selection

	to      int64
	showSQL bool
}

func newMigratePlanCmd(f *factory) *cobra.Command {
	opts := &migratePlanOptions{}
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "what migrate all-tenants would do, and how long it may take",
		Long: `Show which files would be applied to which tenants, from one query of the registry. It shows
the same as migrate all-tenants --dry-run.`,
		Example: "crmctl migrate plan\ncrmctl migrate plan --tenant 'eu-*' --show-sql",
		Args:    cli.NoArgs,
		RunE:    func(cmd *cobra.Command, _ []string) error { return runMigratePlan(cmd.Context(), f, opts) },
	}
	opts.addFlags(f, cmd)
	cmd.Flags().Int64Var(&opts.to, "to", 0, "plan up to `VERSION` instead of the newest")
	cmd.Flags().BoolVar(&opts.showSQL, "show-sql", false, "print the statements too")
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runMigratePlan(ctx context.Context, f *factory, opts *migratePlanOptions) error {
	m, err := opts.read(f)
	if err != nil {
		return err
	}
	plan, err := f.tenantPlanTo(ctx, opts.to)
	if err != nil {
		return err
	}
	p, conn, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	if err := f.checkOthers(ctx, conn, plan); err != nil {
		return err
	}
	chosen, err := f.tenants(ctx, conn, m, registry.Active, registry.Suspended)
	if err != nil {
		return err
	}
	return printPlan(ctx, f, p, conn, plan, app.Behind(plan, migrate.Route{}, chosen), opts.showSQL)
}

// checkOthers refuses the files that a run would refuse as those of another program.
func (f *factory) checkOthers(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan) error {
	a, err := f.app()
	if err != nil {
		return err
	}
	return a.CheckOthers(ctx, conn, plan)
}

// planRow is a tenant of a dry run.
type planRow struct {
	tenant  registry.Tenant
	pending []*migrate.Migration
}

// printPlan prints what a run would do, and how long it may take by what the
// ledger knows of runs before.
func printPlan(ctx context.Context, f *factory, p *cli.Printer, conn *pgx.Conn, plan *migrate.Plan,
	tenants []registry.Tenant, showSQL bool) error {
	rate, err := f.registry().PastRate(ctx, conn)
	if err != nil {
		return err
	}
	estimate := ""
	if rate > 0 && len(tenants) > 0 {
		estimate = fmt.Sprintf(", in about %s as the latest runs went",
			cli.HumanDuration(time.Duration(float64(len(tenants))/rate*float64(time.Second))))
	}
	rows := make([]planRow, len(tenants))
	for i, t := range tenants {
		rows[i] = planRow{t, plan.After(t.Version)}
	}
	empty := "nothing pending"
	if f.skippedRows > 0 {
		empty = "nothing pending for the tenants that are not left alone"
	}
	alike := alikeTenants(func(r planRow) registry.Tenant { return r.tenant })
	alike.Each = f.sameWide
	err = cli.PrintList(p, cli.List[planRow]{
		Plural: "tenants",
		Columns: []cli.Column[planRow]{
			{Name: "tenant", Value: func(r planRow) any { return r.tenant.Slug }},
			{Name: "from_version", Title: "VERSION", Value: func(r planRow) any { return cli.Serial(r.tenant.Version) }},
			{Name: "to_version", Title: "TO", Value: func(planRow) any { return cli.Serial(plan.Head()) }},
			{Name: "pending", Text: true, Value: func(r planRow) any {
				return cli.Either{Human: names(r.pending), Machine: fileNames(r.pending)}
			}},
			{Name: "schema", Document: true, Value: func(r planRow) any { return r.tenant.Schema.String() }},
			{Name: "sql", Document: true, Optional: true, Value: func(r planRow) any {
				if !showSQL {
					return nil
				}
				return sqlText(r.pending)
			}},
		},
		Name:  func(r planRow) string { return r.tenant.Slug },
		Alike: alike,
		Empty: empty,
		Footer: func() string {
			return cli.Plural(len(rows), "tenant") + " would be migrated" + estimate
		},
	}, rows)
	if err != nil || !showSQL || len(tenants) == 0 || !p.IsTable() {
		return err
	}
	text := sqlText(plan.After(lowest(tenants)))
	if p.Terminal {
		text = visibleSQL(text)
	}
	_, err = fmt.Fprintf(p.Out, "\n%s\n", text)
	return err
}

// visibleSQL is for reading on a terminal; in a pipe the statements are as they are.
func visibleSQL(text string) string {
	return strings.ReplaceAll(cli.VisibleLines(strings.ReplaceAll(text, "\t", "    ")), `\r`+"\n", "\n")
}

// sqlText returns the statements of migrations as one script to read.
func sqlText(ms []*migrate.Migration) string {
	var b strings.Builder
	for _, m := range ms {
		fmt.Fprintf(&b, "-- %s\n", cli.Visible(m.File))
		for _, s := range m.Up {
			b.WriteString(s.SQL + "\n")
		}
		b.WriteString("\n")
	}
	return strings.TrimRight(b.String(), "\n")
}
