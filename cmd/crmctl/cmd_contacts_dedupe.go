package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/registry"
)

// dedupeOptions are the options of `crmctl contacts dedupe`.
type dedupeOptions struct {
	crmOptions

	by    []string
	least string
	limit int
	merge bool
	undo  int64
}

func newContactsDedupeCmd(f *factory) *cobra.Command {
	opts := &dedupeOptions{}
	cmd := &cobra.Command{
		Use:   "dedupe --tenant TENANT",
		Short: "those that are there twice",
		Long: `Show the contacts that are likely there twice, group by group, with why and how sure that is: the
addresses differ by what follows a plus, or at Gmail by dots (address); the number is the same
(phone); the name and the company are (name). What more than five share is unsure, and what more
than a hundred share is no double. The first of a group is the fullest, of those the oldest.

--merge merges the others into it: it gets what it lacks, metadata as "contacts import --on-conflict
merge" has it, their other addresses and numbers as lists of the metadata, and their conversations.
A contact that another table refers to stays. It is one transaction, and who writes to the
contacts waits for its end. --undo ID takes it back, group by group: where the contact was changed
since, or somebody else has an address by now, the group stays merged: exit 3. The ID is that of
"contacts imports"; import_undo_keep says how long it can be taken back. In a tenant that was
restored, copied or transferred since, it cannot: what the merge has removed does not come along.`,
		Example: `crmctl contacts dedupe --tenant acme
crmctl contacts dedupe --tenant acme --by address --merge --dry-run
crmctl contacts dedupe --tenant acme --undo 12`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			q, err := opts.query()
			switch {
			case err != nil:
				return err
			case cmd.Flags().Changed("undo"):
				return runDedupeUndo(cmd.Context(), f, opts)
			case opts.merge:
				return runDedupe(cmd.Context(), f, opts, q)
			}
			return listDoubles(cmd.Context(), f, opts, q)
		},
	}
	fs := cmd.Flags()
	rules, degrees := words(crm.Rules()), words(crm.Confidences())
	fs.StringSliceVar(&opts.by, "by", rules, "look for what is alike by these `RULES`")
	fs.Var(cli.NewEnum(&opts.least, string(crm.Medium), degrees), "confidence",
		"those that are at least so sure: `HOW` high, medium, low")
	fs.IntVar(&opts.limit, "limit", 100, "show the first `N` groups; 0 for all")
	fs.BoolVar(&opts.merge, "merge", false, "merge them")
	fs.Int64Var(&opts.undo, "undo", 0, "take back the merge `ID`")
	cmd.MarkFlagsMutuallyExclusive("merge", "undo")
	cli.RegisterCompletion(cmd, "by", cli.CompleteWords(rules...))
	cli.RegisterCompletion(cmd, "confidence", cli.CompleteWords(degrees...))
	newCRMWriteCmd(f, &opts.crmOptions, cmd)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func (o *dedupeOptions) query() (crm.DoublesQuery, error) {
	q := crm.DoublesQuery{Least: crm.Confidence(o.least)}
	for _, by := range o.by {
		if !slices.Contains(crm.Rules(), crm.Rule(by)) {
			return q, cli.Usagef("--by %s: want address, phone, name", by)
		}
		q.Rules = append(q.Rules, crm.Rule(by))
	}
	if o.limit < 0 {
		return q, cli.Usagef("--limit %d: want 0 (all) or more", o.limit)
	}
	return q, nil
}

// listDoubles shows the doubles. They are found anew each time, and never all in memory.
func listDoubles(ctx context.Context, f *factory, opts *dedupeOptions, q crm.DoublesQuery) error {
	groups, more := int64(0), false
	err := opts.readBy(ctx, f, (*app.App).ReadWholeCRM, func(ctx context.Context, p *cli.Printer, r *crm.Reader) error {
		return cli.PrintRows(p, doublesList(p), func(yield func(crm.Double, error) bool) {
			for d, err := range r.Doubles(ctx, q) {
				if more = err == nil && opts.limit > 0 && d.Group > int64(opts.limit); more {
					return
				}
				groups = d.Group
				if !yield(d, err) {
					return
				}
			}
		})
	})
	switch {
	case err != nil:
		return err
	case more:
		f.Note("and more (--limit 0 shows all)")
	case groups > 0:
		f.Note("%s; --merge merges each into its first contact", cli.Plural(int(groups), "group"))
	}
	return nil
}

