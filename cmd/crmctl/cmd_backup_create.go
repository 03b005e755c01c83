package main

import (
	"context"
	"os"
	"slices"
	"time"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/registry"
)

// backupCreateOptions are the options of `crmctl backup create`.
type backupCreateOptions struct {
	selection

	names            []string
	all              bool
	registry         bool
	dir              string
	format           string
	pgBin            string
	encryptTo        []string
	resume           bool
	maxAge           time.Duration
	concurrency      int
	lockTimeout      time.Duration
	statementTimeout time.Duration
	dryRun           bool
}

func (o *backupCreateOptions) addOwnFlags(fs *pflag.FlagSet) {
	fs.BoolVar(&o.all, "all", false, "every tenant, suspended and deleted ones too")
	fs.BoolVar(&o.registry, "registry", false, "also the registry: crmctl's own tables in public")
	fs.StringVar(&o.dir, "dir", "", "put the files into `DIR`, which is made if need be")
	fs.Var(cli.NewEnum(&o.format, "crmctl", []string{"crmctl", "pgdump"}), "format",
		"`FORMAT` of the files: crmctl, or pgdump for pg_dump -Fc")
	fs.StringVar(&o.pgBin, "pg-bin", "", "`DIR` of pg_dump, instead of a search")
	fs.StringArrayVar(&o.encryptTo, "encrypt-to", nil,
		"encrypt to the public `KEY` age1... or ssh-ed25519 ...; may be given more than once")
	fs.BoolVar(&o.resume, "resume", false, "leave out tenants that have a whole backup in DIR that is young enough")
	fs.Var(newDuration(&o.maxAge, "1d"), "max-age", "with --resume, how old such a backup may be: a `DURATION`")
	addConcurrencyFlag(fs, &o.concurrency)
	addLockTimeoutFlag(fs, &o.lockTimeout)
	addStatementTimeoutFlag(fs, &o.statementTimeout)
	addDryRunFlag(fs, &o.dryRun)
	addExpectDatabaseFlag(fs)
}

func (o *backupCreateOptions) validate() error {
	picked := len(o.tenants) > 0 || o.from != ""
	switch {
	case o.dir == "":
		return cli.Usagef("say where to: --dir DIR")
	case len(o.names) == 0 && !o.all && !o.registry && !picked:
		return cli.Usagef("no tenant to save: give names, --all, --tenant or --registry")
	case len(o.names) > 0 && (o.all || picked):
		return cli.Usagef("names do not go with --all, --tenant and --tenants-from")
	case o.format == "pgdump" && o.registry:
		return cli.Usagef("--registry is saved in crmctl's own format only")
	}
	return nil
}

