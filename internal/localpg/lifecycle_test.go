//go:build unix

package localpg

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

func TestLifecycle(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Name = "trial"
	wantState(t, o, Absent)

	s := mustStart(t, o)
	if !s.Created || s.AlreadyRunning {
		t.Errorf("the first start says created %t, already running %t", s.Created, s.AlreadyRunning)
	}
	if s.State != Running || !processExists(s.PID) || s.Bytes == 0 || s.StartedAt.IsZero() || s.BinDir == "" ||
		s.Account == "root" {
		t.Errorf("status after the start: %+v", s.Status)
	}
	if got := query(t, s.DSN, `select current_user || ' ' || current_database() || ' ' ||
		current_setting('server_version')`); !strings.HasPrefix(got, "crmctl crm "+s.Version) {
		t.Errorf("the connection string leads to %q, status says version %s", got, s.Version)
	}
	for setting, want := range map[string]string{"listen_addresses": "", "fsync": "on"} {
		if got := query(t, s.DSN, `select current_setting('`+setting+`')`); got != want {
			t.Errorf("%s is %q, want %q", setting, got, want)
		}
	}
	for _, dir := range []string{s.DataDir, s.SocketDir} {
		info, err := os.Stat(dir)
		if err != nil {
			t.Fatal(err)
		}
		if info.Mode().Perm() != 0o700 {
			t.Errorf("%s has mode %v, want 0700", dir, info.Mode())
		}
	}
	query(t, s.DSN, `with made as (select set_config('x.y', '', true)) select '1'`)

	again := mustStart(t, o)
	if !again.AlreadyRunning || again.Created || again.PID != s.PID {
		t.Errorf("a second start gave %+v, want process %d", again, s.PID)
	}
	keepRow(t, s.DSN)
	stopAndCheck(t, o, s.PID)

	s = mustStart(t, o)
	wantRow(t, s.DSN)
	all, err := List(t.Context(), o.Root)
	if err != nil || len(all) != 1 || all[0].Name != "trial" || all[0].State != Running {
		t.Errorf("list: %+v, %v", all, err)
	}

	if err := Reset(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	wantState(t, o, Absent)
	if processExists(s.PID) {
		t.Error("the server runs after the reset")
	}
	if err := Reset(t.Context(), o); err != nil {
		t.Errorf("a second reset: %v", err)
	}
}

func stopAndCheck(t *testing.T, o Options, pid int) {
	t.Helper()
	if err := Stop(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if s := wantState(t, o, Stopped); s.Version == "" || s.PID != 0 {
		t.Errorf("status after the stop: %+v", s)
	}
	if processExists(pid) {
		t.Errorf("process %d is there after the stop", pid)
	}
	if err := Stop(t.Context(), o); err != nil {
		t.Errorf("a second stop: %v", err)
	}
}

func keepRow(t *testing.T, dsn string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if _, err := conn.Exec(t.Context(), `create table public.kept as select 'row' as value`); err != nil {
		t.Fatal(err)
	}
}

func wantRow(t *testing.T, dsn string) {
	t.Helper()
	if got := query(t, dsn, `select value from public.kept`); got != "row" {
		t.Errorf("the row is %q", got)
	}
}

// As root the tests above run the server as another account; here they run as an
// ordinary user does, and in an environment full of somebody else's PostgreSQL.
func TestAsOrdinaryUser(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Log("not root: every test runs as an ordinary user")
		return
	}
	t.Parallel()
	nobody := accountByName(t, "nobody")
	home := filepath.Join(newRoot(t), "home")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(home, "test")
	text, err := os.ReadFile(os.Args[0])
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(binary, text, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{home, binary} {
		if err := os.Chown(path, int(nobody.uid), int(nobody.gid)); err != nil {
			t.Fatal(err)
		}
	}
	run := func() ([]byte, error) {
		cmd := exec.Command(binary, "-test.run=^(TestLifecycle|TestEphemeralEndsWithItsProcess|TestDefaultRoot)$", "-test.v")
		cmd.Dir = home
		cmd.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME=",
			"PGHOST=db.example.com", "PGPORT=1", "PGDATABASE=elsewhere", "PGUSER=other", "PGSSLMODE=verify-full",
			"PGDATA=/nowhere")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody.uid, Gid: nobody.gid}}
		return cmd.CombinedOutput()
	}
	out, err := run()
	// A child that another test began while the file was written holds it for a
	// moment.
	for range 50 {
		if !errors.Is(err, syscall.ETXTBSY) {
			break
		}
		time.Sleep(20 * time.Millisecond)
		out, err = run()
	}
	if err != nil || strings.Count(string(out), "--- PASS") < 3 {
		t.Errorf("as nobody: %v\n%s", err, out)
	}
}

