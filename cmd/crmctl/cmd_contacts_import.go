package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/db"
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
	keepIndexes      bool
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
	fs.BoolVar(&o.keepIndexes, "keep-indexes", false,
		"keep the indexes of an empty tenant while loading: slower, but readers need not wait")
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
beside each, to be mended and given to the same command, again and again. Importing a file
twice changes nothing the second time. A pipe is read to its end before anything is locked.`,
		Example: `crmctl contacts import --tenant acme-corp leads.csv
crmctl contacts import --tenant acme-corp leads.csv --map Mail=email --dry-run
gunzip -c leads.csv.gz | crmctl contacts import --tenant acme-corp -`,
		Args: cli.ExactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.file = args[0]
			return runContactsImport(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(f, cmd)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitStopped, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runContactsImport(ctx context.Context, f *factory, opts *contactsImportOptions) error {
	p, err := f.printer()
	if err != nil {
		return err
	}
	a, err := f.app()
	if err != nil {
		return err
	}
	watch := &importWatch{f: f}
	o := opts.importOptions(f.IO.Out)
	o.File.Read.Observer = watch
	result, err := a.ImportContacts(ctx, o)
	watch.finish()
	if err != nil {
		return importError(err, result.Tenant.Slug, result.RejectFile)
	}
	if o.File.Read.RejectTo != nil {
		p.Out = f.IO.Err // stdout is for the rows
	}
	return printImport(f, p, result)
}

// importOptions turns the flags into the application's options.
func (o *contactsImportOptions) importOptions(stdout io.Writer) app.ImportOptions {
	out := app.ImportOptions{Tenant: o.tenant, File: o.source(o.file)}
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
	read.OnConflict, read.InFile, read.Key = importer.ConflictPolicy(o.onConflict), importer.RepeatPolicy(o.inFile),
		importer.Key(o.key)
	read.MaxRejects, read.DryRun, read.KeepIndexes = o.maxRejects, o.dryRun, o.keepIndexes
	read.LockTimeout, read.StatementTimeout = o.lockTimeout, o.statementTimeout
	return out
}

func importError(err error, slug, rejectFile string) error {
	var table *importer.TableError
	var tooMany *importer.TooManyRejectsError
	var refused *importer.RefusedError
	switch {
	case errors.As(err, &tooMany) && rejectFile != "":
		return cli.WithHint(cli.WithCode(err, cli.ExitStopped), "the rejected rows and why", "less "+cli.Visible(rejectFile))
	case errors.As(err, &tooMany), errors.As(err, &refused):
		return cli.WithCode(err, cli.ExitStopped)
	case errors.As(err, &table):
		return cli.WithHint(err, "bring it up to date", "crmctl migrate tenant "+slug)
	case db.SQLState(err) == db.CodeLockNotAvailable:
		return cli.WithHint(cli.WithCode(err, cli.ExitLocked), "wait longer", "--lock-timeout 1m")
	}
	return fileError(err)
}
