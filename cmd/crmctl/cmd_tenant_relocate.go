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
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tablespace"
)

// tenantRelocateOptions are the options of `crmctl tenant relocate`.
type tenantRelocateOptions struct {
	tenantMoveOptions

	to               string
	statementTimeout time.Duration
}

func newTenantRelocateCmd(f *factory) *cobra.Command {
	opts := &tenantRelocateOptions{}
	cmd := &cobra.Command{
		Use:   "relocate TENANT --to-tablespace NAME",
		Short: "move the tables of a tenant to another tablespace",
		Long: `Move the tables, indexes and materialized views of a tenant to another tablespace of the server.
What migrations, imports and restores make from then on is made there. The database's own
tablespace, pg_default in most, takes the tenant back to where others are.

Each is moved in a transaction of its own, the smallest first; a table takes its TOAST along.
Nobody reads or writes a table while it is copied: --dry-run shows how large each is. Migrations
and imports of the tenant wait. A lock is waited for no longer than --lock-timeout, then tried
again; what is done stays done, and the same command goes on. The server cannot move sequences:
these stay, 8 kB each.

The role that migrates the tenant needs the right to create in the tablespace, and the disk behind it
needs room for the largest table twice where both are on one disk.`,
		Example: `crmctl tenant relocate acme-corp --to-tablespace fast --dry-run
crmctl tenant relocate acme-corp --to-tablespace fast
crmctl tenant relocate acme-corp --to-tablespace pg_default`,
		Args:              cli.ExactArgs("TENANT"),
		ValidArgsFunction: completeOne(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.name = args[0]
			if opts.to == "" {
				return cli.Usagef("--to-tablespace NAME is missing")
			}
			return runTenantRelocate(cmd.Context(), f, opts)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&opts.to, "to-tablespace", "", "the tablespace `NAME`")
	addStatementTimeoutFlag(fs, &opts.statementTimeout)
	opts.addFlags(fs)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

// addTablespaceFlag adds --tablespace of what makes a tenant. without says where it is made
// without the flag.
func addTablespaceFlag(fs *pflag.FlagSet, target *string, without string) {
	fs.StringVar(target, "tablespace", "", "make the tables in the tablespace `NAME` instead of "+without)
}

func runTenantRelocate(ctx context.Context, f *factory, opts *tenantRelocateOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	done, err := a.RelocateTenant(ctx, app.RelocateOptions{MoveOptions: opts.move(), To: opts.to,
		StatementTimeout: opts.statementTimeout})
	if err != nil {
		return err
	}
	rows := make([]relocatedRow, len(done.Relations))
	for i, r := range done.Relations {
		rows[i] = relocatedRow{Relation: r, to: opts.to, tenant: done.Tenant, result: "would move"}
		if !opts.dryRun {
			rows[i].ended(done.Results[i])
		}
	}
	if err := cli.PrintList(p, relocatedList(f, done), rows); err != nil {
		return err
	}
	return relocationEnd(f, done)
}

// relocatedRow is what became of one table or index.
type relocatedRow struct {
	tablespace.Relation

	result  string
	to      string
	tenant  registry.Tenant
	seconds any // nil where it was not begun
	err     error
}

func (r *relocatedRow) ended(result fleet.Result) {
	r.err = result.Err
	switch result.State {
	case fleet.Done:
		r.result, r.seconds = "moved", result.Duration
	case fleet.Failed:
		r.result, r.seconds = resultFailed, result.Duration
	default:
		r.result = resultNotStarted
	}
}

func relocatedList(f *factory, done app.Relocated) cli.List[relocatedRow] {
	list := cli.List[relocatedRow]{
		Plural: "relations",
		Columns: []cli.Column[relocatedRow]{
			{Name: "result", Value: func(r relocatedRow) any {
				return cli.Styled{Value: r.result, Color: resultColor(r.result)}
			}},
			{Name: "relation", Value: func(r relocatedRow) any { return r.Name }},
			{Name: "kind", Spare: true, Value: func(r relocatedRow) any { return r.Kind }},
			{Name: "size_bytes", Title: "SIZE", Right: true, Value: func(r relocatedRow) any { return cli.ByteSize(r.Bytes) }},
			{Name: "from_tablespace", Title: "FROM", Value: func(r relocatedRow) any { return r.Tablespace }},
			{Name: "seconds", Right: true, Value: func(r relocatedRow) any { return r.seconds }},
			{Name: "to_tablespace", Document: true, Value: func(r relocatedRow) any { return r.to }},
			{Name: "tenant", Document: true, Value: func(r relocatedRow) any { return r.tenant.Slug }},
			{Name: "error", Document: true, Optional: true, Value: func(r relocatedRow) any {
				if r.err == nil {
					return nil
				}
				return f.redact(f.withTarget(r.err).Error())
			}},
		},
		Name:  func(r relocatedRow) string { return r.Name },
		Empty: "nothing to move: all tables and indexes are there",
	}
	if done.Sequences > 0 {
		list.Footer = func() string {
			return "left where they are, since the server cannot move them: " + cli.Plural(done.Sequences, "sequence")
		}
	}
	return list
}

// relocationEnd says what is left, and what goes on.
func relocationEnd(f *factory, done app.Relocated) error {
	s := done.Summary()
	if s.Items == 0 || s.Whole() && done.Stopped == nil {
		return nil
	}
	text := fmt.Sprintf("%d of %s moved", s.Done, cli.Plural(s.Items, "relation"))
	first := s.First()
	switch {
	case f.WasInterrupted(), first == nil, errors.Is(first, fleet.ErrDrained):
		return f.stopped(text)
	case s.Done > 0:
		first = cli.WithCode(first, cli.ExitPartial)
	}
	return cli.WithHint(fmt.Errorf("%s: %w", text, first), "go on", f.sameCommand())
}

// copied is how much of a table a disk is taken to copy in a second, in bytes.
const copied = 100_000_000

// noteRelocating says what is about to be shut for how much.
func noteRelocating(f *factory, n app.Relocating) {
	var total int64
	for _, r := range n.Relations {
		total += r.Bytes
	}
	if len(n.Relations) == 0 {
		return
	}
	largest := n.Relations[len(n.Relations)-1]
	f.Note("relocate  %s of %s, %s", cli.Plural(len(n.Relations), "relation"), cli.Visible(n.Slug), cli.HumanSize(total))
	text := fmt.Sprintf("the longest copy: %s, %s", cli.Visible(largest.Name), cli.HumanSize(largest.Bytes))
	if takes := time.Duration(largest.Bytes) * time.Second / copied; takes >= time.Second {
		text += ", some " + cli.HumanDuration(takes) + " at 100 MB a second"
	}
	f.Note("          %s", text)
	f.Note("          nobody reads or writes a table while it is copied")
}
