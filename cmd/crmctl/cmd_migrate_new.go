package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/lint"
)

// migrateNewOptions are the options of `crmctl migrate new`.
type migrateNewOptions struct {
	name          string
	dir           string
	noTransaction bool
	dryRun        bool
}

func newMigrateNewCmd(f *factory, runF func(context.Context, *factory, *migrateNewOptions) error) *cobra.Command {
	opts := &migrateNewOptions{}
	if runF == nil {
		runF = runMigrateNew
	}
	cmd := &cobra.Command{
		Use:   "new NAME",
		Short: "write an empty migration file with the next version",
		Long: `Write a migration file for the tenants, with the version after the newest and sections Up and Down
to fill in. Versions go on as the directory has them: 00005, or the time in UTC like 20260301120000.
A file that is there is never written over.`,
		Example: `crmctl migrate new add_company --dir db/migrations
crmctl migrate new index_company --no-transaction --migrations-dir db`,
		Args: cli.ExactArgs("NAME"),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.name = args[0]
			return runF(cmd.Context(), f, opts)
		},
	}
	cmd.Flags().StringVar(&opts.dir, "dir", "", "write it into `DIR` (default: --migrations-dir)")
	cmd.Flags().BoolVar(&opts.noTransaction, "no-transaction", false, "for one statement that cannot run in a transaction")
	addDryRunFlag(cmd.Flags(), &opts.dryRun)
	cli.DocumentExits(cmd)
	return cmd
}

const (
	maxMigrationName = 100
	sequenceDigits   = 5
	timeLayout       = "20060102150405"
)

func (o *migrateNewOptions) validate() error {
	folded := foldName(o.name)
	switch {
	case len(o.name) > maxMigrationName || folded == "":
		return cli.Usagef("%q is no name of a migration: want small letters, digits and _, at most %d", o.name,
			maxMigrationName)
	case folded != o.name:
		return cli.Usagef("%q is no name of a migration: want small letters, digits and _; did you mean %q?", o.name, folded)
	}
	return nil
}

// foldName makes words of small letters and digits with one _ between them.
func foldName(s string) string {
	words := strings.FieldsFunc(strings.ToLower(s), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9')
	})
	return strings.Join(words, "_")
}

func runMigrateNew(_ context.Context, f *factory, opts *migrateNewOptions) error {
	if err := opts.validate(); err != nil {
		return err
	}
	p, err := f.printer()
	if err != nil {
		return err
	}
	dir, err := f.newMigrationDir(opts.dir)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	base, version := nextMigration(entries, opts.name, f.Now())
	path := filepath.Join(dir, base)
	if !opts.dryRun {
		if err := createFile(path, migrationTemplate(opts.noTransaction)); err != nil {
			return err
		}
	}
	result := "created"
	if opts.dryRun {
		result = "would create"
	}
	if err := cli.PrintObject(p, cli.Object{
		Kind: "migration", Name: path,
		Fields: []cli.Field{
			{Name: "file", Title: result, Value: path},
			{Name: "version", Value: version, Document: true},
			{Name: "dry_run", Value: opts.dryRun, Document: true},
		},
	}); err != nil {
		return err
	}
	f.Note("\nnext: fill in Up and Down, then crmctl migrate lint %s", cli.Visible(path))
	return nil
}

// newMigrationDir returns where a new file goes.
func (f *factory) newMigrationDir(dir string) (string, error) {
	if dir == "" {
		cfg, err := f.config()
		if err != nil {
			return "", err
		}
		if cfg.MigrationsDir == "" {
			return "", cli.WithHint(cli.Usagef("no directory for the new file: the migrations in use are built in"),
				"name one", "crmctl migrate new NAME --dir db/migrations")
		}
		dir = cfg.MigrationsDir
	}
	if !isDir(dir) {
		return "", cli.WithHint(cli.Usagef("no directory %s", dir), "make it", "mkdir -p "+dir)
	}
	return app.TenantDir(dir), nil
}

// nextMigration returns the name and version of the file after the newest, in
// the style of the others.
func nextMigration(entries []fs.DirEntry, name string, now time.Time) (base string, version int64) {
	newest, digits := int64(0), sequenceDigits
	for _, e := range entries {
		if v, ok := lint.Version(e.Name()); ok && v > newest {
			prefix, _, _ := strings.Cut(e.Name(), "_")
			newest, digits = v, len(prefix)
		}
	}
	version = newest + 1
	if digits == len(timeLayout) {
		if stamp, err := strconv.ParseInt(now.UTC().Format(timeLayout), 10, 64); err == nil {
			version = max(version, stamp)
		}
	}
	return fmt.Sprintf("%0*d_%s.sql", digits, version, name), version
}

// createFile writes a file that must not be there.
func createFile(path, text string) (err error) {
	//nolint:gosec // a source file, for everybody who works on the project
	file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if errors.Is(err, fs.ErrExist) {
		return cli.Usagef("%s is there already", path)
	}
	if err != nil {
		return fmt.Errorf("create the migration: %w", err)
	}
	defer func() {
		if closeErr := file.Close(); err == nil && closeErr != nil {
			err = fmt.Errorf("create the migration: %w", closeErr)
		}
	}()
	if _, err := file.WriteString(text); err != nil {
		return fmt.Errorf("create the migration: %w", err)
	}
	return nil
}

// migrationTemplate holds guidance alone: lint calls it empty, which is a
// warning, until there is a statement in it.
func migrationTemplate(noTransaction bool) string {
	const head = `-- Say here what changes, and why.

`
	if noTransaction {
		return head + `-- +goose NO TRANSACTION
-- +goose Up
-- One statement, such as: create index concurrently idx_contacts_company on contacts (company);
-- It runs after the transaction with the other files has committed. An invalid index that an
-- interrupted try has left is dropped before the next.

-- +goose Down
-- One statement that takes it back, such as: drop index concurrently idx_contacts_company;
`
	}
	return head + `-- +goose Up
-- Statements, each ended by a semicolon at the end of a line. All pending files of a tenant are
-- one transaction. Name no schema: the search_path is the tenant's.

-- +goose Down
-- Statements that take Up back, in the opposite order.
`
}
