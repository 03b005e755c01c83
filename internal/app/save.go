package app

import (
	"context"
	"fmt"
	"io"
	"time"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// SaveOptions say how tenants are saved.
type SaveOptions struct {
	Recipients       []age.Recipient // the files are encrypted to; none = not encrypted
	Concurrency      int             // 0 goes by the machine and the server
	LockTimeout      time.Duration
	StatementTimeout time.Duration
	// Dump, if not nil, writes the files instead of this program.
	Dump func(context.Context, backup.Source, io.Writer) error
}

// PgDumpFound names the pg_dump that is run.
type PgDumpFound struct{ Program string }

func (PgDumpFound) notice() {}

func (a *App) createOptions(ctx context.Context, o SaveOptions) backup.CreateOptions {
	return backup.CreateOptions{
		WriteOptions: a.writeOptions(ctx, backup.Limits{LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout}),
		Audit:        a.audit(registry.ActionBackup), Recipients: o.Recipients, Dump: o.Dump,
	}
}

// SaveTenants saves tenants into a directory, a file each, in their order. conn is used
// up by it. The error says why the run ended before its tenants did.
func (a *App) SaveTenants(ctx context.Context, conn *pgx.Conn, dir *backup.Dir, tenants []registry.Tenant,
	o SaveOptions) ([]backup.Written, []fleet.Result, error) {
	create := a.createOptions(ctx, o)
	names := make([]string, len(tenants))
	for i, t := range tenants {
		names[i] = t.Slug
	}
	sources, err := a.sources(ctx, conn, tenants)
	if err != nil {
		return nil, nil, err
	}
	observer, end := a.Watch("backup", names)
	if observer == nil && len(tenants) > 0 {
		create.Progress, end = a.Bytes("backup")
	}
	defer end()
	run := fleet.Options{Concurrency: o.Concurrency, Drain: a.Drain(), Observer: observer}
	return dir.CreateMany(ctx, fleet.Reuse(conn, a.Connect), sources, create, run)
}

// sources returns what of the registry goes into the files of tenants.
func (a *App) sources(ctx context.Context, q db.Querier, tenants []registry.Tenant) ([]backup.Source, error) {
	list, err := a.Registry.ListAccepted(ctx, q, idsOf(tenants))
	if err != nil {
		return nil, err
	}
	imports, err := a.Registry.HasImports(ctx, q)
	if err != nil {
		return nil, err
	}
	accepted := map[string][]backup.Accepted{}
	for _, x := range list {
		accepted[x.TenantID] = append(accepted[x.TenantID], backup.Accepted{Change: x.Change, Kind: x.Kind,
			Parent: x.Parent, Name: x.Name, Found: x.Found, Reason: x.Reason, Actor: x.Actor, At: x.At})
	}
	out := make([]backup.Source, len(tenants))
	for i, t := range tenants {
		out[i] = backup.Source{ID: t.ID, Slug: t.Slug, Schema: t.Schema, Accepted: accepted[t.ID],
			Imports: imports}
	}
	return out, nil
}

// acceptSaved gives a restored tenant what was accepted of the one that was saved. A registry
// that has no table for it keeps nothing.
func (a *App) acceptSaved(ctx context.Context, conn *pgx.Conn, made *backup.Made) error {
	if len(made.Manifest.Accepted) == 0 {
		return nil
	}
	list := make([]registry.Accepted, len(made.Manifest.Accepted))
	for i, x := range made.Manifest.Accepted {
		list[i] = registry.Accepted{TenantID: made.Tenant.ID, Change: x.Change, Kind: x.Kind, Parent: x.Parent,
			Name: x.Name, Found: x.Found, Reason: x.Reason, Actor: x.Actor}
	}
	err := db.InTx(ctx, conn, db.Locals{Follow: true}, func(ctx context.Context, q db.Querier) error {
		var p db.Pipeline
		a.Registry.QueueAccept(&p, list)
		return p.Run(ctx, q)
	})
	if err != nil && !a.Registry.Missing(err) {
		return fmt.Errorf("keep the accepted differences of %s: %w", made.Tenant.Slug, err)
	}
	return nil
}

// SaveRegistry saves the registry into a directory. The error is registry.ErrNoRegistry
// where there is none.
func (a *App) SaveRegistry(ctx context.Context, conn *pgx.Conn, dir *backup.Dir,
	o SaveOptions) (backup.Written, error) {
	version, err := migrate.PublicVersion(ctx, conn, a.Registry)
	switch {
	case err != nil:
		return backup.Written{}, err
	case version == 0:
		return backup.Written{}, registry.ErrNoRegistry
	}
	return dir.CreateRegistry(ctx, conn, registry.SavedTables(), version, a.createOptions(ctx, o))
}

// PgDump finds a pg_dump for the server, in a directory, "" for a search, and returns
// what runs it. Its environment is env and what keeps a password from being shown.
func (a *App) PgDump(ctx context.Context, conn *pgx.Conn, dir string, env []string,
	lockTimeout time.Duration) (func(context.Context, backup.Source, io.Writer) error, error) {
	major, err := db.Select(ctx, conn, pgx.RowTo[int], "select current_setting('server_version_num')::int / 10000")
	if err != nil {
		return nil, err
	}
	program, err := backup.FindPgDump(ctx, major[0], dir, a.Config.PGBin)
	if err != nil {
		return nil, err
	}
	dsn, err := a.Config.Database()
	if err != nil {
		return nil, err
	}
	a.Notify(PgDumpFound{program})
	d := &backup.PgDump{Program: program, ConnString: db.OnlyKnown(backup.WithoutPassword(string(dsn))), Env: env,
		LockTimeout: lockTimeout}
	return d.Dump, nil
}
