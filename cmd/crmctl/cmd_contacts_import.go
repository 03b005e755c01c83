package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// contactsImportOptions are the options of `crmctl contacts import`.
type contactsImportOptions struct {
	contactFileOptions

	tenant           string
	file             string
	onConflict       string
	inFile           string
	key              string
	maxRejects       int64
	rejects          string
	noRejects        bool
	accepted         string
	keepIndexes      bool
	batch            int64
	restart          bool
	undo             int64
	lockTimeout      time.Duration
	statementTimeout time.Duration
	dryRun           bool
}

func (o *contactsImportOptions) addFlags(f *factory, cmd *cobra.Command) {
	fs := cmd.Flags()
	fs.StringVar(&o.tenant, "tenant", "", "the `TENANT` to import into (required)")
	o.contactFileOptions.addFlags(fs)
	fs.Var(cli.NewEnum(&o.onConflict, string(importer.ConflictUpdate), conflictPolicies()), "on-conflict",
		"a row whose key a contact has: `WHAT` to do: skip, update, merge (fill what it lacks), error")
	fs.Var(cli.NewEnum(&o.key, string(importer.KeyEmail), importKeys()), "key",
		"by `WHAT` a row is known to be a contact: email, phone, external_id (of the metadata), email,phone")
	fs.Var(cli.NewEnum(&o.inFile, "", repeatPolicies()), "in-file",
		"rows of the file that share a key: `WHAT` counts: first, last, merge, error (default merge; first with "+
			"--on-conflict skip, error with error)")
	fs.StringVar(&o.region, "region", "", "`COUNTRY` of phone numbers without a country code, such as DE (default the "+
		"tenant's setting \"region\")")
	fs.Int64Var(&o.maxRejects, "max-rejects", 0,
		"stop, and keep nothing, past `N` rejected rows; 0 for no limit, -1 to allow none")
	fs.StringVar(&o.rejects, "rejects", "", "write rejected rows to `FILE`, - for stdout (default FILE.rejected.csv "+
		"beside the input)")
	fs.BoolVar(&o.noRejects, "no-rejects", false, "write no file of rejected rows")
	fs.StringVar(&o.accepted, "accepted", "", "write the other rows to `FILE`, - for stdout, each with its contact and "+
		"what became of it")
	fs.BoolVar(&o.keepIndexes, "keep-indexes", false,
		"keep the indexes of an empty tenant while loading: slower, but readers need not wait")
	fs.Int64Var(&o.batch, "batch", 0, "commit after every `N` rows; an import that was stopped goes on with the same "+
		"command")
	fs.BoolVar(&o.restart, "restart", false,
		"with --batch: begin at the first row, although an earlier import has stopped")
	fs.Int64Var(&o.undo, "undo", 0,
		"take back the import `ID` (see \"contacts imports\"), where nothing has changed since")
	addLockTimeoutFlag(fs, &o.lockTimeout)
	addStatementTimeoutFlag(fs, &o.statementTimeout)
	addDryRunFlag(fs, &o.dryRun)
	addExpectDatabaseFlag(fs)
	cli.RegisterCompletion(cmd, "tenant", completeOne(f))
	cli.RegisterCompletion(cmd, "on-conflict", cli.CompleteWords(conflictPolicies()...))
	cli.RegisterCompletion(cmd, "key", cli.CompleteWords(importKeys()...))
	cli.RegisterCompletion(cmd, "in-file", cli.CompleteWords(repeatPolicies()...))
	cmd.MarkFlagsMutuallyExclusive("rejects", "no-rejects")
	if err := cmd.MarkFlagRequired("tenant"); err != nil {
		panic(err) // only when the flag is not defined
	}
}

func conflictPolicies() []string {
	return []string{string(importer.ConflictSkip), string(importer.ConflictUpdate), string(importer.ConflictMerge),
		string(importer.ConflictError)}
}

func importKeys() []string {
	return []string{string(importer.KeyEmail), string(importer.KeyPhone), string(importer.KeyExternalID),
		string(importer.KeyEmailPhone)}
}

func repeatPolicies() []string {
	return []string{string(importer.RepeatFirst), string(importer.RepeatLast), string(importer.RepeatMerge),
		string(importer.RepeatError)}
}

