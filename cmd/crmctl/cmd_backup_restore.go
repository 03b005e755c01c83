package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/tenant"
)

// backupRestoreOptions are the options of `crmctl backup restore`.
type backupRestoreOptions struct {
	file     string
	as       string
	migrate  bool
	identity []string
	roleOptions
	lockTimeout      time.Duration
	statementTimeout time.Duration
	dryRun           bool
}

func newBackupRestoreCmd(f *factory, runF func(context.Context, *factory, *backupRestoreOptions) error) *cobra.Command {
	opts := &backupRestoreOptions{}
	if runF == nil {
		runF = runBackupRestore
	}
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "make a tenant out of a backup",
		Long: `Make a tenant out of a backup, in one transaction: the registry row, the schema from the
migrations at the version of the backup, the rows, the sequences and the audit. Counts and
checksums are checked on the way; whatever is wrong, nothing is left behind. --migrate then
brings the tenant to the newest version, as crmctl migrate tenant does.

A tenant of that name, or its schema, must not be there: --as NAME restores beside it. A
suspended tenant comes back suspended, every other one active, and with a role of its own
where it had one, unless --role=false; with tenant_roles: true in the configuration always.

A backup of the registry goes into one that crmctl migrate public has just made. Its tenants,
whose schemas are not there, then take their data from their own backups.`,
		Example: `crmctl backup restore backups/acme-corp-20261124T091500Z-v4.crmctl
crmctl backup restore acme-corp-20261124T091500Z-v4.crmctl --as acme-yesterday --migrate
crmctl backup restore acme-corp-20261124T091500Z-v4.crmctl.age --identity key.txt --dry-run`,
		Args: exactArgs("FILE"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.file, opts.roleGiven = args[0], cmd.Flags().Changed("role")
			return runF(cmd.Context(), f, opts)
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&opts.as, "as", "", "restore as a new tenant of this `NAME`")
	fs.BoolVar(&opts.migrate, "migrate", false, "then bring the tenant to the newest version")
	addIdentityFlag(fs, &opts.identity)
	opts.roleOptions.addFlag(fs)
	addLockTimeoutFlag(fs, &opts.lockTimeout)
	addStatementTimeoutFlag(fs, &opts.statementTimeout)
	addDryRunFlag(fs, &opts.dryRun)
	addExpectDatabaseFlag(fs)
	documentExits(cmd, exitUnreachable, exitLocked)
	return cmd
}

func runBackupRestore(ctx context.Context, f *factory, opts *backupRestoreOptions) error {
	as := ""
	if opts.as != "" {
		var err error
		if as, err = tenant.Slug(opts.as); err != nil {
			return err
		}
	}
	bar := f.newProgress(progressOptions{verb: "restore", bytes: true})
	defer bar.finish()
	keys, err := identities(opts.identity)
	if err != nil {
		return err
	}
	in, err := openBackup(ctx, opts.file, keys, bar.add)
	if err != nil {
		return backupHint(err)
	}
	defer func() { _ = in.Close() }()
	p, conn, err := f.openToChange(ctx, opts.dryRun)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	job := restoreJob{f: f, p: p, conn: conn, opts: opts, as: as}
	return job.run(ctx, in, bar)
}

// openBackup opens a file. One that a key does not open is read whole: its head may
// have been changed.
func openBackup(ctx context.Context, path string, keys []age.Identity, progress func(int64)) (*backup.File, error) {
	in, err := backup.OpenFile(path, keys, progress)
	if errors.Is(err, backup.ErrEncrypted) && len(keys) > 0 {
		if _, why := backup.Examine(ctx, path, keys, progress); why != nil {
			err = why
		}
	}
	return in, err
}

// restoreJob is a restore that is under way.
type restoreJob struct {
	f    *factory
	p    *printer
	conn *pgx.Conn
	opts *backupRestoreOptions
	as   string
}

