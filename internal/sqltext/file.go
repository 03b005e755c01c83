package sqltext

import (
	"errors"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// FileVersion says what a file of a directory of migrations is by its name: a migration
// with its version, or (0 and no reason) something else, or (with a reason) what looks
// like a migration and cannot be taken for one. It reads a version as goose does.
func FileVersion(name string) (version int64, reason string) {
	version, named := number64(name)
	switch ext := path.Ext(name); {
	case ext == ".go" && named && !strings.HasSuffix(name, "_test.go"):
		return 0, "is a migration in Go, which can only run in a program that it is compiled into: write it in SQL"
	case ext == ".sql" && named:
		return version, ""
	case ext == ".sql":
		return 0, "has no name of a migration, VERSION_NAME.sql with a version from 1 to 9223372036854775807: rename it, " +
			"or move it elsewhere"
	case strings.EqualFold(ext, ".sql"):
		return 0, "does not end in .sql in lower case: rename it"
	}
	return 0, ""
}

// number64 returns the number before the first underscore of a name.
func number64(name string) (int64, bool) {
	digits, _, found := strings.Cut(name, "_")
	v, err := strconv.ParseInt(digits, 10, 64)
	return v, found && err == nil && v > 0
}

// SameVersion says of a migration that another one has its version.
func SameVersion(version int64, other string) string {
	return "has version " + strconv.FormatInt(version, 10) + ", as " + strconv.Quote(other) + " has"
}

// Unreadable says of a migration why nobody can read it. The name, which is said already,
// is left out.
func Unreadable(err error) string {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	return "cannot be read: " + err.Error()
}
