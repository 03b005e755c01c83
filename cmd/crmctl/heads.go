package main

import (
	"io/fs"
	"strconv"
	"strings"

	"github.com/crmctl/crmctl/migrations"
)

// builtInHeads reads the newest versions off the names of the embedded files,
// which costs nothing; compiling them is for those who apply them.
func builtInHeads() migrationHeads {
	return migrationHeads{Public: newest(migrations.Public()), Tenant: newest(migrations.Tenant())}
}

func newest(fsys fs.FS) int64 {
	names, err := fs.Glob(fsys, "*.sql")
	if err != nil {
		return 0
	}
	var head int64
	for _, name := range names {
		digits, _, _ := strings.Cut(name, "_")
		if n, err := strconv.ParseInt(digits, 10, 64); err == nil {
			head = max(head, n)
		}
	}
	return head
}
