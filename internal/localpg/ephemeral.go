//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// ephemeralSettings give up what only matters after a crash or for a replica.
func ephemeralSettings() map[string]string {
	return map[string]string{
		"fsync":              "off",
		"synchronous_commit": "off",
		"full_page_writes":   "off",
		"wal_level":          "minimal",
		"max_wal_senders":    "0",
		"max_connections":    "200",
	}
}

func startEphemeral(ctx context.Context, o Options) (*Server, error) {
	in := &instance{name: "ephemeral"}
	var err error
	if in.account, err = serverAccount(""); err != nil {
		return nil, err
	}
	b, err := findBinaries(ctx, o.BinDir, 0, in.account)
	if err != nil {
		return nil, err
	}
	if err := in.makeTemporary(o.Root); err != nil {
		return nil, err
	}
	s := &Server{opts: o, Created: true}
	if s.keeper, err = in.startKeeper(); err != nil {
		_ = os.RemoveAll(in.dir)
		return nil, err
	}
	if err = in.runEphemeral(ctx, o, b); err == nil {
		s.Status, err = in.status(ctx)
	}
	if err != nil {
		_ = s.keeper.release(context.WithoutCancel(ctx))
		return nil, err
	}
	return s, nil
}

func (in *instance) runEphemeral(ctx context.Context, o Options, b binaries) error {
	settings, err := in.settings(ephemeralSettings(), o.Settings)
	if err != nil {
		return err
	}
	o.observe(StepInitialise)
	if err := os.Mkdir(in.dataDir(), 0o700); err != nil {
		return err
	}
	if err := in.account.own(in.dataDir()); err != nil {
		return err
	}
	if err := in.initdb(ctx, b, in.dataDir(), false); err != nil {
		return err
	}
	if err := in.makeSocketDir(); err != nil {
		return err
	}
	o.observe(StepStart)
	timed, cancel := context.WithTimeout(ctx, o.startTimeout())
	defer cancel()
	if _, err := in.bringUp(timed, b, settings); err != nil {
		return err
	}
	return in.ensureDatabase(ctx)
}

// makeTemporary makes the directory of an ephemeral server, in the first of the
// usual places where the account can reach it and a socket's path is short enough.
// It belongs to the account, which has to remove it.
func (in *instance) makeTemporary(root string) error {
	places := []string{root}
	if root == "" {
		places = temporaryPlaces()
	}
	var failed []error
	for _, place := range places {
		err := in.makeTemporaryIn(place)
		if err == nil {
			return nil
		}
		failed = append(failed, err)
	}
	return fmt.Errorf("make a directory for a temporary server: %w", errors.Join(failed...))
}

// temporaryPlaces respects a TMPDIR, and otherwise prefers memory.
func temporaryPlaces() []string {
	var places []string
	if dir := os.Getenv("TMPDIR"); dir != "" {
		places = append(places, dir)
	} else if dir := memoryDir(); dir != "" {
		places = append(places, dir)
	}
	return append(places, "/tmp", "/var/tmp")
}

func (in *instance) makeTemporaryIn(place string) error {
	place, err := filepath.Abs(place)
	if err != nil {
		return err
	}
	if err := in.account.canEnter(place); err != nil {
		return err
	}
	dir, err := os.MkdirTemp(place, "crmctl-pg-")
	if err != nil {
		return err
	}
	in.dir = dir
	if filepath.Dir(in.socketDir()) != dir { // the keeper removes this directory alone
		_ = os.Remove(dir)
		return fmt.Errorf("%s is no place for a socket: too long, or a comma in it", place)
	}
	return in.account.own(dir)
}

// keeper is a shell that ends a server with this process. It reads from a pipe whose other
// end only this process has. When that end closes, by Stop or because the process is gone,
// the shell stops the server and removes its directory. A parent-death signal is no
// substitute: it leaves the directory, exists on Linux alone, and comes when the thread
// ends that started the child.
type keeper struct {
	pipe *os.File
	dir  string
	done chan struct{} // closed when the shell has ended
}

const keeperScript = `
read -r _
if read -r pid <"$1/data/postmaster.pid"; then
	kill -QUIT "$pid"
	n=0
	while kill -0 "$pid" && [ "$n" -lt 600 ]; do sleep 0.05; n=$((n + 1)); done
fi
n=0
until rm -rf -- "$1"; [ -z "$(ls -A -- "$1")" ] || [ "$n" -ge 200 ]; do sleep 0.05; n=$((n + 1)); done
`

func (in *instance) startKeeper() (*keeper, error) {
	read, write, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer func() { _ = read.Close() }()
	cmd := in.account.command("/", "/bin/sh", "-c", keeperScript, "crmctl-pg-keeper", in.dir)
	cmd.Stdin = read
	if err := cmd.Start(); err != nil {
		_ = write.Close()
		return nil, fmt.Errorf("start the keeper of a temporary server: %w", err)
	}
	k := &keeper{pipe: write, dir: in.dir, done: make(chan struct{})}
	go func() {
		_ = cmd.Wait()
		close(k.done)
		// Named here so that the pipe stays open even when the caller forgets the
		// server: os.File closes itself when it becomes garbage.
		_ = k.pipe.Close()
	}()
	return k, nil
}

// release stops the server and returns when it and its directory are gone.
func (k *keeper) release(ctx context.Context) error {
	_ = k.pipe.Close() // closed already: released before
	select {
	case <-k.done:
	case <-ctx.Done():
		return fmt.Errorf("stop the temporary server in %s: %w", k.dir, ctx.Err())
	}
	// The account cannot remove a directory out of one that is root's alone.
	return os.RemoveAll(k.dir)
}