func (j *restoreJob) run(ctx context.Context, in *backup.File, bar *progress) error {
	begun := j.f.now()
	limits := backup.Limits{LockTimeout: j.opts.lockTimeout, StatementTimeout: j.opts.statementTimeout}
	made, plan, err := j.restore(ctx, in, limits)
	bar.finish()
	if errors.Is(err, errRegistry) {
		return j.registry(ctx, limits)
	}
	if err != nil || made == nil {
		return j.explain(err)
	}
	row := madeRow{result: "restored", made: made, version: made.Version, duration: j.f.now().Sub(begun)}
	if j.opts.migrate {
		row.version, err = migrateMade(ctx, j.f, j.conn, plan, made, j.opts.lockTimeout)
	}
	if printErr := printList(j.p, madeList(), []madeRow{row}); printErr != nil {
		return printErr
	}
	if err == nil && row.version < plan.Head() {
		j.f.note("next: crmctl migrate tenant %s        it is at version %d, the newest is %d", visible(made.Tenant.Slug), row.version, plan.Head())
	}
	return err
}

// errRegistry says that a file is a backup of the registry.
var errRegistry = errors.New("a backup of the registry")

func (j *restoreJob) restore(ctx context.Context, in *backup.File, l backup.Limits) (*backup.Made, *migrate.Plan, error) {
	if j.opts.dryRun {
		return nil, nil, j.dry(ctx, in)
	}
	create, plan, err := j.f.newTenantFrom(ctx, j.conn, tenant.ActionRestore, l, j.opts.roleOptions)
	if err != nil {
		return nil, nil, err
	}
	made, err := backup.Restore(ctx, j.conn, in, backup.RestoreOptions{NewTenant: create, As: j.as})
	if errors.Is(err, backup.ErrOtherKind) {
		return nil, nil, errRegistry
	}
	return made, plan, err
}

// dry reads the whole file and looks whether its tenant could be made.
func (j *restoreJob) dry(ctx context.Context, in *backup.File) error {
	m, err := backup.Verify(&untilDone{ctx, in}, nil)
	if err != nil {
		return err
	}
	name := backup.Name{Version: m.SchemaVersion, TakenAt: m.TakenAt, Format: backup.FormatContainer, Encrypted: in.Encrypted}
	if m.Kind == backup.KindTenant {
		slug := m.Tenant.Slug
		if j.as != "" {
			slug = j.as
		}
		plan, err := j.f.tenantPlan(ctx)
		if err != nil {
			return err
		}
		if _, err := planOf(plan, m.Applied()); err != nil {
			return err
		}
		if err := j.room(ctx, slug, m.Tenant); err != nil {
			return err
		}
		name.Slug, m.Tenant.Slug = slug, slug
	}
	return printList(j.p, backupList(""), []backupRecord{recordOfBackup("would restore", j.opts.file, name, in.Size, m)})
}

// room looks whether the tenant of a backup could be made: there is none of that
// name, or it is the very tenant, and its schema is gone.
func (j *restoreJob) room(ctx context.Context, slug string, saved *backup.Tenant) error {
	there, err := tenant.Get(ctx, j.conn, slug)
	switch {
	case errors.Is(err, tenant.ErrNotFound):
		return nil
	case err != nil:
		return j.f.placed(err)
	}
	found, err := db.Select(ctx, j.conn, pgx.RowTo[bool], "select exists (select from pg_namespace where nspname = $1::text::name)", saved.Schema)
	if err != nil {
		return j.f.placed(err)
	}
	if found[0] || there.Status == tenant.Deleted || there.ID != saved.ID || there.Schema.String() != saved.Schema {
		return &backup.ExistsError{Slug: slug, Registered: true}
	}
	return nil
}

// registry restores a backup of the registry, for which the file is read again.
func (j *restoreJob) registry(ctx context.Context, l backup.Limits) error {
	if j.as != "" || j.opts.migrate {
		return usagef("this is a backup of the registry: --as and --migrate are for tenants")
	}
	keys, err := identities(j.opts.identity)
	if err != nil {
		return err
	}
	in, err := backup.OpenFile(j.opts.file, keys, nil)
	if err != nil {
		return backupHint(err)
	}
	defer func() { _ = in.Close() }()
	tables, err := savedTables(ctx)
	if err != nil {
		return err
	}
	m, err := backup.RestoreRegistry(ctx, j.conn, in, backup.RegistryOptions{Limits: l, Tables: tables, Judge: judgeTenant})
	if err != nil {
		return j.explain(err)
	}
	name := backup.Name{Version: m.SchemaVersion, TakenAt: m.TakenAt, Format: backup.FormatContainer, Encrypted: in.Encrypted}
	return printList(j.p, backupList(""), []backupRecord{recordOfBackup("restored", j.opts.file, name, in.Size, m)})
}

