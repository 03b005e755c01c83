package main

import (
	"context"
	"encoding/json"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/registry"
)

// contactsImportsOptions are the options of `crmctl contacts imports`.
type contactsImportsOptions struct {
	tenant string
	limit  int
}

func newContactsImportsCmd(f *factory) *cobra.Command {
	opts := &contactsImportsOptions{}
	cmd := &cobra.Command{
		Use:   "imports",
		Short: "what was imported, the newest first",
		Long: `List the imports of a tenant, or of all: when, by whom, what became of the rows, and until when each
can be taken back (the setting import_undo_keep). An unfinished one goes on with the same command.`,
		Example: "crmctl contacts imports --tenant acme-corp\ncrmctl contacts imports -o json --limit 10",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.limit < 0 {
				return cli.Usagef("--limit %d: want 0 (all) or more", opts.limit)
			}
			return runContactsImports(cmd.Context(), f, opts)
		},
	}
	cmd.Flags().StringVar(&opts.tenant, "tenant", "", "only those of a `TENANT`")
	cmd.Flags().IntVar(&opts.limit, "limit", 0, "only the newest `N`; 0 for all")
	cli.RegisterCompletion(cmd, "tenant", completeOne(f))
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runContactsImports(ctx context.Context, f *factory, opts *contactsImportsOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	list, err := a.Imports(ctx, opts.tenant, opts.limit)
	if err != nil {
		return err
	}
	return cli.PrintList(p, importColumns(p, opts.tenant == ""), list)
}

// importColumns shows imports; tenants are named where they are several.
func importColumns(p *cli.Printer, several bool) cli.List[registry.Import] {
	count := func(name, title string, of func(importer.Counts) int64) cli.Column[registry.Import] {
		return cli.Column[registry.Import]{Name: name, Title: title, Right: true, Value: func(i registry.Import) any {
			return of(importCounts(i))
		}}
	}
	columns := []cli.Column[registry.Import]{
		{Name: "id", Title: "ID", Right: true, Value: func(i registry.Import) any { return i.ID }},
		{Name: "tenant", Document: !several, Value: func(i registry.Import) any { return i.Tenant }},
		{Name: "file", Text: true, Value: func(i registry.Import) any { return i.File }},
		{Name: "state", Value: importState},
		count("read", "READ", func(c importer.Counts) int64 { return c.Read }),
		count("inserted", "NEW", func(c importer.Counts) int64 { return c.Inserted }),
		count("updated", "CHANGED", func(c importer.Counts) int64 { return c.Updated }),
		count("rejected", "REJECTED", func(c importer.Counts) int64 { return c.Rejected }),
		{Name: "started_at", Title: "STARTED", Value: func(i registry.Import) any {
			return cli.Either{Human: p.Show.Minute(i.StartedAt), Machine: i.StartedAt}
		}},
	}
	columns = append(columns,
		cli.Column[registry.Import]{Name: "actor", Title: "BY", Spare: true, Value: func(i registry.Import) any {
			return i.Actor
		}},
		cli.Column[registry.Import]{Name: "undo_until", Document: true, Optional: true, Value: func(i registry.Import) any {
			return i.UndoUntil
		}},
		cli.Column[registry.Import]{Name: "finished_at", Document: true, Value: func(i registry.Import) any {
			return i.FinishedAt
		}},
		cli.Column[registry.Import]{Name: "undone_at", Document: true, Optional: true, Value: func(i registry.Import) any {
			return i.UndoneAt
		}},
		cli.Column[registry.Import]{Name: "undone_by", Document: true, Optional: true, Value: func(i registry.Import) any {
			return i.UndoneBy
		}},
		cli.Column[registry.Import]{Name: "size_bytes", Document: true, Value: func(i registry.Import) any {
			return i.Bytes
		}},
		cli.Column[registry.Import]{Name: "sha256", Document: true, Optional: true, Value: func(i registry.Import) any {
			return i.SHA256
		}},
		cli.Column[registry.Import]{Name: "options", Document: true, Value: func(i registry.Import) any { return i.Options }},
		cli.Column[registry.Import]{Name: "counts", Document: true, Value: func(i registry.Import) any { return i.Counts }},
	)
	return cli.List[registry.Import]{Plural: "imports", Empty: "no imports yet", Columns: columns,
		Name: func(i registry.Import) string { return strconv.FormatInt(i.ID, 10) }}
}

// importCounts returns what became of the rows of an import.
func importCounts(i registry.Import) importer.Counts {
	var c importer.Counts
	_ = json.Unmarshal(i.Counts, &c) // zero where somebody else has written the row
	return c
}

func importState(i registry.Import) any {
	color := cli.Plain
	switch i.State {
	case registry.ImportUnfinished, registry.ImportPartlyUndone:
		color = cli.Yellow
	case registry.ImportDone:
		color = cli.Green
	case registry.ImportUndone, registry.ImportAbandoned:
	}
	return cli.Styled{Value: string(i.State), Color: color}
}
