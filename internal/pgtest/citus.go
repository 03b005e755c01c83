package pgtest

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// EnvCitus holds the URL of the coordinator of a Citus cluster whose tenants stand on workers,
// as a superuser. make test-citus sets it.
const EnvCitus = "CRMCTL_TEST_CITUS_URL"

// Citus returns the connection string of a fresh database on every node of the cluster, which
// is dropped when the test ends. Without a cluster the test is skipped.
func Citus(t testing.TB) string {
	t.Helper()
	url := os.Getenv(EnvCitus)
	if url == "" {
		t.Skip(EnvCitus + " does not say where the coordinator of a Citus cluster is")
	}
	type node struct {
		Host   string
		Port   int
		Worker bool
		Shards bool
	}
	var nodes []node
	err := onServer(url, func(ctx context.Context, conn *pgx.Conn) (err error) {
		rows, _ := conn.Query(ctx, `select nodename as host, nodeport as port, groupid <> 0 as worker,
			shouldhaveshards as shards from pg_dist_node where noderole = 'primary' order by groupid <> 0 desc`)
		nodes, err = pgx.CollectRows(rows, pgx.RowToStructByName[node])
		return err
	})
	if err != nil {
		t.Fatalf("pgtest: list the nodes of the cluster: %v", err)
	}
	name := "crmctl_test_" + strings.ToLower(rand.Text()[:12])
	at := func(n node) string {
		cfg, err := pgx.ParseConfig(url)
		if err != nil {
			t.Fatal(err)
		}
		u := "postgres://" + cfg.User + ":" + cfg.Password + "@" + net.JoinHostPort(n.Host, strconv.Itoa(n.Port))
		return u + "/postgres?sslmode=prefer"
	}
	t.Cleanup(func() {
		for _, n := range nodes {
			err := onServer(at(n), func(ctx context.Context, conn *pgx.Conn) error {
				_, err := conn.Exec(ctx, "drop database if exists "+quoted(name)+" with (force)")
				return err
			})
			if err != nil {
				t.Errorf("pgtest: drop the database %s: %v", name, err)
			}
		}
	})
	var coordinator string
	for _, n := range nodes {
		err := onServer(at(n), func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "create database "+quoted(name))
			return err
		})
		if err == nil {
			err = onServer(onDatabase(at(n), name), func(ctx context.Context, conn *pgx.Conn) error {
				_, err := conn.Exec(ctx, "create extension citus")
				return err
			})
		}
		if err != nil {
			t.Fatalf("pgtest: create a database on %s:%d: %v", n.Host, n.Port, err)
		}
		if !n.Worker {
			coordinator = onDatabase(at(n), name)
		}
	}
	err = onServer(coordinator, func(ctx context.Context, conn *pgx.Conn) error {
		for _, n := range slices.Backward(nodes) { // the coordinator first
			add := "select citus_add_node($1, $2)"
			if !n.Worker {
				add = "select citus_set_coordinator_host($1, $2)"
			}
			if _, err := conn.Exec(ctx, add, n.Host, n.Port); err != nil {
				return fmt.Errorf("add %s:%d: %w", n.Host, n.Port, err)
			}
			if _, err := conn.Exec(ctx, "select citus_set_node_property($1, $2, 'shouldhaveshards', $3)", n.Host, n.Port,
				n.Shards); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatalf("pgtest: make a cluster of the databases: %v", err)
	}
	return coordinator
}

// Recognize has a connection to a cluster, and those made as it was, know that it is one.
func Recognize(ctx context.Context, conn *pgx.Conn) error {
	found, err := db.Select(ctx, conn, pgx.RowTo[string], "select "+db.EngineSQL)
	if err == nil {
		err = db.Recognize(ctx, conn, found[0])
	}
	if err == nil && !db.EngineOf(conn).Distributed() {
		err = errors.New(EnvCitus + " leads to PostgreSQL without Citus")
	}
	return err
}