func newContactsImportCmd(f *factory) *cobra.Command {
	opts := &contactsImportOptions{}
	cmd := &cobra.Command{
		Use:   "import --tenant TENANT FILE",
		Short: "contacts from a file, all of it or nothing",
		Long: `Import contacts from a file, or from stdin with -: CSV in any dialect, XLSX, vCard or JSON, also
compressed with gzip or zstd. Format, encoding, delimiter and header are found out, and columns are
matched to fields by their headers and values; what matches none goes to the contact's metadata. The
e-mail address is the key. What only you can know, such as whose address is meant, is asked: exit 64.

The import is one transaction. Every row ends as inserted, updated, unchanged, repeated (it shares
the key of an earlier row) or rejected; the rejected ones are written to a file with the reason
beside each, to be mended and given to the same command, again and again. --accepted FILE gets the
others: with _line, the _id of the contact and _result, what became of the row. Importing a file
twice changes nothing the second time. A pipe is read to its end before anything is locked.

With --batch N every N rows are committed. One that was stopped goes on with the same command, where
it was, and refuses another file. Rows that share a key are looked for in a batch; what an earlier
batch has made is a contact, to which --on-conflict applies.

--undo ID takes an import back: contacts that it has made go, those that it has changed are as they
were. What was changed since, or is referred to by another table, stays and is listed: exit 3. With
--dry-run it is done and rolled back: until then who writes to the contacts waits.`,
		Example: `crmctl contacts import --tenant acme-corp leads.csv
crmctl contacts import --tenant acme-corp leads.csv --map Mail=email --dry-run
gunzip -c leads.csv.gz | crmctl contacts import --tenant acme-corp -
crmctl contacts import --tenant acme-corp --undo 12 --dry-run`,
		Args: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("undo") {
				return cli.NoArgs(cmd, args)
			}
			return cli.ExactArgs("FILE")(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if cmd.Flags().Changed("undo") {
				return runContactsUndo(cmd.Context(), f, opts)
			}
			opts.file = args[0]
			if opts.batch < 0 {
				return cli.Usagef("--batch %d: want 0 (one transaction) or more", opts.batch)
			}
			if err := opts.checkAccepted(); err != nil {
				return err
			}
			return runContactsImport(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(f, cmd)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitStopped, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

// checkAccepted refuses what the accepted rows do not go with.
func (o *contactsImportOptions) checkAccepted() error {
	switch {
	case o.accepted == "":
	case o.dryRun:
		return cli.Usagef("--accepted lists what is stored, and --dry-run stores nothing")
	case o.accepted == "-" && o.rejects == "-":
		return cli.Usagef("--accepted and --rejects cannot both go to stdout; give one of them a file")
	case filepath.Clean(o.accepted) == filepath.Clean(o.rejects) && o.rejects != "":
		return cli.Usagef("--accepted and --rejects name the same file, %s", cli.Visible(o.rejects))
	}
	return nil
}

func runContactsImport(ctx context.Context, f *factory, opts *contactsImportOptions) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	watch := &importWatch{f: f}
	o := opts.importOptions(f.IO.Out)
	o.File.Read.Observer = watch
	result, err := a.ImportContacts(ctx, o)
	watch.finish()
	if err != nil {
		noteBatches(f, result)
		return f.importError(err, result.Tenant.Slug, result.RejectFile)
	}
	if o.File.Read.RejectTo != nil || o.File.Read.AcceptTo != nil {
		p.Out = f.IO.Err // stdout is for the rows
	}
	return printImport(f, p, result, o.File.Read.Key)
}

// importOptions turns the flags into the application's options.
func (o *contactsImportOptions) importOptions(stdout io.Writer) app.ImportOptions {
	out := app.ImportOptions{Tenant: o.tenant, File: o.source(o.file), Restart: o.restart}
	read := &out.File.Read
	switch {
	case o.rejects == "-":
		read.RejectTo = stdout
	case o.noRejects, o.dryRun && o.rejects == "":
	case o.rejects == "":
		out.KeepRejects = true
	default:
		read.RejectPath = o.rejects
	}
	if o.accepted == "-" {
		read.AcceptTo = stdout
	} else {
		read.AcceptPath = o.accepted
	}
	read.OnConflict, read.InFile, read.Key = importer.ConflictPolicy(o.onConflict), importer.RepeatPolicy(o.inFile),
		importer.Key(o.key)
	read.MaxRejects, read.DryRun, read.KeepIndexes = o.maxRejects, o.dryRun, o.keepIndexes
	read.LockTimeout, read.StatementTimeout, read.Batch = o.lockTimeout, o.statementTimeout, o.batch
	return out
}

func (f *factory) importError(err error, slug, rejectFile string) error {
	var table *importer.TableError
	var tooMany *importer.TooManyRejectsError
	var refused *importer.RefusedError
	var unfinished *app.UnfinishedError
	switch {
	case errors.As(err, &unfinished):
		return cli.WithHint(cli.WithHint(cli.WithCode(err, cli.ExitUsage), "take back what it has done",
			fmt.Sprintf("crmctl contacts import --tenant %s --undo %d", slug, unfinished.Import.ID)),
			"begin at the first row", "add --restart")
	case errors.Is(err, registry.ErrImportMoved):
		return cli.WithCode(err, cli.ExitLocked)
	case errors.As(err, &tooMany) && rejectFile != "":
		return cli.WithHint(cli.WithCode(err, cli.ExitStopped), "the rejected rows and why", "less "+cli.Visible(rejectFile))
	case errors.As(err, &tooMany), errors.As(err, &refused):
		return cli.WithCode(err, cli.ExitStopped)
	case errors.As(err, &table):
		return f.tableHint(err, slug)
	case db.SQLState(err) == db.CodeLockNotAvailable:
		return cli.WithHint(cli.WithCode(err, cli.ExitLocked), "wait longer", "--lock-timeout 1m")
	}
	return fileError(err)
}
