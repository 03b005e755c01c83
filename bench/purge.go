package main

import (
	"context"
	"fmt"
	"os"

	"github.com/jackc/pgx/v5"
)

// measurePurge destroys a fleet of deleted tenants, against bare DROP SCHEMA
// statements, a transaction each: in one session, as a script has them, and over as
// many connections.
func (b *bench) measurePurge(ctx context.Context) error {
	if err := b.measurePurgeAgainst(ctx, 1, ""); err != nil {
		return err
	}
	return b.measurePurgeAgainst(ctx, b.workers, ">= 0.80")
}

func (b *bench) measurePurgeAgainst(ctx context.Context, sessions int, want string) error {
	n, k := min(b.tenants, 500), fmt.Sprint(b.workers)
	purge := result{what: fmt.Sprintf("purge %d tenants, K=%s (drops: K=%d)", n, k, sessions), units: n,
		unit: "tenants", want: want}
	for round := range b.rounds {
		ours, err := b.database(ctx, fmt.Sprintf("purge_%d_%d", sessions, round))
		if err != nil {
			return err
		}
		raw, err := b.database(ctx, fmt.Sprintf("drop_%d_%d", sessions, round))
		if err != nil {
			return err
		}
		if _, err := b.run(ctx, raw, b.self, "raw", "provision", "-n", fmt.Sprint(n), "-k", k); err != nil {
			return err
		}
		for _, setUp := range [][]string{
			{"migrate", "public"},
			{"tenant", "create", "t%05d", "--count", fmt.Sprint(n), "--concurrency", k, "-q"},
		} {
			if _, err := b.run(ctx, ours, b.crmctl, setUp...); err != nil {
				return err
			}
		}
		if err := overdue(ctx, ours, ""); err != nil {
			return err
		}
		steps := []struct {
			into    *[]sample
			dsn     string
			command []string
		}{
			{&purge.them, raw, []string{b.self, "raw", "drop", "-n", fmt.Sprint(n), "-k", fmt.Sprint(sessions)}},
			{&purge.ours, ours, []string{b.crmctl, "tenant", "purge", "--no-backup", "--yes", "--concurrency", k, "-q"}},
		}
		if round%2 == 1 {
			steps[0], steps[1] = steps[1], steps[0]
		}
		for _, s := range steps {
			fmt.Fprintf(os.Stderr, "round %d: %s\n", round+1, purge.what)
			took, err := b.run(ctx, s.dsn, s.command[0], s.command[1:]...)
			if err != nil {
				return err
			}
			*s.into = append(*s.into, took)
		}
	}
	b.add(purge)
	return nil
}

// overdue deletes tenants, those of a condition, as if that were long ago.
func overdue(ctx context.Context, dsn, where string) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	_, err = conn.Exec(ctx, `update public.tenants set status = 'deleted', deleted_from = 'active',
		deleted_at = now() - interval '40 days', purge_after = now() - interval '10 days' `+where)
	return err
}
