package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"

	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/migrations"
)

// rawMain is the yardstick: the same statements as one string a tenant, in one
// transaction each, over k connections, and nothing else. No registry, no
// checks, no locks, no reports.
func rawMain(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("raw", flag.ContinueOnError)
	n := fs.Int("n", 1000, "tenants")
	k := fs.Int("k", 4, "connections")
	column := fs.String("column", "bench", "column to add")
	registry := fs.Bool("registry", false, "with what crmctl does for safety: lock, limits, the registry's row")
	async := fs.Bool("async", false, "do not wait for the disk but once at the end")
	if len(args) == 0 {
		return fmt.Errorf("raw: want provision, migrate or drop")
	}
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	var script func(schema string) string
	switch args[0] {
	case "provision":
		ddl, err := provisionScript(ctx)
		if err != nil {
			return err
		}
		script = func(schema string) string {
			return "begin; create schema " + schema + "; set local search_path = " + schema + "; " + ddl + " commit"
		}
	case "migrate":
		commit := ""
		if *async {
			commit = "set local synchronous_commit = off; "
		}
		script = func(schema string) string {
			if *registry {
				return registryScript(schema, *column)
			}
			return "begin; " + commit + "set local search_path = " + schema + "; alter table contacts add column " + *column +
				" text; create index idx_contacts_" + *column + " on contacts (" + *column +
				"); insert into goose_db_version (version_id, is_applied) values (5, true); commit"
		}
	case "drop":
		script = func(schema string) string { return "drop schema " + schema + " cascade" }
	default:
		return fmt.Errorf("raw %s: want provision, migrate or drop", args[0])
	}
	return sendAll(ctx, *n, *k, script)
}

// registryScript is one added migration with the statements that crmctl sends around
// it, all in one string.
func registryScript(schema, column string) string {
	return "begin; select pg_try_advisory_xact_lock(hashtext('" + schema + "')), set_config('search_path', '" + schema +
		", pg_temp', true), " +
		"set_config('lock_timeout', '2000', true), set_config('synchronous_commit', 'off', true); " +
		"insert into goose_db_version (version_id, is_applied) select 100 / (current_schema() = '" + schema +
		"' and count(*) > 3 and max(version_id) > 3)::int, false " +
		"from goose_db_version where is_applied and version_id > 0; " +
		"alter table contacts add column " + column + " text; create index idx_contacts_" + column + " on contacts (" +
		column + "); " +
		"update public.tenants set schema_version = schema_version / (current_schema() = '" + schema +
		"' and status <> 'deleted')::int, updated_at = now() " +
		"where slug = '" + strings.TrimPrefix(schema, "tenant_") + "'; commit"
}

func provisionScript(ctx context.Context) (string, error) {
	plan, err := migrate.Compile(ctx, migrations.Tenant())
	if err != nil {
		return "", err
	}
	statements, err := plan.Build()
	if err != nil {
		return "", err
	}
	var ddl strings.Builder
	for _, s := range statements {
		ddl.WriteString(strings.TrimRight(s.SQL, "; \n") + ";\n")
	}
	return ddl.String(), nil
}

func sendAll(ctx context.Context, n, k int, script func(schema string) string) error {
	var next atomic.Int64
	group, ctx := errgroup.WithContext(ctx)
	for range k {
		group.Go(func() error {
			conn, err := pgx.Connect(ctx, os.Getenv("DATABASE_URL"))
			if err != nil {
				return err
			}
			defer func() { _ = conn.Close(ctx) }()
			for i := next.Add(1); i <= int64(n); i = next.Add(1) {
				if _, err := conn.PgConn().Exec(ctx, script(fmt.Sprintf("tenant_t%05d", i))).ReadAll(); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	conn, err := pgx.Connect(context.WithoutCancel(ctx), os.Getenv("DATABASE_URL"))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	// The flush that an asynchronous run owes.
	_, err = conn.Exec(context.WithoutCancel(ctx), "create table if not exists public.flush (x int)")
	return err
}
