//go:build unix

package localpg

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// postmaster is what the server wrote into postmaster.pid. The file stays when the
// server is killed, and its pid may belong to any other process by then.
type postmaster struct {
	pid     int
	started time.Time
	alive   bool // the process is the server of this data directory
}

// postmaster reads the file; without one the result is zero.
func (in *instance) postmaster() (postmaster, error) {
	text, err := os.ReadFile(in.pidFile())
	if errors.Is(err, os.ErrNotExist) {
		return postmaster{}, nil
	}
	if err != nil {
		return postmaster{}, err
	}
	lines := strings.Split(string(text), "\n")
	pid, _ := strconv.Atoi(strings.TrimSpace(lines[0]))
	if pid <= 1 {
		return postmaster{}, nil // the file is being written
	}
	p := postmaster{pid: pid, alive: in.runsAs(pid)}
	if len(lines) > 2 {
		if seconds, err := strconv.ParseInt(strings.TrimSpace(lines[2]), 10, 64); err == nil {
			p.started = time.Unix(seconds, 0)
		}
	}
	return p, nil
}

func (in *instance) pidFile() string { return filepath.Join(in.dataDir(), "postmaster.pid") }

// runsAs reports whether the process is alive and is the server of this instance.
func (in *instance) runsAs(pid int) bool {
	if err := syscall.Kill(pid, 0); err != nil && !errors.Is(err, syscall.EPERM) {
		return false
	}
	dir, err := filepath.EvalSymlinks(in.dataDir())
	return err == nil && isPostgres(pid, in.account.uid, dir)
}

// clearStale removes what a killed server left and a new one would trip over.
// PostgreSQL overwrites the file of a dead process itself, but refuses to start
// when the pid in it, or in the lock file of the socket, belongs to any living one.
// Only to be called while no server of this instance is alive; if one were, its
// shared memory would still keep a second one off the data.
func (in *instance) clearStale(p postmaster) error {
	stale := []string{socketPath(in.socketDir()), socketPath(in.socketDir()) + ".lock"}
	if p.pid != 0 && syscall.Kill(p.pid, 0) != syscall.ESRCH {
		stale = append(stale, in.pidFile())
	}
	for _, path := range stale {
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("remove what a killed server left: %w", err)
		}
	}
	return nil
}

// binDirOf tells where the running server's binaries are, from the command line
// that it keeps in its data directory.
func (in *instance) binDirOf() string {
	text, err := os.ReadFile(filepath.Join(in.dataDir(), "postmaster.opts"))
	if err != nil {
		return ""
	}
	program, _, ok := strings.Cut(string(text), ` "`)
	if !ok {
		return ""
	}
	return filepath.Dir(program)
}
