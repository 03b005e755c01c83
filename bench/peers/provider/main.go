// Command provider migrates a fleet of schemas as a Go program does that has goose
// as a library and takes care: one process, k workers on connections that are kept
// from tenant to tenant, a goose.Provider for each tenant.
//
//	provider -dir migrations -k 4 < names-of-schemas
package main

import (
	"bufio"
	"context"
	"database/sql"
	"flag"
	"fmt"
	"os"
	"sync"

	"github.com/jackc/pgx/v5"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"
)

func main() {
	dir := flag.String("dir", "", "directory of the goose files")
	k := flag.Int("k", 4, "connections")
	flag.Parse()
	if err := run(context.Background(), os.Getenv("DATABASE_URL"), *dir, *k); err != nil {
		fmt.Fprintln(os.Stderr, "provider:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, dsn, dir string, k int) error {
	schemas := make(chan string)
	failed := make(chan error, k)
	var workers sync.WaitGroup
	for range k {
		workers.Go(func() {
			if err := work(ctx, dsn, dir, schemas); err != nil {
				failed <- err
				for range schemas { // let the reader end
				}
			}
		})
	}
	names := bufio.NewScanner(os.Stdin)
	for names.Scan() {
		schemas <- names.Text()
	}
	close(schemas)
	workers.Wait()
	close(failed)
	if err := names.Err(); err != nil {
		return err
	}
	return <-failed
}

func work(ctx context.Context, dsn, dir string, schemas <-chan string) error {
	conn, err := sql.Open("pgx", dsn)
	if err != nil {
		return err
	}
	defer conn.Close()
	// One connection, so that the search_path is still that of the tenant when the
	// Provider asks for a connection.
	conn.SetMaxOpenConns(1)
	for schema := range schemas {
		if _, err := conn.ExecContext(ctx, "set search_path to "+pgx.Identifier{schema}.Sanitize()); err != nil {
			return err
		}
		provider, err := goose.NewProvider(goose.DialectPostgres, conn, os.DirFS(dir),
			goose.WithLogger(goose.NopLogger()), goose.WithDisableGlobalRegistry(true))
		if err != nil {
			return err
		}
		if _, err := provider.Up(ctx); err != nil {
			return fmt.Errorf("%s: %w", schema, err)
		}
	}
	return nil
}
