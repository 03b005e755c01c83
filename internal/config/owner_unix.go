//go:build unix

package config

import (
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// checkOwner refuses a file that somebody else could have written: it decides
// which database a command with destructive powers works on.
func checkOwner(path string, info fs.FileInfo) error {
	if info.Mode().Perm()&0o022 != 0 {
		return invalidf("%s can be written by others (mode %04o), so it is not used\nrun: chmod go-w %s", path,
			info.Mode().Perm(), path)
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	if ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
		return invalidf("%s belongs to another user (uid %d), so it is not used", path, stat.Uid)
	}
	return nil
}

func othersMayRead(info fs.FileInfo) bool { return info.Mode().Perm()&0o044 != 0 }

// checkProjectFile looks at the file of the working directory before it is opened. A
// link that somebody else put there leads to a file of their choice, a pipe would
// hold the program up, and where a directory belongs to somebody else, or everybody may
// rename what is in it, a file of the user's own may have been moved there.
func checkProjectFile(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return nil //nolint:nilerr // opening it says the same
	}
	for _, name := range []string{path, filepath.Dir(path)} {
		at, err := os.Lstat(name)
		if name != path {
			at, err = os.Stat(name)
		}
		if err != nil {
			return invalidf("read configuration: %v", err)
		}
		stat, ok := at.Sys().(*syscall.Stat_t)
		if ok && stat.Uid != 0 && int(stat.Uid) != os.Geteuid() {
			return invalidf("%s belongs to another user (uid %d), so %s is not used", name, stat.Uid, path)
		}
		if at.IsDir() && name != path && at.Mode().Perm()&0o002 != 0 && at.Mode()&os.ModeSticky == 0 {
			return invalidf("everybody can write into %s (mode %04o), so %s is not used", name, at.Mode().Perm(), path)
		}
	}
	if info.Mode()&os.ModeSymlink != 0 {
		if info, err = os.Stat(path); err != nil {
			return nil //nolint:nilerr // opening it says the same
		}
	}
	if !info.Mode().IsRegular() {
		return invalidf("%s is not a configuration file: it is no plain file", path)
	}
	return nil
}
