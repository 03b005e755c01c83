package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/migrations"
)

// FilesError says that a tenant's migrations cannot be used as they are.
type FilesError struct {
	Where string // a directory, or "built in"
	Err   error  // nil where there are none; wraps fs.ErrNotExist where Where is not there
}

func (e *FilesError) Error() string {
	switch {
	case errors.Is(e.Err, fs.ErrNotExist):
		return "there is no directory " + e.Where + " with the migrations"
	case e.Err == nil:
		return "no migration files (like 00001_create_contacts.sql) in " + e.Where
	}
	return e.Where + ": " + e.Err.Error()
}

func (e *FilesError) Unwrap() error { return e.Err }

// VersionError says that there is no file for a version which was asked for, or which
// data has.
type VersionError struct {
	Version int64
	Newest  int64 // of the files
	Data    bool  // data has it
	Err     error // where it was asked for
}

func (e *VersionError) Error() string {
	switch {
	case !e.Data:
		return e.Err.Error()
	case e.Version > e.Newest:
		return fmt.Sprintf("the data is at version %d, but the newest migration file is %d", e.Version, e.Newest)
	}
	return fmt.Sprintf("the data has migration %d, which there is no file for", e.Version)
}

func (e *VersionError) Unwrap() error { return e.Err }

// TenantPlan compiles the migrations of a tenant's schema: the built-in ones, or those
// of the configured directory, in its directory "tenant" where it has one. to is the
// version it ends with, 0 for all. Errors are a *FilesError or a *VersionError.
func (a *App) TenantPlan(ctx context.Context, to int64) (*migrate.Plan, error) {
	source, where := migrations.Tenant(), "built in"
	if dir := a.Config.MigrationsDir; dir != "" {
		dir = TenantDir(dir)
		source, where = os.DirFS(dir), dir
	}
	plan, err := migrate.Compile(ctx, source)
	_, other := errors.AsType[*migrate.OtherToolError](err)
	switch {
	case other:
		return nil, &FilesError{Where: where, Err: err}
	case errors.Is(err, migrate.ErrNoMigrations), errors.Is(err, fs.ErrNotExist):
		// A directory that is not there has no files either.
		if _, gone := os.Stat(where); a.Config.MigrationsDir != "" && errors.Is(gone, fs.ErrNotExist) {
			return nil, &FilesError{Where: where, Err: fs.ErrNotExist}
		}
		return nil, &FilesError{Where: where}
	case err != nil:
		return nil, &FilesError{Where: where, Err: err}
	}
	if len(plan.Others) > 0 {
		a.Notify(OtherFiles{Dir: where, Files: plan.Others})
	}
	return upTo(plan, to)
}

// upTo returns a plan up to a version, all of it for 0.
func upTo(plan *migrate.Plan, to int64) (*migrate.Plan, error) {
	if to == 0 {
		return plan, nil
	}
	upTo, err := plan.To(to)
	if err != nil {
		return nil, &VersionError{Version: to, Newest: plan.Head(), Err: err}
	}
	return upTo, nil
}

// UseExtensions makes the extensions that the migrations ask for, unless dryRun is set,
// and returns the plan with their schemas on the path, and the shared ones.
func (a *App) UseExtensions(ctx context.Context, conn *pgx.Conn, plan *migrate.Plan,
	dryRun bool) (*migrate.Plan, error) {
	plan, uses, err := plan.UseExtensions(ctx, conn, migrate.ExtensionOptions{
		Registry: a.Registry,
		Schema:   a.Config.ExtensionSchema, DryRun: dryRun, LockTimeout: a.Config.LockTimeout, Shared: a.Config.SharedSchemas,
	})
	if err != nil {
		return nil, err
	}
	for _, u := range uses {
		if u.Made {
			a.Notify(ExtensionMade{Name: u.Name, Schema: u.Schema, DryRun: dryRun})
		}
	}
	return plan, nil
}

// ErrExtensionAway says that the migrations ask for an extension that is not to be had
// here, so that nothing can be said of what they make.
var ErrExtensionAway = errors.New("the migrations ask for an extension")

// placedPlan returns the tenants' plan with the schemas of its extensions on the path,
// and makes none. The error wraps ErrExtensionAway where one is missing.
func (a *App) placedPlan(ctx context.Context) (*migrate.Plan, error) {
	plan, err := a.TenantPlan(ctx, 0)
	if err != nil || len(plan.Extensions()) == 0 && len(a.Config.SharedSchemas) == 0 {
		return plan, err
	}
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	plan, uses, err := plan.UseExtensions(ctx, conn, migrate.ExtensionOptions{
		Registry: a.Registry,
		Schema:   a.Config.ExtensionSchema, Shared: a.Config.SharedSchemas, DryRun: true,
	})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrExtensionAway, err)
	}
	for _, u := range uses {
		if u.Made {
			return nil, fmt.Errorf("%w: %q is not in this database", ErrExtensionAway, u.Name)
		}
	}
	return plan, nil
}

// planOf returns the plan that consists of the given versions.
func planOf(plan *migrate.Plan, versions []int64) (*migrate.Plan, error) {
	only := plan.Only(versions)
	for _, v := range versions {
		if slices.ContainsFunc(only.Migrations, func(m *migrate.Migration) bool { return m.Version == v }) {
			continue
		}
		if v > plan.Head() {
			v = slices.Max(versions)
		}
		return nil, &VersionError{Version: v, Newest: plan.Head(), Data: true}
	}
	return only, nil
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}
