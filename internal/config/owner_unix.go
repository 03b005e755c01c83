//go:build unix

package config

import (
	"io/fs"
	"os"
	"syscall"
)

// checkOwner refuses a file that somebody else could have written: it decides
// which database a command with destructive powers works on.
func checkOwner(path string, info fs.FileInfo) error {
	if info.Mode().Perm()&0o022 != 0 {
		return invalidf("%s can be written by others (mode %04o), so it is not used\nrun: chmod go-w %s", path, info.Mode().Perm(), path)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return invalidf("%s belongs to another user (uid %d), so it is not used", path, stat.Uid)
	}
	return nil
}

func othersMayRead(info fs.FileInfo) bool { return info.Mode().Perm()&0o044 != 0 }
