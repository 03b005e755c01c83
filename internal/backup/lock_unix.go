//go:build unix

package backup

import (
	"errors"
	"os"
	"syscall"
)

// tryLock takes the lock of a file until it is closed, unless another process has
// it.
func tryLock(f *os.File) bool {
	return syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil
}

// isInvalid reports whether the file system cannot flush a directory.
func isInvalid(err error) bool { return errors.Is(err, syscall.EINVAL) }

// locked takes the lock of a file until it is closed, and reports whether another
// process has it. Where the file system has no locks nobody has.
func locked(f *os.File) bool {
	return errors.Is(syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}
