package pgtest

import (
	"os"
	"syscall"
)

// temporaryRoot prefers memory to the disk where there is plenty: a database is
// some 300 files, which a test makes and drops, and ext4 is slow to create files
// for minutes after many were removed. Empty is the usual place; TMPDIR wins.
func temporaryRoot() string {
	const memory, plenty = "/dev/shm", 4 << 30
	var fs syscall.Statfs_t
	if os.Getenv("TMPDIR") != "" || syscall.Statfs(memory, &fs) != nil {
		return ""
	}
	if fs.Bavail*uint64(fs.Bsize) < plenty {
		return ""
	}
	if info, err := os.Stat(memory); err != nil || info.Mode().Perm()&0o003 != 0o003 {
		return ""
	}
	return memory
}
