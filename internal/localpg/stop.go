//go:build unix

package localpg

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// What PostgreSQL's postmaster makes of signals.
const (
	fastShutdown      = syscall.SIGINT  // ends the sessions, flushes the data
	immediateShutdown = syscall.SIGQUIT // leaves the rest to recovery
)

// stopPatience is how long a fast shutdown may take, immediatePatience the other:
// PostgreSQL itself kills after five seconds what does not quit.
const (
	stopPatience      = 30 * time.Second
	immediatePatience = 10 * time.Second
)

func stop(ctx context.Context, o Options) error {
	in, unlock, err := lockExisting(ctx, o)
	if err != nil || in == nil {
		return err
	}
	defer unlock()
	return in.stop(ctx, o)
}

func (in *instance) stop(ctx context.Context, o Options) error {
	p, err := in.postmaster()
	if err != nil || !p.alive {
		return err
	}
	o.observe(StepStop)
	gone, err := in.terminate(ctx, fastShutdown, stopPatience)
	if err == nil && !gone {
		gone, err = in.terminate(ctx, immediateShutdown, immediatePatience)
	}
	if err == nil && !gone {
		err = fmt.Errorf("stop PostgreSQL: process %d does not end (log: %s)", p.pid, in.logFile())
	}
	return err
}

func reset(ctx context.Context, o Options) error {
	in, unlock, err := lockExisting(ctx, o)
	if err != nil || in == nil {
		return err
	}
	defer unlock()
	if err := in.stop(ctx, o); err != nil {
		return err
	}
	if err := in.remove(); err != nil {
		return fmt.Errorf("remove instance %s: %w", in.name, err)
	}
	return nil
}

// remove takes the data first and the marker last: what is left of a remove that
// was cut short is still known as ours. The data goes out of its place in one step,
// as it came, so that nobody meets half of it there.
func (in *instance) remove() error {
	gone := filepath.Join(in.dir, "data.old")
	if err := os.RemoveAll(gone); err != nil {
		return err
	}
	if err := os.Rename(in.dataDir(), gone); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if dir := in.socketDir(); filepath.Dir(dir) != in.dir {
		if err := in.makeSocketDir(); err == nil { // that is, if it is the server's own
			if err := os.RemoveAll(dir); err != nil {
				return err
			}
		}
	}
	entries, err := os.ReadDir(in.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if entry.Name() == markerFile || entry.Name() == lockFile {
			continue
		}
		if err := os.RemoveAll(filepath.Join(in.dir, entry.Name())); err != nil {
			return err
		}
	}
	return os.RemoveAll(in.dir)
}

// lockExisting locks the instance; without one, all results are nil.
func lockExisting(ctx context.Context, o Options) (in *instance, unlock func(), err error) {
	in, err = instanceOf(o)
	if err != nil {
		return nil, nil, err
	}
	if exists, err := in.exists(); err != nil || !exists {
		return nil, nil, err
	}
	if err := in.checkOurs(); err != nil {
		return nil, nil, fmt.Errorf("instance %s: %w", in.name, err)
	}
	unlock, err = in.lock(ctx, o.observe)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil, nil
	}
	if err != nil {
		return nil, nil, fmt.Errorf("instance %s: %w", in.name, err)
	}
	return in, unlock, nil
}
