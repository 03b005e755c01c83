//go:build unix

package pgtest

import (
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Pooler starts a PgBouncer in transaction mode before a database and returns the
// connection string through it. It has two server connections, so that clients
// meet in them. PgBouncer stops with the test.
func Pooler(t testing.TB, dsn string) string {
	t.Helper()
	bin, err := exec.LookPath("pgbouncer")
	if err != nil {
		if bin, err = exec.LookPath("/usr/sbin/pgbouncer"); err != nil {
			t.Fatal("pgtest: pgbouncer is not installed: sudo apt-get install pgbouncer")
		}
	}
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	// The account of PgBouncer cannot enter t.TempDir().
	dir, err := os.MkdirTemp("/tmp", "crmctl-pooler-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	ini := filepath.Join(dir, "pgbouncer.ini")
	text := fmt.Sprintf(`[databases]
* = host=%s port=%d user=%s
[pgbouncer]
listen_addr =
listen_port = 6432
unix_socket_dir = %s
auth_type = any
pool_mode = transaction
default_pool_size = 2
max_client_conn = 100
server_login_retry = 1
`, cfg.Host, cfg.Port, cfg.User, dir)
	if err := os.WriteFile(ini, []byte(text), 0o644); err != nil { //nolint:gosec // another account reads it
		t.Fatal(err)
	}
	args := []string{"-q", ini}
	if os.Geteuid() == 0 { // PgBouncer refuses root: it runs as the server's account
		args = append([]string{"-u", own(t, dir, cfg.Host)}, args...)
	}
	cmd := exec.CommandContext(t.Context(), bin, args...)
	cmd.Stderr = os.Stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGINT)
		_ = cmd.Wait()
	})
	u := url.URL{Scheme: "postgres", User: url.User(cfg.User), Path: "/" + cfg.Database,
		RawQuery: url.Values{"host": {dir}, "port": {"6432"}}.Encode()}
	waitFor(t, u.String())
	return u.String()
}

// own gives dir to the account that owns the server's socket directory, and
// returns its name.
func own(t testing.TB, dir, socketDir string) string {
	t.Helper()
	info, err := os.Stat(socketDir)
	if err != nil {
		t.Fatal(err)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		t.Fatal("pgtest: no owner of the socket directory")
	}
	account, err := user.LookupId(strconv.Itoa(int(stat.Uid)))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chown(dir, int(stat.Uid), int(stat.Gid)); err != nil {
		t.Fatal(err)
	}
	return account.Username
}

func waitFor(t testing.TB, dsn string) {
	t.Helper()
	var err error
	for range 100 {
		var conn *pgx.Conn
		if conn, err = pgx.Connect(t.Context(), dsn); err == nil {
			_ = conn.Close(t.Context())
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("pgtest: the pooler does not answer: %v", err)
}