func TestDefaultRoot(t *testing.T) {
	home, err := os.UserHomeDir()
	if err != nil {
		t.Fatal(err)
	}
	for xdg, want := range map[string]string{
		"":           filepath.Join(home, ".local/share/crmctl/local"),
		"relative":   filepath.Join(home, ".local/share/crmctl/local"),
		"/some/data": "/some/data/crmctl/local",
	} {
		t.Setenv("XDG_DATA_HOME", xdg)
		if os.Geteuid() == 0 {
			want = "/var/lib/crmctl/local"
		}
		if got, err := DefaultRoot(); got != want || err != nil {
			t.Errorf("XDG_DATA_HOME=%q: %q, %v, want %q", xdg, got, err, want)
		}
	}
}

func TestConcurrentStarts(t *testing.T) {
	t.Parallel()
	o := options(t)
	resetAtTheEnd(t, o)
	var wg sync.WaitGroup
	servers := make([]*Server, 4)
	for i := range servers {
		wg.Go(func() {
			s, err := Start(t.Context(), o)
			if err != nil {
				t.Errorf("start %d: %v", i, err)
				return
			}
			servers[i] = s
		})
	}
	wg.Wait()
	created := 0
	for _, s := range servers {
		if s == nil {
			return
		}
		if s.Created {
			created++
		}
		if s.PID != servers[0].PID {
			t.Errorf("two servers: process %d and %d", s.PID, servers[0].PID)
		}
	}
	if created != 1 {
		t.Errorf("%d of the starts created the data directory, want 1", created)
	}
}

func TestForeignDirectory(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Name = "precious"
	dir := filepath.Join(o.Root, o.Name)
	file := filepath.Join(dir, "thesis.txt")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("ten years"), 0o644); err != nil {
		t.Fatal(err)
	}
	refuse := func(o Options) {
		t.Helper()
		_, startErr := Start(t.Context(), o)
		_, inspectErr := Inspect(t.Context(), o)
		for what, err := range map[string]error{
			"start": startErr, "inspect": inspectErr, "stop": Stop(t.Context(), o), "reset": Reset(t.Context(), o),
		} {
			if !errors.Is(err, ErrNotOurs) {
				t.Errorf("%s: %v, want ErrNotOurs", what, err)
			}
		}
	}
	refuse(o)
	if all, err := List(t.Context(), o.Root); err != nil || len(all) != 0 {
		t.Errorf("list: %v, %v, want none", all, err)
	}
	link := o
	link.Name = "link"
	if err := os.Symlink(dir, filepath.Join(o.Root, link.Name)); err != nil {
		t.Fatal(err)
	}
	refuse(link)
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("the directory holds %v now (%v), want thesis.txt alone", entries, err)
	}
}

func TestLongPath(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Root = filepath.Join(o.Root, strings.Repeat("long,and \"odd\"/", 12))
	s := mustStart(t, o)
	if filepath.Dir(s.SocketDir) != "/tmp" {
		t.Errorf("the socket is in %s, want a directory under /tmp", s.SocketDir)
	}
	keepRow(t, s.DSN)

	// A reboot: no server, nothing under /tmp.
	killServer(t, s)
	if err := os.RemoveAll(s.SocketDir); err != nil {
		t.Fatal(err)
	}
	wantRow(t, mustStart(t, o).DSN)

	// Somebody else was faster to make the directory.
	if err := Stop(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(s.SocketDir, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), o); !errors.Is(err, ErrNotOurs) {
		t.Errorf("a socket directory open to everybody: %v, want ErrNotOurs", err)
	}
	if err := os.Chmod(s.SocketDir, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Reset(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(s.SocketDir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is there after the reset: %v", s.SocketDir, err)
	}
}

// What a path may hold, a URL and the server's settings may not.
func TestOddRoot(t *testing.T) {
	t.Parallel()
	o := options(t)
	o.Root = filepath.Join(o.Root, `a b"c"+%41&x=1'é`)
	s := mustStart(t, o)
	if !strings.HasPrefix(s.SocketDir, o.Root) {
		t.Errorf("the socket is in %s", s.SocketDir)
	}
	if got := query(t, s.DSN, `select current_database()`); got != Database {
		t.Errorf("connected to %q", got)
	}
	if psql, err := exec.LookPath("psql"); err == nil {
		if out, err := exec.Command(psql, s.DSN, "-Atc", "select 1").CombinedOutput(); strings.TrimSpace(string(out)) != "1" {
			t.Errorf("psql %s: %v\n%s", s.DSN, err, out)
		}
	}
}

func TestNames(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"..", ".", "a/b", "A", "-rf", "_x", "a b", "ü", strings.Repeat("a", 41), "a\n"} {
		if _, err := Inspect(t.Context(), Options{Root: "/nowhere", Name: name}); !errors.Is(err, ErrName) {
			t.Errorf("%q: %v, want ErrName", name, err)
		}
	}
	for _, name := range []string{"", "a", "0", "a-b_c", strings.Repeat("a", 40)} {
		if s, err := Inspect(t.Context(), Options{Root: "/nowhere", Name: name}); err != nil || s.State != Absent {
			t.Errorf("%q: %s, %v, want absent", name, s.State, err)
		}
	}
}

func TestUnreachableRoot(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Log("not root: the server runs as this account")
		return
	}
	o := options(t)
	closed := filepath.Join(o.Root, "closed")
	if err := os.Mkdir(closed, 0o700); err != nil {
		t.Fatal(err)
	}
	o.Root = filepath.Join(closed, "instances")
	if _, err := Start(t.Context(), o); !errors.Is(err, ErrUnreachableDir) || !strings.Contains(err.Error(), closed) {
		t.Errorf("%v, want ErrUnreachableDir that names %s", err, closed)
	}
}

