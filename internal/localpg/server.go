//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// initdb makes a data directory in dir, which must be empty and belong to the
// account. Sorting is by bytes, the same everywhere; letters beyond ASCII are
// still known as letters, where the platform has such a locale.
func (in *instance) initdb(ctx context.Context, b binaries, dir string, durable bool) error {
	ctype := "C.UTF-8"
	if runtime.GOOS == "darwin" {
		ctype = "en_US.UTF-8"
	}
	out, err := in.runInitdb(ctx, b, dir, durable, ctype)
	if err != nil && strings.Contains(out, "invalid locale name") {
		out, err = in.runInitdb(ctx, b, dir, durable, "C")
	}
	if err != nil {
		return fmt.Errorf("create the data directory with %s: %w\n%s", filepath.Join(b.dir, "initdb"), err, lastLines(out))
	}
	return nil
}

func (in *instance) runInitdb(ctx context.Context, b binaries, dir string, durable bool, ctype string) (string, error) {
	args := []string{
		"--pgdata=" + dir, "--username=" + User, "--encoding=UTF8", "--locale=C", "--lc-ctype=" + ctype,
		// Whoever can enter the directory of the socket may connect, as any role;
		// there is no TCP, and if there were, it would be refused.
		"--auth-local=trust", "--auth-host=reject", "--no-instructions",
	}
	if !durable {
		args = append(args, "--no-sync")
	}
	cmd := in.account.command(dir, filepath.Join(b.dir, "initdb"), args...)
	var out strings.Builder
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		return "", err
	}
	// initdb removes what it made when it is interrupted.
	defer context.AfterFunc(ctx, func() { _ = cmd.Process.Signal(os.Interrupt) })()
	err := cmd.Wait()
	if ctx.Err() != nil {
		err = ctx.Err()
	}
	return out.String(), err
}

// process is a server that this process launched.
type process struct {
	os        *os.Process
	exited    chan struct{} // closed when the process is gone
	logOffset int64
}

func (p *process) gone() bool {
	select {
	case <-p.exited:
		return true
	default:
		return false
	}
}

// end stops a server that may not have got as far as its pid file.
func (p *process) end() {
	for _, sig := range []os.Signal{fastShutdown, immediateShutdown} {
		if err := p.os.Signal(sig); err != nil {
			return // it has ended
		}
		select {
		case <-p.exited:
			return
		case <-time.After(immediatePatience):
		}
	}
}

// launch runs postgres itself, not pg_ctl: it is one process less to go wrong.
func (in *instance) launch(b binaries, settings map[string]string) (*process, error) {
	dataDir, err := filepath.EvalSymlinks(in.dataDir())
	if err != nil {
		return nil, err
	}
	log, err := in.openLog()
	if err != nil {
		return nil, err
	}
	defer func() { _ = log.Close() }()
	offset, err := log.Seek(0, io.SeekEnd)
	if err != nil {
		return nil, err
	}
	args := []string{"-D", dataDir}
	for _, name := range slices.Sorted(maps.Keys(settings)) {
		args = append(args, "-c", name+"="+settings[name])
	}
	cmd := in.account.command(dataDir, filepath.Join(b.dir, "postgres"), args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start PostgreSQL: %w", err)
	}
	p := &process{os: cmd.Process, exited: make(chan struct{}), logOffset: offset}
	go func() {
		_ = cmd.Wait() // how it ended stands in its log
		close(p.exited)
	}()
	return p, nil
}

var settingPattern = regexp.MustCompile(`^[a-z_][a-z0-9_]*(\.[a-z_][a-z0-9_]*)?$`)

// settings merges the user's settings over base, and what localpg stands on over
// both: it refuses those rather than dropping them in silence.
func (in *instance) settings(base, user map[string]string) (map[string]string, error) {
	fixed := map[string]string{
		"listen_addresses": "",
		"port":             port,
		// A list, in which a quoted name may hold anything.
		"unix_socket_directories": `"` + strings.ReplaceAll(in.socketDir(), `"`, `""`) + `"`,
		"unix_socket_permissions": "0700",
		"logging_collector":       "off",
	}
	all := map[string]string{"cluster_name": "crmctl-" + in.name}
	maps.Copy(all, base)
	for name, value := range user {
		if _, ok := fixed[name]; ok || !settingPattern.MatchString(name) || strings.ContainsRune(value, 0) {
			return nil, fmt.Errorf("setting %q: %w", name, ErrName)
		}
		all[name] = value
	}
	maps.Copy(all, fixed)
	return all, nil
}

