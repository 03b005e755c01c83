package app

import (
	"context"
	"io"
	"slices"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/migrations"
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
// up by it.
func (a *App) SaveTenants(ctx context.Context, conn *pgx.Conn, dir *backup.Dir, tenants []registry.Tenant, o SaveOptions) ([]backup.Written, []fleet.Result) {
	create := a.createOptions(ctx, o)
	names, sources := make([]string, len(tenants)), make([]backup.Source, len(tenants))
	for i, t := range tenants {
		names[i], sources[i] = t.Slug, backup.Source{ID: t.ID, Slug: t.Slug, Schema: t.Schema}
	}
	observer, end := a.Watch("backup", names)
	if observer == nil && len(tenants) > 0 {
		create.Progress, end = a.Bytes("backup")
	}
	defer end()
	run := fleet.Options{Concurrency: o.Concurrency, Drain: a.Drain(), Observer: observer}
	written, results, _ := dir.CreateMany(ctx, fleet.Reuse(conn, a.Connect), sources, create, run)
	return written, results
}

// SaveRegistry saves the registry into a directory. The error is registry.ErrNoRegistry
// where there is none.
func (a *App) SaveRegistry(ctx context.Context, conn *pgx.Conn, dir *backup.Dir, o SaveOptions) (backup.Written, error) {
	tables, err := savedTables(ctx)
	if err != nil {
		return backup.Written{}, err
	}
	version, err := migrate.PublicVersion(ctx, conn, a.Registry)
	switch {
	case err != nil:
		return backup.Written{}, err
	case version == 0:
		return backup.Written{}, registry.ErrNoRegistry
	}
	return dir.CreateRegistry(ctx, conn, tables, version, a.createOptions(ctx, o))
}

// PgDump finds a pg_dump for the server, in a directory, "" for a search, and returns
// what runs it. Its environment is env and what keeps a password from being shown.
func (a *App) PgDump(ctx context.Context, conn *pgx.Conn, dir string, env []string, lockTimeout time.Duration) (func(context.Context, backup.Source, io.Writer) error, error) {
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
	d := &backup.PgDump{Program: program, ConnString: db.OnlyKnown(backup.WithoutPassword(string(dsn))), Env: env, LockTimeout: lockTimeout}
	return d.Dump, nil
}

// RegistryTables returns the names of the tables that the registry's migrations
// make. Which of them were applied stands in a backup's version.
func RegistryTables(ctx context.Context) ([]string, error) {
	plan, err := migrate.Compile(ctx, migrations.Public())
	if err != nil {
		return nil, err
	}
	var tables []string
	for _, m := range plan.Migrations {
		for _, s := range m.Up {
			words := strings.Fields(strings.ToLower(s.SQL))
			if len(words) > 2 && words[0] == "create" && words[1] == "table" {
				tables = append(tables, strings.TrimRight(strings.TrimPrefix(words[2], "public."), "("))
			}
			if len(words) > 2 && words[0] == "drop" && words[1] == "table" {
				tables = slices.DeleteFunc(tables, func(t string) bool { return t == strings.TrimRight(words[2], ";") })
			}
		}
	}
	return tables, nil
}

// savedTables returns those of the registry's tables that a backup holds. What can be
// made again at any time, and the schemas of the pool, or under construction, that only
// this database has, stay out: a final shape is SQL, which no file may bring.
func savedTables(ctx context.Context) ([]string, error) {
	tables, err := RegistryTables(ctx)
	return slices.DeleteFunc(tables, func(t string) bool { return t == "tenant_shapes" || t == "tenant_pool" || t == "tenant_builds" }), err
}
