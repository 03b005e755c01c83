package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/migrate"
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

func runMigrateStatus(ctx context.Context, f *factory, opts *migrateStatusOptions) error {
	chosen, err := opts.read(f)
	if err != nil {
		return err
	}
	p, err := f.printer()
	if err != nil {
		return err
	}
	a, err := f.app()
	if err != nil {
		return err
	}
	f.Reads.Store(true)
	s, err := a.Status(ctx, app.StatusOptions{Selection: chosen, Verify: opts.verify, Alone: opts.alone,
		LockTimeout: opts.lockTimeout})
	if err != nil {
		return err
	}
	head := s.Plan.Head()
	var rows []app.TenantVersion
	for _, row := range s.Tenants {
		if opts.all || len(row.Pending) > 0 || row.Wrong() || row.Version > head {
			rows = append(rows, row)
		}
	}
	// On a terminal the line below says it all when nobody is behind.
	if len(rows) > 0 || !p.Terminal || !p.IsTable() {
		if err := cli.PrintList(p, statusList(head, opts.verify || s.Wrong > 0), rows); err != nil {
			return err
		}
	}
	f.Note("%s", statusLine(s))
	if s.Wrong > 0 && opts.verify {
		f.Note("%s not as the registry says        next: crmctl migrate all-tenants --verify",
			cli.Plural(s.Wrong, "tenant"))
	}
	if err := f.refuseNewer(s.Newer, s.Plan); err != nil {
		return err
	}
	if s.Behind+s.Wrong > 0 && opts.exitCode {
		return cli.ExitTold(cli.ExitPending, "%s", statusLine(s))
	}
	return nil
}

// trouble says in what a tenant is not what the registry says.
func trouble(v app.TenantVersion) string {
	switch {
	case v.Err != nil:
		return v.Err.Error()
	case len(v.Late) > 0:
		return "never applied: " + names(v.Late)
	case v.Version != v.Registered:
		return fmt.Sprintf("the registry says %d", v.Registered)
	}
	return ""
}

func statusList(head int64, verified bool) cli.List[app.TenantVersion] {
	l := cli.List[app.TenantVersion]{
		Plural: "tenants",
		Columns: []cli.Column[app.TenantVersion]{
			{Name: "tenant", Value: func(r app.TenantVersion) any { return r.Slug }},
			{Name: "status", Value: func(r app.TenantVersion) any { return statusCell(r.Status) }},
			{Name: "schema_version", Title: "VERSION", Value: func(r app.TenantVersion) any { return cli.Serial(r.Version) }},
			{Name: "behind", Right: true, Value: func(r app.TenantVersion) any {
				if len(r.Pending) == 0 {
					return cli.Either{Human: "", Machine: 0}
				}
				return cli.Styled{Value: len(r.Pending), Color: cli.Yellow}
			}},
			{Name: "pending", Text: true, Value: func(r app.TenantVersion) any {
				files := fileNames(r.Pending)
				if r.Version > head {
					return cli.Either{Human: fmt.Sprintf("newer than these files (%d)", head), Machine: files}
				}
				return cli.Either{Human: names(r.Pending), Machine: files}
			}},
			{Name: "schema", Document: true, Value: func(r app.TenantVersion) any { return r.Schema.String() }},
			{Name: "newest_version", Document: true, Value: func(r app.TenantVersion) any { return head }},
			{Name: "trouble", Text: true, Document: !verified, Value: func(r app.TenantVersion) any {
				return cli.Styled{Value: trouble(r), Color: cli.Red}
			}},
		},
		Name: func(r app.TenantVersion) string { return r.Slug },
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
func statusLine(s *app.Status) string {
	tenants := s.Tenants
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
	if len(versions) == 1 && s.Behind == 0 {
		return fmt.Sprintf("%s at version %d", cli.Plural(len(tenants), "tenant"), versions[0])
	}
	var parts []string
	for _, v := range versions {
		parts = append(parts, fmt.Sprintf("%s at version %d", cli.HumanCount(int64(counts[v])), v))
	}
	return fmt.Sprintf("%s: %s; %s behind version %d", cli.Plural(len(tenants), "tenant"), strings.Join(parts, ", "),
		cli.HumanCount(int64(s.Behind)), s.Plan.Head())
}