// explain adds what to do to what went wrong.
func (j *restoreJob) explain(err error) error {
	var exists *backup.ExistsError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &exists):
		return withHint(err, "restore beside it", "crmctl backup restore FILE --as NAME")
	case errors.Is(err, backup.ErrNotOwner):
		return withHint(err, "connect as", "the role that ran crmctl migrate public")
	case db.SQLState(err) == db.CodeUndefinedTable:
		return j.f.placed(fmt.Errorf("%w: %w", tenant.ErrNoRegistry, err))
	}
	return j.f.placed(backupHint(err))
}

// migrateMade brings a tenant that was just made to the newest version, and returns
// the version it has.
func migrateMade(ctx context.Context, f *factory, conn *pgx.Conn, plan *migrate.Plan, made *backup.Made, lockTimeout time.Duration) (int64, error) {
	schema, err := db.RegisteredSchema(made.Tenant.Schema)
	if err != nil {
		return made.Version, err
	}
	t := migrate.Tenant{ID: made.Tenant.ID, Slug: made.Tenant.Slug, Schema: schema, Version: made.Version}
	route := migrate.Route{Kind: migrate.Up}
	if !plan.Behind(route, t.Version) {
		return t.Version, nil
	}
	report, err := plan.Run(ctx, conn, f.connect, []migrate.Tenant{t}, migrate.RunOptions{
		Route: route, Fleet: fleet.Options{Concurrency: 1, Drain: f.drain()}, Direct: f.connectDirect, LockTimeout: lockTimeout, Actor: f.actor(),
	})
	if err != nil {
		return t.Version, f.placed(err)
	}
	outcome := report.Outcomes[0]
	if outcome.Err != nil {
		return outcome.To, withHint(fmt.Errorf("tenant %q is restored, but not migrated: %w", t.Slug, outcome.Err), "then", "crmctl migrate tenant "+t.Slug)
	}
	return outcome.To, nil
}

// madeRow is a tenant that was made out of data.
type madeRow struct {
	result   string
	made     *backup.Made
	version  int64
	duration time.Duration
}

func madeList() list[madeRow] {
	return list[madeRow]{
		plural: "tenants",
		columns: []column[madeRow]{
			{name: "result", value: func(r madeRow) any { return styled{r.result, green} }},
			{name: "tenant", value: func(r madeRow) any { return r.made.Tenant.Slug }},
			{name: "schema", value: func(r madeRow) any { return r.made.Tenant.Schema }},
			{name: "version", value: func(r madeRow) any { return either{fmt.Sprintf("version %d", r.version), r.version} }},
			{name: "rows", right: true, value: func(r madeRow) any { return either{plural(int(r.made.Rows), "row"), r.made.Rows} }},
			{name: "seconds", right: true, value: func(r madeRow) any { return r.duration }},
		},
		name: func(r madeRow) string { return r.made.Tenant.Slug },
		record: func(r madeRow) any {
			return struct {
				Result  string    `json:"result"`
				Tenant  string    `json:"tenant"`
				ID      string    `json:"id"`
				Schema  string    `json:"schema"`
				Status  string    `json:"status"`
				Role    string    `json:"role,omitempty"`
				Version int64     `json:"schema_version"`
				From    string    `json:"from"`
				TakenAt time.Time `json:"taken_at"`
				Rows    int64     `json:"rows"`
				Bytes   int64     `json:"data_bytes"`
				Seconds float64   `json:"seconds"`
			}{
				r.result, r.made.Tenant.Slug, r.made.Tenant.ID, r.made.Tenant.Schema, r.made.Tenant.Status, r.made.Tenant.Role, r.version,
				r.made.Manifest.Tenant.Slug, r.made.Manifest.TakenAt.UTC(), r.made.Rows, r.made.Bytes, r.duration.Seconds(),
			}
		},
		noHeader: true,
	}
}