func TestFailingStart(t *testing.T) {
	t.Parallel()
	o := options(t)
	resetAtTheEnd(t, o)
	bad := o
	bad.Settings = map[string]string{"shared_buffers": "nonsense"}
	var failed *StartError
	if _, err := Start(t.Context(), bad); !errors.As(err, &failed) || !strings.Contains(failed.LogTail, "nonsense") {
		t.Fatalf("%v, want a StartError with the server's own words", err)
	}
	wantState(t, o, Stopped)

	for _, name := range []string{"listen_addresses", "port", "unix_socket_directories", "Work Mem", "-c", ""} {
		bad.Settings = map[string]string{name: "x"}
		if _, err := Start(t.Context(), bad); !errors.Is(err, ErrName) {
			t.Errorf("setting %q: %v, want ErrName", name, err)
		}
	}

	// Given up by its caller, a start leaves no server behind.
	ctx, cancel := context.WithCancel(t.Context())
	canceled := o
	canceled.Observe = func(s Step) {
		if s == StepStart {
			time.AfterFunc(20*time.Millisecond, cancel)
		}
	}
	if s, err := Start(ctx, canceled); err == nil {
		t.Logf("the server (%d) was faster", s.PID)
		if err := Stop(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	} else if !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want context.Canceled", err)
	}
	wantState(t, o, Stopped)

	// One that ran out of time leaves a server that the next start waits for.
	hasty := o
	hasty.StartTimeout = 15 * time.Millisecond
	if _, err := Start(t.Context(), hasty); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v, want context.DeadlineExceeded", err)
	}
	mustStart(t, o)
	if err := Stop(t.Context(), o); err != nil {
		t.Fatal(err)
	}

	s := mustStart(t, Options{Root: o.Root, BinDir: o.BinDir, Settings: map[string]string{"work_mem": "7MB"}})
	if got := query(t, s.DSN, `select current_setting('work_mem')`); got != "7MB" {
		t.Errorf("work_mem is %s, want 7MB", got)
	}
}

func accountByName(t *testing.T, name string) account {
	t.Helper()
	out, err := exec.Command("id", "-u", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return lookupID(parseID(strings.TrimSpace(string(out))))
}

// A directory that this account may not enter is said to be whose it is.
func TestWhoseIs(t *testing.T) {
	t.Parallel()
	dir := "/root" // for any account but root
	if os.Geteuid() == 0 {
		dir = t.TempDir()
		if err := os.Chown(dir, 65534, 65534); err != nil {
			t.Fatal(err)
		}
	}
	owner, err := ownerOf(dir)
	if err != nil {
		t.Skip("there is no directory of another account")
	}
	err = whoseIs(filepath.Join(dir, "local", "default", "data"), &os.PathError{Op: "lstat", Path: "x", Err: os.ErrPermission})
	found, is := errors.AsType[*ForeignError](err)
	if !is || found.Dir != dir || found.Account != lookupID(owner).name || !errors.Is(err, ErrNotOurs) {
		t.Errorf("%v, want that %s belongs to %s", err, dir, lookupID(owner).name)
	}
	for _, other := range []error{os.ErrNotExist, errors.New("else")} {
		if got := whoseIs(dir, other); !errors.Is(got, other) {
			t.Errorf("%v became %v", other, got)
		}
	}
	mine := filepath.Join(t.TempDir(), "x")
	if got := whoseIs(mine, os.ErrPermission); !errors.Is(got, os.ErrPermission) {
		t.Errorf("a directory of this account: %v", got)
	}
}