// bringUp launches the server, unless one that was started earlier is on its way,
// and returns when it accepts connections.
func (in *instance) bringUp(ctx context.Context, b binaries, settings map[string]string) (*process, error) {
	var p *process
	for {
		err := in.tryConnect(ctx)
		if accepts(err) {
			return p, nil
		}
		if ctx.Err() != nil {
			e := in.startError(p, "the server did not accept connections in time")
			e.Err = ctx.Err()
			return p, e
		}
		switch {
		case p == nil:
			found, err := in.postmaster()
			if err != nil {
				return nil, err
			}
			if found.alive {
				break
			}
			if err := in.clearStale(found); err != nil {
				return nil, err
			}
			if p, err = in.launch(b, settings); err != nil {
				return nil, err
			}
		case p.gone():
			if found, err := in.postmaster(); err == nil && found.alive {
				break // a start that was killed had launched it a moment before
			}
			failed := in.startError(p, "the server ended at once")
			if !strings.Contains(failed.LogTail, sharedMemoryInUse) {
				return p, failed
			}
			p = nil
		}
		if err := sleep(ctx, poll); err != nil {
			continue // for the error above
		}
	}
}

// sharedMemoryInUse is in the log when sessions of a killed server are still
// about to notice that it is gone.
const sharedMemoryInUse = "pre-existing shared memory block"

func (in *instance) startError(p *process, reason string) *StartError {
	e := &StartError{Reason: reason, LogFile: in.logFile()}
	if p == nil {
		return e
	}
	if f, err := os.Open(in.logFile()); err == nil {
		defer func() { _ = f.Close() }()
		text, _ := io.ReadAll(io.NewSectionReader(f, p.logOffset, 1<<20))
		e.LogTail = lastLines(string(text))
	}
	return e
}

// tryConnect opens and closes a connection to the user's database.
func (in *instance) tryConnect(ctx context.Context) error {
	conn, err := in.connect(ctx, Database)
	if err != nil {
		return err
	}
	hangUp(ctx, conn)
	return nil
}

// hangUp says goodbye also when ctx has ended, so that the server need not wonder.
func hangUp(ctx context.Context, conn *pgx.Conn) {
	_ = conn.Close(context.WithoutCancel(ctx))
}

func (in *instance) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	cfg, err := connConfig(in.socketDir(), database)
	if err != nil {
		return nil, err
	}
	return pgx.ConnectConfig(ctx, cfg)
}

// accepts tells from the error of a connection attempt whether the server is up:
// any answer other than "cannot connect now" (57P03) says so, and also that the
// user's database is missing or that all connections are taken.
func accepts(err error) bool {
	var answer *pgconn.PgError
	return err == nil || errors.As(err, &answer) && answer.Code != "57P03"
}

// ensureDatabase creates the user's database where a first start was cut short.
func (in *instance) ensureDatabase(ctx context.Context) error {
	err := in.tryConnect(ctx)
	var answer *pgconn.PgError
	if err == nil || !errors.As(err, &answer) || answer.Code != "3D000" {
		return nil // it exists; that all connections are taken says so, too
	}
	conn, err := in.connect(ctx, "postgres")
	if err != nil {
		return fmt.Errorf("create the database %s: %w", Database, err)
	}
	defer hangUp(ctx, conn)
	_, err = conn.Exec(ctx, "create database "+pgx.Identifier{Database}.Sanitize())
	// What a killed program has sent goes on in the server, which makes it or has just done so
	// (duplicate_database, unique_violation).
	if errors.As(err, &answer) && (answer.Code == "42P04" || answer.Code == "23505") {
		return nil
	}
	if err != nil {
		return fmt.Errorf("create the database %s: %w", Database, err)
	}
	return nil
}

const maxLog = 10 << 20

// openLog opens the log for appending and puts a long one aside.
func (in *instance) openLog() (*os.File, error) {
	path := in.logFile()
	if info, err := os.Lstat(path); err == nil && info.Size() > maxLog {
		if err := os.Rename(path, path+".1"); err != nil {
			return nil, err
		}
	}
	return os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND|syscall.O_NOFOLLOW, 0o600)
}

// lastLines keeps the end of a log, as much as fits in an error.
func lastLines(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(lines[max(0, len(lines)-10):], "\n")
}

// terminate signals the server of the instance, never another process, and waits
// until it is gone.
func (in *instance) terminate(ctx context.Context, sig syscall.Signal, patience time.Duration) (gone bool, err error) {
	p, err := in.postmaster()
	if err != nil || !p.alive {
		return err == nil, err
	}
	if err := syscall.Kill(p.pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
		return false, fmt.Errorf("stop PostgreSQL (process %d): %w", p.pid, err)
	}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); {
		if !in.runsAs(p.pid) {
			return true, nil
		}
		if err := sleep(ctx, poll); err != nil {
			return false, fmt.Errorf("wait for PostgreSQL (process %d) to stop: %w", p.pid, err)
		}
	}
	return false, nil
}
