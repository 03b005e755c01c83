package main

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

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

// source is the input of an import.
type source struct {
	io.ReadCloser

	name    string   // for people
	file    *os.File // nil for a pipe, which is read to its end before anything is locked
	rejects string   // default path of the reject file
}

// Stat tells of a file; a pipe has nothing to tell.
func (s *source) Stat() (fs.FileInfo, error) {
	if s.file == nil {
		return pipe{}, nil
	}
	return s.file.Stat()
}

// pipe is what is no regular file.
type pipe struct{ fs.FileInfo }

func (pipe) Mode() fs.FileMode { return fs.ModeNamedPipe }

func (f *factory) openSource(path string) (*source, error) {
	file, err := f.OpenInput(path)
	if err != nil {
		return nil, cli.InputError(err)
	}
	if path == "-" {
		return &source{ReadCloser: file, name: "stdin", rejects: "stdin.rejected.csv"}, nil
	}
	info, err := os.Stat(path)
	if err != nil {
		_ = file.Close()
		return nil, err
	}
	if info.IsDir() {
		_ = file.Close()
		return nil, cli.Usagef("%s is a directory", path)
	}
	s := &source{ReadCloser: file, name: filepath.Base(path), rejects: strings.TrimSuffix(path, filepath.Ext(path)) +
		".rejected.csv"}
	if regular, ok := file.(*os.File); ok && info.Mode().IsRegular() {
		s.file = regular
	}
	return s, nil
}

func runContactsImport(ctx context.Context, f *factory, opts *contactsImportOptions) error {
	slug, err := registry.Slug(opts.tenant)
	if err != nil {
		return err
	}
	asked, err := opts.options()
	if err != nil {
		return err
	}
	src, err := f.openSource(opts.file)
	if err != nil {
		return err
	}
	defer func() { _ = src.Close() }()
	p, conn, err := f.openToChange(ctx, opts.dryRun)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	t, err := f.registry().Get(ctx, conn, slug)
	if err != nil {
		return err
	}
	if t.Status != registry.Active {
		return &registry.StateError{Slug: slug, State: t.State()}
	}
	cfg, err := f.config()
	if err != nil {
		return err
	}
	watch := &importWatch{f: f}
	o := opts.importOptions(asked, f, t, src, watch)
	o.Trusted = cfg.TrustedOwners
	if o.Path, err = f.tenantPath(ctx, conn, nil); err != nil {
		return err
	}
	if o.Region, err = regionOf(o.Region, t); err != nil {
		return err
	}
	var before registry.Imported
	o.AfterLoad = func(ctx context.Context, q db.Querier, r importer.Result) error {
		return recordImport(ctx, f, q, t, r, &before)
	}
	result, err := importer.Import(ctx, conn, src, o)
	watch.finish()
	if err != nil {
		return importError(err, slug, result.RejectFile)
	}
	if o.RejectTo != nil {
		p.Out = f.IO.Err // stdout is for the rows
	}
	return printImport(f, p, slug, result, before)
}

// importOptions turns the flags into the library's options.
func (o *contactsImportOptions) importOptions(out importer.Options, f *factory, t registry.Tenant, src *source,
	watch *importWatch) importer.Options {
	rejects := o.rejects
	var rejectTo io.Writer
	switch {
	case rejects == "-":
		rejects, rejectTo = "", f.IO.Out
	case o.noRejects, o.dryRun && o.rejects == "":
		rejects = ""
	case rejects == "":
		rejects = src.rejects
	}
	out.Schema, out.Tenant, out.FileName = t.Schema, f.registry().Row(t.ID), src.name
	out.OnConflict, out.InFile, out.Key = importer.ConflictPolicy(o.onConflict), importer.RepeatPolicy(o.inFile),
		importer.Key(o.key)
	out.MaxRejects, out.RejectPath, out.RejectTo = o.maxRejects, rejects, rejectTo
	out.DryRun, out.KeepIndexes = o.dryRun, o.keepIndexes
	out.LockTimeout, out.StatementTimeout, out.Now, out.Observer = o.lockTimeout, o.statementTimeout, f.Now, watch
	return out
}

// recordImport writes the audit row in the import's own transaction, and makes
// sure that the tenant was not closed while the file was read. before gets when the
// tenant had the same file last.
func recordImport(ctx context.Context, f *factory, q db.Querier, t registry.Tenant, r importer.Result,
	before *registry.Imported) error {
	if err := f.registry().HoldOpen(ctx, q, t); err != nil {
		return err
	}
	var p db.Pipeline
	detail := map[string]any{
		"file": r.Plan.FileName, "read": r.Read, "inserted": r.Inserted, "updated": r.Updated, "unchanged": r.Unchanged,
		"repeated": r.Repeated, "rejected": r.Rejected, "mapping": mappingOf(r.Plan),
	}
	if r.SHA256 != "" {
		detail[registry.ImportSum] = r.SHA256
		f.registry().QueueImported(&p, t.ID, r.SHA256, before)
	}
	err := f.registry().QueueEvent(&p, registry.Event{
		TenantID: t.ID, Slug: t.Slug, Action: registry.ActionImport, Actor: f.actor(), Program: programName(),
		Detail: detail,
	})
	if err != nil {
		return err
	}
	return p.Run(ctx, q)
}

// mappingOf returns what became of each column, for the audit.
func mappingOf(p importer.Plan) map[string]string {
	fields := make(map[string]string, len(p.Columns))
	for _, c := range p.Columns {
		field := string(c.Field)
		if c.Field == importer.FieldMetadata {
			field += "." + c.Key
		}
		fields[c.Header] = field
	}
	return fields
}

func importError(err error, slug, rejectFile string) error {
	var table *importer.TableError
	var tooMany *importer.TooManyRejectsError
	switch {
	case errors.As(err, &tooMany) && rejectFile != "":
		return cli.WithHint(cli.WithCode(err, cli.ExitStopped), "the rejected rows and why", "less "+cli.Visible(rejectFile))
	case errors.As(err, &tooMany):
		return cli.WithCode(err, cli.ExitStopped)
	case errors.As(err, &table):
		return cli.WithHint(err, "bring it up to date", "crmctl migrate tenant "+slug)
	case db.SQLState(err) == db.CodeLockNotAvailable:
		return cli.WithHint(cli.WithCode(err, cli.ExitLocked), "wait longer", "--lock-timeout 1m")
	}
	return fileError(err)
}
