package pgtest

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/localpg"
)

// timeout bounds each thing the harness does, so that a hanging server fails the
// test that met it.
const timeout = 2 * time.Minute

// shared is the server of this test process: tests of a package share it, and the
// testing package offers no other place to keep it.
var shared struct { //nolint:gochecknoglobals // one server per test process, see above
	sync.Mutex
	server *localpg.Server // nil until the first test asks, or when it is not ours
	dsn    string
	err    error
}

// Main runs the tests, stops the server if one was started, and returns the exit
// code. It fails when a statement of ours that the tests have made the program send
// names something without its schema while search_path holds more than PostgreSQL's
// own: whoever may create in such a schema could have it call what he likes.
//
// Processes that the tests start take part when EnvStatements reaches them and they
// call Child.
func Main(m interface{ Run() int }) int {
	dir, err := os.MkdirTemp("", "crmctl-statements-")
	if err == nil {
		err = os.Setenv(EnvStatements, dir)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "pgtest: %v\n", err)
		return 1
	}
	defer func() { _ = os.RemoveAll(dir) }()
	c := watch(nil)
	code := m.Run()
	return max(code, stop(), c.verdict(dir))
}

// stop ends the server of this process.
func stop() int {
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		return 0
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := shared.server.Stop(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "pgtest: %v\n", err)
		return 1
	}
	return 0
}

// Server starts the server of this test process, unless it runs, and returns the
// connection string of its maintenance database. Without server binaries the test
// fails and says how to install them; it is never skipped.
func Server(t testing.TB) string {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.dsn == "" && shared.err == nil {
		shared.dsn, shared.err = startServer()
	}
	if shared.err != nil {
		t.Fatalf("pgtest: %v", shared.err)
	}
	return shared.dsn
}

func startServer() (dsn string, err error) {
	if dsn := os.Getenv("CRMCTL_TEST_DATABASE_URL"); dsn != "" {
		return dsn, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	shared.server, err = localpg.Start(ctx, localpg.Options{
		Ephemeral: true,
		BinDir:    os.Getenv("CRMCTL_PG_BIN"),
	})
	if err != nil {
		return "", err
	}
	return onDatabase(shared.server.DSN, "postgres"), nil
}

// Empty returns the connection string of a fresh, empty database, which is dropped
// when the test ends.
func Empty(t testing.TB) string {
	t.Helper()
	return create(t, "template1")
}

// FromTemplate returns the connection string of a fresh database that is a copy of
// a template, dropped when the test ends. The template is made once per server by
// build, for each key; key must change whenever build would make something else (a
// hash of the migrations, say). Tests and processes may ask for it at the same time.
func FromTemplate(t testing.TB, key string, build func(ctx context.Context, conn *pgx.Conn) error) string {
	t.Helper()
	sum := sha256.Sum256([]byte(key))
	name := "crmctl_template_" + hex.EncodeToString(sum[:8])
	if err := ensureTemplate(Server(t), name, build); err != nil {
		t.Fatalf("pgtest: make the template database %s: %v", name, err)
	}
	return create(t, name)
}

// Instance starts a server of the test's own, for tests that kill it: it is durable,
// and with the options returned it can be stopped, inspected and started again. It
// is removed when the test ends.
func Instance(t testing.TB, settings map[string]string) (*localpg.Server, localpg.Options) {
	t.Helper()
	return instance(t, os.Getenv("CRMCTL_PG_BIN"), settings)
}

// Second starts a server as Instance does, of the programs in CRMCTL_TEST_SECOND_PG_BIN where that is
// set: for what goes from one server to another, which may be of another major version.
func Second(t testing.TB) (*localpg.Server, localpg.Options) {
	t.Helper()
	return instance(t, cmp.Or(os.Getenv("CRMCTL_TEST_SECOND_PG_BIN"), os.Getenv("CRMCTL_PG_BIN")), nil)
}

func instance(t testing.TB, bin string, settings map[string]string) (*localpg.Server, localpg.Options) {
	t.Helper()
	root, err := os.MkdirTemp("", "crmctl-instance-") //nolint:usetesting // its directories are closed to other accounts
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	o := localpg.Options{Root: root, BinDir: bin, Settings: settings}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), timeout)
		defer cancel()
		if err := errors.Join(localpg.Reset(ctx, o), os.RemoveAll(root)); err != nil {
			t.Errorf("pgtest: remove the test's own server: %v", err)
		}
	})
	if err := os.Chmod(root, 0o711); err != nil { //nolint:gosec // root's servers run as another account
		t.Fatalf("pgtest: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), timeout)
	defer cancel()
	s, err := localpg.Start(ctx, o)
	if err != nil {
		t.Fatalf("pgtest: %v", err)
	}
	return s, o
}

// create makes a database for the test out of a template.
func create(t testing.TB, template string) string {
	t.Helper()
	server := Server(t)
	name := "crmctl_test_" + strings.ToLower(rand.Text()[:12])
	err := onServer(server, func(ctx context.Context, conn *pgx.Conn) error {
		sql := "create database " + quoted(name) + " template " + quoted(template)
		if copiesFiles(conn) {
			sql += " strategy file_copy"
		}
		_, err := conn.Exec(ctx, sql)
		return err
	})
	if err != nil {
		t.Fatalf("pgtest: create a database: %v", err)
	}
	t.Cleanup(func() {
		err := onServer(server, func(ctx context.Context, conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "drop database if exists "+quoted(name)+" with (force)")
			return err
		})
		if err != nil {
			t.Errorf("pgtest: drop the database %s: %v", name, err)
		}
	})
	return onDatabase(server, name)
}

