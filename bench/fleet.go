package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/localpg"
	"github.com/crmctl/crmctl/migrations"
)

const addedMigration = `-- +goose Up
alter table contacts add column bench text;
create index idx_contacts_bench on contacts (bench);
-- +goose Down
drop index idx_contacts_bench;
alter table contacts drop column bench;
`

// measureStart times what a shell completion or a help costs.
func (b *bench) measureStart(ctx context.Context) error {
	r := result{what: "crmctl --help", want: "< 30 ms"}
	for range max(5, b.rounds) {
		s, err := b.run(ctx, "postgres://nobody@127.0.0.1:1/x", b.crmctl, "--help")
		if err != nil {
			return err
		}
		r.ours = append(r.ours, s)
	}
	b.add(r)
	return nil
}

// measureFleet provisions a fleet, rolls one migration over it, and runs once
// more with nothing to do.
func (b *bench) measureFleet(ctx context.Context) error {
	names := filepath.Join(b.dir, "names.txt")
	var text strings.Builder
	for i := range b.tenants {
		fmt.Fprintf(&text, "t%05d\n", i+1)
	}
	if err := os.WriteFile(names, []byte(text.String()), 0o600); err != nil {
		return err
	}
	files, err := b.migrationsWith("two", 2)
	if err != nil {
		return err
	}
	more, err := b.migrationsWith("three", 3)
	if err != nil {
		return err
	}
	k := fmt.Sprint(b.workers)
	n := fmt.Sprint(b.tenants)
	provision := result{what: "provision " + n + " tenants, K=" + k, units: b.tenants, unit: "tenants", want: ">= 0.90"}
	syncMigration := result{what: "one added migration, commit each to disk", units: b.tenants, unit: "tenants",
		want: ">= 1.00"}
	asyncMigration := result{what: "one added migration, one flush at the end", units: b.tenants, unit: "tenants",
		want: ">= 0.90 (async limit)"}
	sameMigration := result{what: "  the same statements by a bare program", units: b.tenants, unit: "tenants", want: ""}
	noop := result{what: "nothing to do (against tenant list)", want: "<= 1.50", inverse: true}
	for round := range b.rounds {
		raw, err := b.database(ctx, fmt.Sprintf("raw_%d", round))
		if err != nil {
			return err
		}
		ours, err := b.database(ctx, fmt.Sprintf("ours_%d", round))
		if err != nil {
			return err
		}
		if _, err := b.run(ctx, ours, b.crmctl, "migrate", "public"); err != nil {
			return err
		}
		// Two added migrations each: one with, one without waiting for the disk.
		steps := []struct {
			r       *result
			dsn     string
			command []string
			mine    bool
		}{
			{&provision, raw, []string{b.self, "raw", "provision", "-n", n, "-k", k}, false},
			{&provision, ours, []string{b.crmctl, "tenant", "create", "--from", names, "--concurrency", k, "-q"}, true},
			{&syncMigration, raw, []string{b.self, "raw", "migrate", "-n", n, "-k", k, "-column", "bench"}, false},
			{&syncMigration, ours, []string{b.crmctl, "migrate", "all-tenants", "--migrations-dir", files, "--concurrency", k,
				"--sync-commit", "--to", "5"}, true},
			{&asyncMigration, raw, []string{b.self, "raw", "migrate", "-n", n, "-k", k, "-column", "bench2", "-async"}, false},
			{&asyncMigration, ours, []string{b.crmctl, "migrate", "all-tenants", "--migrations-dir", files,
				"--concurrency", k}, true},
			{&sameMigration, ours, []string{b.self, "raw", "migrate", "-n", n, "-k", k, "-column", "raw3", "-registry"}, false},
			{&sameMigration, ours, []string{b.crmctl, "migrate", "all-tenants", "--migrations-dir", more,
				"--concurrency", k}, true},
			{&noop, ours, []string{b.crmctl, "tenant", "list", "--migrations-dir", files}, false},
			{&noop, ours, []string{b.crmctl, "migrate", "all-tenants", "--migrations-dir", more}, true},
		}
		// Whoever comes second finds a disk that is busy with the first.
		if round%2 == 1 {
			for i := 0; i+1 < len(steps); i += 2 {
				steps[i], steps[i+1] = steps[i+1], steps[i]
			}
		}
		for _, s := range steps {
			fmt.Fprintf(os.Stderr, "round %d: %s\n", round+1, s.r.what)
			took, err := b.run(ctx, s.dsn, s.command[0], s.command[1:]...)
			if err != nil {
				return err
			}
			if s.mine {
				s.r.ours = append(s.r.ours, took)
			} else {
				s.r.them = append(s.r.them, took)
			}
		}
	}
	for _, r := range []result{provision, syncMigration, asyncMigration, sameMigration, noop} {
		b.add(r)
	}
	return nil
}

// migrationsWith writes the built-in tenant migrations and some more to a
// directory.
func (b *bench) migrationsWith(name string, added int) (string, error) {
	dir := filepath.Join(b.dir, name)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", err
	}
	source := migrations.Tenant()
	files, err := fs.Glob(source, "*.sql")
	if err != nil {
		return "", err
	}
	for _, name := range files {
		text, err := fs.ReadFile(source, name)
		if err != nil {
			return "", err
		}
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			return "", err
		}
	}
	for i := range added {
		column := "bench"
		if i > 0 {
			column += fmt.Sprint(i + 1)
		}
		text := strings.ReplaceAll(addedMigration, "bench", column)
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%05d_%s.sql", 5+i, column)), []byte(text), 0o600); err != nil {
			return "", err
		}
	}
	return dir, nil
}

// database makes a database and returns its connection string.
func (b *bench) database(ctx context.Context, name string) (string, error) {
	conn, err := pgx.Connect(ctx, b.admin)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	if _, err := conn.Exec(ctx, "create database "+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", err
	}
	return strings.Replace(b.admin, "/"+localpg.Database+"?", "/"+name+"?", 1), nil
}
