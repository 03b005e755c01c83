package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
)

// measureShape provisions tenants with a history of a hundred migrations: from
// their final shape, and from the pool, against going through them one by one.
func (b *bench) measureShape(ctx context.Context) error {
	const length = 100
	dir, err := b.migrationsWith("hundred", 0)
	if err != nil {
		return err
	}
	for version := 5; version <= length; version++ {
		text := "-- +goose Up\n" + grownMigration(version) + "\n"
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%05d_grown.sql", version)), []byte(text), 0o600); err != nil {
			return err
		}
	}
	n := min(b.tenants, 100)
	create := func(name string, more ...string) []string {
		return append([]string{"tenant", "create", name + "-%03d", "--count", fmt.Sprint(n), "--migrations-dir", dir,
			"--concurrency", "1", "-q"}, more...)
	}
	shape := result{what: fmt.Sprintf("provision from the shape of %d migrations", length), units: n, unit: "tenants",
		want: ">= 8 (against them)"}
	pool := result{what: "provision from the pool", units: n, unit: "tenants", want: ""}
	for round := range b.rounds {
		dsn, err := b.database(ctx, fmt.Sprintf("shape_%d", round))
		if err != nil {
			return err
		}
		for _, setUp := range [][]string{
			{"migrate", "public"},
			{"tenant", "create", "first", "--migrations-dir", dir}, // finds the shape out
			{"tenant", "pool", "fill", "--count", fmt.Sprint(n), "--migrations-dir", dir},
		} {
			if _, err := b.run(ctx, dsn, b.crmctl, setUp...); err != nil {
				return err
			}
		}
		for _, s := range []struct {
			into []*[]sample
			args []string
		}{
			{[]*[]sample{&pool.ours}, create("pooled")},
			{[]*[]sample{&shape.them, &pool.them}, create("history", "--from-history")},
			{[]*[]sample{&shape.ours}, create("shape", "--no-pool")},
		} {
			fmt.Fprintf(os.Stderr, "round %d: %s\n", round+1, s.args[2])
			took, err := b.run(ctx, dsn, b.crmctl, s.args...)
			if err != nil {
				return err
			}
			for _, into := range s.into {
				*into = append(*into, took)
			}
		}
	}
	b.add(shape)
	b.add(pool)
	return nil
}

// grownMigration returns one of the files that gather over the years: a column
// comes, gets an index, another type, a better index, a check, and every fourth
// time goes again; now and then a kind of thing is added to a small table.
func grownMigration(version int) string {
	const steps = 6
	column := fmt.Sprintf("field_%d", version/steps)
	index := "idx_contacts_" + column
	switch version % steps {
	case 0:
		return "alter table contacts add column " + column + " text not null default '';"
	case 1:
		return "create index " + index + " on contacts (" + column + ");"
	case 2:
		return "alter table contacts alter column " + column + " type varchar(200);"
	case 3:
		return "drop index if exists " + index + ";\ncreate index " + index + " on contacts (lower(" + column + ")) where " +
			column + " <> '';"
	case 4:
		if version/steps%4 == 1 {
			return "alter table contacts drop column " + column + ";"
		}
		return "alter table contacts add constraint contacts_" + column + " check (" + column + " is distinct from 'none');"
	}
	return fmt.Sprintf("create table if not exists kinds (id integer primary key, name text not null);\ninsert into "+
		"kinds values (%d, 'kind %[1]d');", version)
}
