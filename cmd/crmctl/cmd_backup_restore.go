package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
)

// backupRestoreOptions are the options of `crmctl backup restore`.
type backupRestoreOptions struct {
	file     string // or directory
	tenants  []string
	as       string
	migrate  bool
	trust    bool
	identity []string
	skip     bool // erasures
	space    string
	roleOptions
	lockTimeout      time.Duration
	statementTimeout time.Duration
	dryRun           bool
}

func newBackupRestoreCmd(f *factory) *cobra.Command {
	opts := &backupRestoreOptions{}
	cmd := &cobra.Command{
		Use:   "restore FILE|DIR",
		Short: "make a tenant out of a backup",
		Long: `Make a tenant out of a backup, in one transaction: the registry row, the schema from the
migrations at the version of the backup, the rows, the sequences and the audit. Row counts and
checksums are checked; if anything is wrong, nothing is left in the database. --migrate then
brings the tenant to the newest version, as crmctl migrate tenant does.

No tenant may have that name or schema: --as NAME restores under another name. A deleted
tenant is the exception: it is kept under another name until its purge, and can be undeleted
under that name. If it was only deleted by mistake, use crmctl tenant undelete instead. A
tenant whose schema is gone gets the data that the registry has about it. A suspended tenant
comes back suspended, every other one active. It gets a role of its own if it had one, unless
--role=false, and always with tenant_roles: true in the configuration.

From a directory, the newest complete backup of a tenant is restored. If the directory has
several tenants, --tenant chooses some of them; without it all are restored, after a question.
Tenants that exist already, deleted ones too, are then not changed.

A tenant that differed from what its migrations make comes back as it was: its structure is in
the file. A temporary role without other rights builds it. Code in it that no migration makes
would later run with the rights of others: it is refused, unless --trust-code says that you
know who wrote the file.

Persons whose data was erased since (contacts person --erase) are erased again, in the same
transaction. That wants the key of the erasures (erasure_key_file) and the registry that knows of
them: elsewhere restore the registry first. --skip-erasures brings the persons back.

A backup of the registry goes into one that crmctl migrate public has just made. Its tenants,
whose schemas are not there, then take their data from their own backups.`,
		Example: `crmctl backup restore backups/acme-corp-20261124T091500Z-v4.crmctl
crmctl backup restore backups --tenant acme-corp
crmctl backup restore acme-corp-20261124T091500Z-v4.crmctl --as acme-2
crmctl backup restore acme.crmctl.age --identity key.txt --migrate --dry-run`,
		Args: cli.ExactArgs("FILE or DIR"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.file, opts.roleGiven = args[0], cmd.Flags().Changed("role")
			return runBackupRestore(cmd.Context(), f, opts)
		},
	}
	fs := cmd.Flags()
	fs.StringArrayVar(&opts.tenants, "tenant", nil,
		"of a directory, only the tenants of this `NAME` or pattern; may be given more than once")
	fs.StringVar(&opts.as, "as", "", "restore as a new tenant of this `NAME`")
	fs.BoolVar(&opts.migrate, "migrate", false, "then bring the tenant to the newest version")
	addTrustCodeFlag(fs, &opts.trust)
	fs.BoolVar(&opts.skip, "skip-erasures", false, "bring back persons whose data was erased since the backup")
	addTablespaceFlag(fs, &opts.space, "that of the backup")
	addIdentityFlag(fs, &opts.identity)
	opts.roleOptions.addFlag(fs)
	addLockTimeoutFlag(fs, &opts.lockTimeout)
	addStatementTimeoutFlag(fs, &opts.statementTimeout)
	addDryRunFlag(fs, &opts.dryRun)
	addExpectDatabaseFlag(fs)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func runBackupRestore(ctx context.Context, f *factory, opts *backupRestoreOptions) error {
	as, keys, err := opts.read(f)
	if err != nil {
		return err
	}
	a, err := f.app()
	if err != nil {
		return err
	}
	job := restoreJob{f: f, app: a, opts: opts, as: as, keys: keys, file: opts.file}
	if isDir(opts.file) {
		return job.directory(ctx)
	}
	if len(opts.tenants) > 0 {
		return cli.Usagef("--tenant chooses among the backups of a directory; %s is a file", opts.file)
	}
	bar := f.NewProgress(cli.ProgressOptions{Verb: "restore", Bytes: true})
	defer bar.Finish()
	in, err := app.OpenBackup(ctx, opts.file, keys, bar.Add)
	if err != nil {
		return backupHint(err)
	}
	defer func() { _ = in.Close() }()
	p, conn, err := f.openToChange(ctx, opts.dryRun)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	job.p, job.conn = p, conn
	return job.run(ctx, in, bar)
}

// read returns the name of --as and the keys of --identity.
func (o *backupRestoreOptions) read(f *factory) (as string, keys []age.Identity, err error) {
	if o.as != "" {
		if as, err = registry.Slug(o.as); err != nil {
			return "", nil, err
		}
	}
	keys, err = f.identities(o.identity)
	return as, keys, err
}

// restoreJob is a restore that is under way.
type restoreJob struct {
	f    *factory
	app  *app.App
	p    *cli.Printer
	conn *pgx.Conn
	opts *backupRestoreOptions
	as   string
	keys []age.Identity
	file string
}

func (j *restoreJob) options() app.RestoreOptions {
	return app.RestoreOptions{
		As: j.as, Migrate: j.opts.migrate, TrustCode: j.opts.trust, Role: j.opts.choice(),
		SkipErasures: j.opts.skip, Tablespace: j.opts.space,
		LockTimeout: j.opts.lockTimeout, StatementTimeout: j.opts.statementTimeout,
	}
}

func (j *restoreJob) run(ctx context.Context, in *backup.File, bar *cli.Progress) error {
	if j.opts.dryRun {
		would, err := j.app.TryRestore(ctx, j.conn, in, j.as, j.opts.space)
		bar.Finish()
		if err != nil {
			return j.explain(err)
		}
		return cli.PrintList(j.p, backupList(""), []backupRecord{wouldRow(j.file, would)})
	}
	row, err := j.make(ctx, in)
	bar.Finish()
	switch {
	case errors.Is(err, errRegistry):
		return j.registry(ctx)
	case row == nil:
		return err
	}
	if printErr := cli.PrintList(j.p, madeList(), []madeRow{*row}); printErr != nil {
		return printErr
	}
	j.notes(*row)
	return err
}

// make makes a tenant out of a file, and brings it to the newest version where that is
// wanted. There is a row when the tenant is there, even if that went wrong.
func (j *restoreJob) make(ctx context.Context, in *backup.File) (*madeRow, error) {
	done, err := j.app.RestoreTenant(ctx, j.conn, in, j.options())
	switch {
	case done == nil && errors.Is(err, backup.ErrOtherKind):
		return nil, errRegistry
	case done == nil:
		return nil, j.explain(err)
	}
	row := restoredRow(done)
	return &row, j.explain(err)
}

// restoredRow shows a tenant that was restored.
func restoredRow(r *app.RestoreResult) madeRow {
	return madeRow{result: "restored", made: r.Made, version: r.Version, duration: r.Elapsed, head: r.Newest}
}

// notes says what is left to do for a tenant that was restored.
func (j *restoreJob) notes(row madeRow) {
	slug := cli.Visible(row.made.Tenant.Slug)
	if kept := row.made.SetAside; kept != "" {
		j.f.Note("the deleted tenant %s is kept as %s\n  bring it back: crmctl tenant undelete %s", slug,
			cli.Visible(kept), cli.Visible(kept))
	}
	noteRestored(j.f, row.made)
	if row.made.Tenant.Status == string(registry.Deleted) {
		j.f.Note("next: crmctl tenant undelete %s        the registry has it as deleted", slug)
	}
	if !j.opts.migrate && row.version < row.head {
		j.f.Note("next: crmctl migrate tenant %s        it is at version %d, the newest is %d", slug, row.version, row.head)
	}
}

// errRegistry says that a file is a backup of the registry.
var errRegistry = errors.New("a backup of the registry")

// wouldRow says what a dry run has found out about a file.
func wouldRow(path string, w *app.WouldRestore) backupRecord {
	name := backup.Name{Version: w.Manifest.SchemaVersion, TakenAt: w.Manifest.TakenAt, Format: backup.FormatContainer,
		Encrypted: w.Encrypted}
	if w.Manifest.Kind == backup.KindTenant {
		name.Slug = w.Manifest.Tenant.Slug
	}
	row := recordOfBackup("would restore", path, name, w.Size, w.Manifest)
	if w.SetAside {
		row.Reason = "the deleted tenant is kept under another name"
	}
	return row
}

// registry restores a backup of the registry, for which the file is read again.
func (j *restoreJob) registry(ctx context.Context) error {
	if j.as != "" || j.opts.migrate {
		return cli.Usagef("this is a backup of the registry: --as and --migrate are for tenants")
	}
	in, err := backup.OpenFile(j.file, j.keys, nil)
	if err != nil {
		return backupHint(err)
	}
	defer func() { _ = in.Close() }()
	m, err := j.app.RestoreRegistry(ctx, j.conn, in, j.options())
	if err != nil {
		return j.explain(err)
	}
	name := backup.Name{Version: m.SchemaVersion, TakenAt: m.TakenAt, Format: backup.FormatContainer,
		Encrypted: in.Encrypted}
	return cli.PrintList(j.p, backupList(""), []backupRecord{recordOfBackup("restored", j.file, name, in.Size, m)})
}

// explain adds what to do to what went wrong.
func (j *restoreJob) explain(err error) error {
	var (
		exists *registry.ExistsError
		half   *app.NotMigratedError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, new(*app.ErasureKeyError)):
		return personHint(err)
	case errors.As(err, &half):
		return cli.WithHint(err, "then", "crmctl migrate tenant "+half.Slug)
	case errors.As(err, &exists):
		return cli.WithHint(err, "restore beside it", "crmctl backup restore FILE --as NAME")
	case errors.Is(err, backup.ErrNotOwner):
		return cli.WithHint(err, "connect as", "the role that ran crmctl migrate public")
	case j.f.registry().Missing(err):
		return fmt.Errorf("%w: %w", registry.ErrNoRegistry, err)
	}
	return backupHint(err)
}

