//go:build unix

package backup

import (
	"fmt"
	"os"
	"syscall"
)

// checkPrivate refuses a file of secret keys of this user's that others can read. One
// that another account lays out (a mounted secret) has the permissions of its owner's
// choice, and a pipe has none to speak of.
func checkPrivate(f *os.File) error {
	info, err := f.Stat()
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && info.Mode().IsRegular() && int(stat.Uid) == os.Getuid() && info.Mode().Perm()&0o077 != 0 {
		return fmt.Errorf("%s can be read by others (mode %04o), so it is not used\nrun: chmod 600 %s", f.Name(),
			info.Mode().Perm(), f.Name())
	}
	return nil
}