func doublesList(p *cli.Printer) cli.List[crm.Double] {
	type column = cli.Column[crm.Double]
	columns := []column{
		{Name: "group", Right: true, Value: func(d crm.Double) any { return cli.Serial(d.Group) }},
		{Name: "by", Value: func(d crm.Double) any { return string(d.Rule) }},
		{Name: "confidence", Title: "SURE", Value: func(d crm.Double) any { return string(d.Confidence) }},
		{Name: "keep", Document: true, Value: func(d crm.Double) any { return d.Keep }},
	}
	for _, c := range contactColumns(p) {
		value := c.Value
		wide := c.Wide || c.Name == "created_at" // the room is for what tells doubles apart
		columns = append(columns, column{Name: c.Name, Title: c.Title, Spare: c.Spare, Wide: wide, Document: c.Document,
			Value: func(d crm.Double) any { return value(d.Contact) }})
	}
	return cli.List[crm.Double]{Plural: "doubles", Empty: "no doubles", Columns: columns,
		Name: func(d crm.Double) string { return d.ID }}
}

func runDedupe(ctx context.Context, f *factory, opts *dedupeOptions, q crm.DoublesQuery) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	o := app.DedupeOptions{Tenant: opts.tenant, Query: q, DryRun: opts.dryRun}
	if !opts.dryRun && !f.flags.Yes {
		o.Confirm = func(m crm.Merged) error {
			return f.ConfirmYes(ctx, fmt.Sprintf("Merge %s into %s?", cli.Plural(int(m.Removed), "contact"),
				cli.Plural(int(m.Groups), "other")))
		}
	}
	done, err := a.Dedupe(ctx, o)
	if err != nil {
		return f.crmError(err, opts.tenant)
	}
	err = cli.PrintObject(p, cli.Object{Kind: "dedupe", Name: opts.tenant, Fields: []cli.Field{
		{Name: "groups", Value: done.Groups},
		{Name: "removed", Value: done.Removed},
		{Name: "moved_conversations", Value: done.Moved},
		{Name: "referred", Title: "referred to", Value: done.Referred},
		{Name: "id", Document: true, Value: done.ID},
		{Name: "tenant", Document: true, Value: opts.tenant},
		{Name: "dry_run", Document: true, Value: done.ID == 0 && opts.dryRun},
	}})
	switch {
	case err != nil:
		return err
	case opts.dryRun:
		f.Note("dry run: nothing was kept")
	case done.ID != 0:
		f.Note("taken back by: crmctl contacts dedupe --tenant %s --undo %d", opts.tenant, done.ID)
	}
	return nil
}

func runDedupeUndo(ctx context.Context, f *factory, opts *dedupeOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	o := app.DedupeUndoOptions{Tenant: opts.tenant, ID: opts.undo, DryRun: opts.dryRun}
	if !opts.dryRun && !f.flags.Yes {
		o.Confirm = func(i registry.Import, u crm.Unmerged) error {
			return f.ConfirmYes(ctx, fmt.Sprintf("Take back merge %d of %s: %s come back?", i.ID, p.Show.Minute(i.StartedAt),
				cli.Plural(int(u.Restored), "contact")))
		}
	}
	done, err := a.UndoDedupe(ctx, o)
	switch {
	case errors.Is(err, app.ErrTakenBack):
		f.Note("merge %d was taken back already", opts.undo)
		return nil
	case errors.Is(err, registry.ErrNoImport):
		return cli.WithHint(err, "those that there are", "crmctl contacts imports --tenant "+opts.tenant)
	case errors.Is(err, app.ErrNoMerge):
		return cli.WithHint(fmt.Errorf("%d: %w", opts.undo, err), "take it back", fmt.Sprintf("crmctl contacts import "+
			"--tenant %s --undo %d", opts.tenant, opts.undo))
	case errors.Is(err, importer.ErrNothingKept):
		return fmt.Errorf("merge %d cannot be taken back, or not any more: %w", opts.undo, err)
	case err != nil:
		return f.crmError(err, opts.tenant)
	}
	err = cli.PrintObject(p, cli.Object{Kind: "dedupe_undo", Name: opts.tenant, Fields: []cli.Field{
		{Name: "id", Value: cli.Serial(opts.undo)},
		{Name: "groups", Value: done.Groups},
		{Name: "restored", Value: done.Restored},
		{Name: "moved_conversations", Value: done.Moved},
		{Name: "left", Value: done.Left},
		{Name: "tenant", Document: true, Value: opts.tenant},
		{Name: "dry_run", Document: true, Value: opts.dryRun},
	}})
	if err != nil {
		return err
	}
	if opts.dryRun {
		f.Note("dry run: nothing was kept")
	}
	if done.Left > 0 {
		return cli.ExitTold(cli.ExitPartial, "%s left merged: changed since, or an address is taken",
			cli.Plural(int(done.Left), "group"))
	}
	return nil
}