func newBackupCreateCmd(f *factory) *cobra.Command {
	opts := &backupCreateOptions{}
	cmd := &cobra.Command{
		Use:   "create [TENANT...] --dir DIR",
		Short: "save tenants, a file each",
		Long: `Save tenants into a directory, a file each. A file holds a consistent snapshot of its tenant.
It gets its name when it is complete and on the disk, and only its owner can read it. The next
run removes what a killed run has left. Statements that alter a tenant's tables wait for its
backup, or fail after their own lock timeout; rows can be read and written meanwhile.

--resume goes on after a run that was interrupted. It skips tenants with a backup younger than
--max-age, if that file is complete, and has this tenant, its version and the same format. An
encrypted file and a file of pg_dump have a checksum file as sha256sum writes it
(FILE.sha256): move the two together. A restore needs the migrations up to the version of the
backup: keep them.

If a tenant differs from what its migrations make, the file holds its own structure, which is
built once and rolled back to prove that it can be restored. Objects that the backup does not
hold are named. A tenant with large objects is refused.

--format pgdump runs the real pg_dump, which reads the catalog of the whole database for
each tenant: seconds where there are thousands of them.`,
		Example: `crmctl backup create acme-corp globex --dir backups
crmctl backup create --all --registry --dir backups --resume
crmctl backup create --all --exclude 'test-*' --encrypt-to age1...
crmctl backup create acme-corp --dir backups --format pgdump`,
		ValidArgsFunction: completeTenants(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.names = args
			if err := opts.validate(); err != nil {
				return err
			}
			return runBackupCreate(cmd.Context(), f, opts)
		},
	}
	opts.selection.addFlags(f, cmd)
	opts.addOwnFlags(cmd.Flags())
	cli.RegisterCompletion(cmd, "format", cli.CompleteWords("crmctl", "pgdump"))
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runBackupCreate(ctx context.Context, f *factory, opts *backupCreateOptions) error {
	o, err := opts.options()
	if err != nil {
		return err
	}
	a, err := f.app()
	if err != nil {
		return err
	}
	if err := f.announceTarget(); err != nil {
		return err
	}
	p, conn, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	tenants, err := opts.chosen(ctx, f, conn)
	if err != nil {
		return err
	}
	if opts.format == "pgdump" {
		if o.Dump, err = a.PgDump(ctx, conn, opts.pgBin, f.programEnvironment(conn), opts.lockTimeout); err != nil {
			return err
		}
	}
	dir, err := a.OpenBackups(opts.dir, !opts.dryRun)
	if err != nil {
		return err
	}
	if dir != nil {
		defer func() { _ = dir.Close() }()
	}
	var rows []backupRecord
	if opts.resume && dir != nil {
		if tenants, rows, err = leaveOut(ctx, f, dir, tenants, opts); err != nil {
			return err
		}
	}
	if opts.dryRun {
		for _, t := range tenants {
			rows = append(rows, backupRecord{Result: "would save", Tenant: t.Slug, Version: t.Version, Format: opts.format,
				Encrypted: len(o.Recipients) > 0})
		}
		return cli.PrintList(p, backupList("no tenant to save"), rows)
	}
	return opts.save(ctx, f, p, a, conn, dir, tenants, rows, o)
}

// options returns what the application is told.
func (o *backupCreateOptions) options() (app.SaveOptions, error) {
	recipients, err := recipientsOf(o.encryptTo)
	return app.SaveOptions{
		Recipients: recipients, Concurrency: o.concurrency, LockTimeout: o.lockTimeout, StatementTimeout: o.statementTimeout,
	}, err
}

// recipientsOf reads the keys of --encrypt-to.
func recipientsOf(keys []string) ([]age.Recipient, error) {
	var out []age.Recipient
	for _, key := range keys {
		r, err := backup.ParseRecipient(key)
		if err != nil {
			return nil, cli.Usagef("--encrypt-to: %w", err)
		}
		out = append(out, r)
	}
	return out, nil
}

// chosen returns the tenants to be saved. Whoever is named is saved in any state.
func (o *backupCreateOptions) chosen(ctx context.Context, f *factory, conn *pgx.Conn) ([]registry.Tenant, error) {
	s := o.selection
	if len(o.names) > 0 {
		s.tenants = o.names
	} else if !o.all && len(s.tenants) == 0 && s.from == "" {
		return nil, nil // the registry alone
	}
	m, err := s.read(f)
	if err != nil {
		return nil, err
	}
	if err := f.takeIn(ctx, conn, m.Selects, o.dryRun); err != nil {
		return nil, err
	}
	return f.tenants(ctx, conn, m, registry.Active, registry.Suspended, registry.Gone,
		registry.Deleted)
}

// leaveOut returns the tenants without a backup that is young enough, and a row for
// each of the others. Such a backup was read from end to end.
func leaveOut(ctx context.Context, f *factory, dir *backup.Dir, tenants []registry.Tenant,
	o *backupCreateOptions) ([]registry.Tenant, []backupRecord, error) {
	wanted := make([]backup.Wanted, len(tenants))
	for i, t := range tenants {
		wanted[i] = backup.Wanted{
			ID: t.ID, Slug: t.Slug, Version: t.Version, Since: t.CreatedAt, Format: backup.Format(o.format),
			Encrypted: len(o.encryptTo) > 0,
		}
	}
	bar := f.NewProgress(cli.ProgressOptions{Verb: "read", Bytes: true})
	defer bar.Finish()
	now := f.Now()
	found, passed, err := dir.Young(ctx, wanted, now.Add(-o.maxAge), now, backup.ProveOptions{Progress: bar.Add})
	bar.Finish()
	if err != nil {
		return nil, nil, err
	}
	for _, e := range passed {
		why := e.Err
		if why == nil {
			why = e.Why
		}
		f.Note("crmctl: warning: %s is not taken for a backup: %s", cli.Visible(dir.Path(e.File)), cli.Visible(why.Error()))
	}
	var left []registry.Tenant
	var rows []backupRecord
	for i, t := range tenants {
		if e := found[i]; e != nil {
			rows = append(rows, recordOfBackup("there", dir.Path(e.File), e.Name, e.Size, e.Manifest))
			continue
		}
		left = append(left, t)
	}
	return left, rows, nil
}

// save does the work and prints what became of it; rows are printed first.
func (o *backupCreateOptions) save(ctx context.Context, f *factory, p *cli.Printer, a *app.App, conn *pgx.Conn,
	dir *backup.Dir, tenants []registry.Tenant,
	rows []backupRecord, save app.SaveOptions,
) error {
	begun := f.Now()
	if o.registry {
		w, err := a.SaveRegistry(ctx, conn, dir, save)
		if err != nil {
			return err
		}
		name, _ := backup.ParseName(w.File)
		rows = append(rows, recordOfBackup("saved", dir.Path(w.File), name, w.Size, w.Manifest))
	}
	written, results, stopped := a.SaveTenants(ctx, conn, dir, tenants, save)
	f.sayFailures(results, func(i int) string { return tenants[i].Slug }, func(err error) error { return err })
	rows = append(rows, savedRows(f, dir, written, results)...)
	return reportSaved(f, p, fleet.Summarize(results, stopped), rows, slices.ContainsFunc(written,
		func(w backup.Written) bool { return w.Unaudited }), f.Now().Sub(begun))
}

// savedRows returns a row for each tenant that was saved.
func savedRows(f *factory, dir *backup.Dir, written []backup.Written, results []fleet.Result) []backupRecord {
	var rows []backupRecord
	for i, r := range results {
		if r.State != fleet.Done {
			continue
		}
		w := written[i]
		name, _ := backup.ParseName(w.File)
		row := recordOfBackup("saved", dir.Path(w.File), name, w.Size, w.Manifest)
		row.Seconds = r.Duration.Seconds()
		noteStructure(f, w.Manifest)
		rows = append(rows, row)
	}
	return rows
}

func reportSaved(f *factory, p *cli.Printer, s fleet.Summary, rows []backupRecord, unaudited bool,
	elapsed time.Duration) error {
	empty := ""
	if s.Items == 0 {
		empty = "no tenant to save"
	}
	if err := cli.PrintList(p, backupList(empty), rows); err != nil {
		return err
	}
	if unaudited {
		f.Note("crmctl: warning: nothing can be written here (a standby?), so the audit does not tell of these backups")
	}
	if s.Items > manyTenants {
		f.Note("%s", runLine(s, elapsed))
	}
	return f.end(runEnd{Summary: s, did: "saved", more: []string{"--resume"}, alone: backupHint})
}

// programEnvironment is programEnv for a program that connects as conn does.
func (f *factory) programEnvironment(conn *pgx.Conn) []string {
	cfg, err := f.config()
	if err != nil {
		return nil // there would be no connection
	}
	return f.programEnv(cfg, cfg.DatabaseURL, os.Environ(), conn.Config().Password)
}