// madeRow is a tenant that was made out of data.
type madeRow struct {
	result   string
	made     *backup.Made
	version  int64
	duration time.Duration
	head     int64 // the newest version there is
}

func madeList() cli.List[madeRow] {
	return cli.List[madeRow]{
		Plural: "tenants",
		Columns: []cli.Column[madeRow]{
			{Name: "result", Value: func(r madeRow) any { return cli.Styled{Value: r.result, Color: cli.Green} }},
			{Name: "tenant", Value: func(r madeRow) any { return r.made.Tenant.Slug }},
			{Name: "schema", Value: func(r madeRow) any { return r.made.Tenant.Schema }},
			{Name: "schema_version", Value: func(r madeRow) any {
				return cli.Either{Human: fmt.Sprintf("version %d", r.version), Machine: r.version}
			}},
			{Name: "rows", Right: true, Value: func(r madeRow) any {
				return cli.Either{Human: cli.Plural(int(r.made.Rows), "row"), Machine: r.made.Rows}
			}},
			{Name: "seconds", Right: true, Value: func(r madeRow) any { return r.duration }},
			{Name: "id", Document: true, Value: func(r madeRow) any { return r.made.Tenant.ID }},
			{Name: "status", Document: true, Value: func(r madeRow) any { return r.made.Tenant.Status }},
			{Name: "role", Document: true, Optional: true, Value: func(r madeRow) any { return r.made.Tenant.Role }},
			{Name: "from_tenant", Document: true, Value: func(r madeRow) any { return r.made.Manifest.Tenant.Slug }},
			{Name: "taken_at", Document: true, Value: func(r madeRow) any { return r.made.Manifest.TakenAt }},
			{Name: "data_bytes", Document: true, Value: func(r madeRow) any { return r.made.Bytes }},
		},
		Name:     func(r madeRow) string { return r.made.Tenant.Slug },
		NoHeader: true,
	}
}