// copiesFiles reports whether to ask for the way to copy a database that takes two
// checkpoints. They cost nothing on our own server, which does not flush to the
// disk, and this way is three times as fast there. Before PostgreSQL 15 there is no
// other.
func copiesFiles(conn *pgx.Conn) bool {
	major, _, _ := strings.Cut(conn.PgConn().ParameterStatus("server_version"), ".")
	return shared.server != nil && major != "14"
}

// ensureTemplate makes the template unless it is there. An advisory lock lets one
// session build it while the others wait. The database is marked as a template, and
// closed to connections, which would keep it from being copied, only when it is
// complete: one without the mark was left by a build that failed.
func ensureTemplate(server, name string, build func(ctx context.Context, conn *pgx.Conn) error) error {
	return onServer(server, func(ctx context.Context, conn *pgx.Conn) error {
		const lock = `select pg_catalog.pg_advisory_lock(pg_catalog.hashtextextended($1, 0))`
		if _, err := conn.Exec(ctx, lock, name); err != nil { // until the connection closes
			return err
		}
		var complete bool
		const find = `select exists (select from pg_catalog.pg_database where datname = $1 and datistemplate)`
		if err := conn.QueryRow(ctx, find, name).Scan(&complete); err != nil || complete {
			return err
		}
		for _, sql := range []string{
			"drop database if exists " + quoted(name) + " with (force)",
			"create database " + quoted(name),
		} {
			if _, err := conn.Exec(ctx, sql); err != nil {
				return err
			}
		}
		if err := onServer(onDatabase(server, name), build); err != nil {
			return err
		}
		_, err := conn.Exec(ctx, "alter database "+quoted(name)+" with is_template true allow_connections false")
		return err
	})
}

// onServer calls do with a connection of its own.
func onServer(dsn string, do func(ctx context.Context, conn *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	return do(ctx, conn)
}

// onDatabase returns the connection string with another database in it, whether it
// is a URL or made of keywords.
func onDatabase(dsn, name string) string {
	u, err := url.Parse(dsn)
	if err != nil || u.Scheme != "postgres" && u.Scheme != "postgresql" {
		return dsn + " dbname=" + name // the last one counts
	}
	u.Path = "/" + name
	query := u.Query()
	query.Del("dbname")
	u.RawQuery = strings.ReplaceAll(query.Encode(), "+", "%20")
	return u.String()
}

func quoted(name string) string { return pgx.Identifier{name}.Sanitize() }
