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

// poll is how often something another process does is looked at again.
const poll = 10 * time.Millisecond

// lock waits until no other process starts, stops or resets the instance. The
// kernel takes the lock back from a process that dies. The error is os.ErrNotExist
// when the instance is gone.
func (in *instance) lock(ctx context.Context, observe func(Step)) (unlock func(), err error) {
	path := filepath.Join(in.dir, lockFile)
	for waiting := false; ; {
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o600)
		if err != nil {
			return nil, err
		}
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil && sameFile(f, path) {
			return func() { _ = f.Close() }, nil
		}
		// Either somebody holds it, or a reset removed the file meanwhile.
		_ = f.Close()
		if err != nil && !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !waiting {
			waiting = true
			observe(StepWait)
		}
		if err := sleep(ctx, poll); err != nil {
			return nil, fmt.Errorf("wait for another command on %s: %w", in.dir, err)
		}
	}
}

func sameFile(f *os.File, path string) bool {
	opened, err := f.Stat()
	if err != nil {
		return false
	}
	named, err := os.Lstat(path)
	return err == nil && os.SameFile(opened, named)
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
