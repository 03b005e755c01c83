package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/registry"
)

// runContactsUndo takes an import back.
func runContactsUndo(ctx context.Context, f *factory, opts *contactsImportOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	done, err := a.UndoImport(ctx, app.UndoOptions{
		Tenant: opts.tenant, ID: opts.undo, DryRun: opts.dryRun, LockTimeout: opts.lockTimeout,
		StatementTimeout: opts.statementTimeout,
		Confirm: func(i registry.Import, r importer.UndoResult) error {
			return f.ConfirmYes(ctx, fmt.Sprintf("Take back import %d of %s, of %s: remove %s and put back %s?", i.ID,
				cli.Visible(i.File), p.Show.Minute(i.StartedAt), cli.Plural(int(r.Removed), "contact"), cli.HumanCount(r.PutBack)))
		},
	})
	switch {
	case errors.Is(err, app.ErrTakenBack):
		f.Note("import %d was taken back already", opts.undo)
		return nil
	case errors.Is(err, app.ErrIsMerge):
		return cli.WithHint(fmt.Errorf("%d: %w", opts.undo, err), "take it back", fmt.Sprintf("crmctl contacts dedupe "+
			"--tenant %s --undo %d", opts.tenant, opts.undo))
	case errors.Is(err, registry.ErrNoImport):
		return cli.WithHint(err, "those that there are", "crmctl contacts imports --tenant "+opts.tenant)
	case errors.Is(err, importer.ErrNothingKept):
		return fmt.Errorf("import %d cannot be taken back, or not any more: %w", opts.undo, err)
	case err != nil:
		return f.importError(err, opts.tenant, "")
	}
	return printUndo(f, p, opts.tenant, done)
}

// keptRecord is a contact that stays, in JSON and YAML.
type keptRecord struct {
	ID     string `json:"id"`
	Email  string `json:"email,omitempty"`
	Reason string `json:"reason"`
}

// reasonText says why a contact stays.
func reasonText(r importer.KeptReason) string {
	switch r {
	case importer.KeptChanged:
		return "changed since"
	case importer.KeptReferenced:
		return "another table refers to it"
	case importer.KeptGone:
		return "not there any more"
	case importer.KeptEmailTaken:
		return "another contact has the address that it had"
	}
	return string(r)
}

func printUndo(f *factory, p *cli.Printer, tenant string, done app.UndoResult) error {
	kept := make([]keptRecord, len(done.Kept))
	for i, k := range done.Kept {
		kept[i] = keptRecord{k.ID, k.Email, string(k.Reason)}
	}
	left := any(done.Left)
	if done.Left > 0 {
		left = cli.Styled{Value: done.Left, Color: cli.Yellow}
	}
	err := cli.PrintObject(p, cli.Object{Kind: "import_undo", Name: tenant, Fields: []cli.Field{
		{Name: "import", Value: done.Import.ID},
		{Name: "file", Value: done.Import.File},
		{Name: "removed", Value: done.Removed},
		{Name: "put_back", Value: done.PutBack},
		{Name: "left", Value: left},
		{Name: "tenant", Document: true, Value: tenant},
		{Name: "dry_run", Document: true, Value: done.DryRun},
		{Name: "left_by_reason", Document: true, Value: done.LeftBy},
		{Name: "left_contacts", Document: true, Value: kept},
	}})
	if err != nil {
		return err
	}
	const shown = 20
	for _, k := range done.Kept[:min(len(done.Kept), shown)] {
		f.Note("left      %s %s: %s", k.ID, cli.Visible(k.Email), reasonText(k.Reason))
	}
	if more := done.Left - shown; more > 0 {
		f.Note("left      and %s more (-o json has the first 1,000 of each reason)", cli.HumanCount(more))
	}
	if done.DryRun {
		f.Note("dry run: nothing was kept")
	}
	if done.Left > 0 {
		return cli.ExitTold(cli.ExitPartial, "%s left as they are", cli.Plural(int(done.Left), "contact"))
	}
	return nil
}

// noteBatches says how far an import in batches has come that ends with an error.
func noteBatches(f *factory, r app.ImportResult) {
	if r.Unfinished && r.Checkpoint.Records > 0 {
		f.Note("committed %s of the file; the same command goes on behind them",
			cli.Plural(int(r.Checkpoint.Records), "record"))
	}
}
