package db

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/jackc/pgx/v5"
)

// PassfileProblem says why the password file is not used, as psql would: others can
// read it, or it is no plain file. It returns "" where there is nothing to say: no such
// file, or a password from elsewhere.
func PassfileProblem(dsn string) string {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return ""
	}
	return passfileProblem(dsn, cfg.Password)
}

// passfileProblem is PassfileProblem for a connection string that pgx has read, which
// looks at no permissions.
func passfileProblem(dsn, password string) string {
	if password == "" || runtime.GOOS == "windows" {
		return ""
	}
	without, err := pgx.ParseConfig(withParam(dsn, "passfile", os.DevNull))
	if err != nil || without.Password == password {
		return "" // not from a file
	}
	path := passfileOf(dsn)
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return "" // named by a service file; it is what the user wrote there
	case !info.Mode().IsRegular():
		return fmt.Sprintf("password file %s is not used: it is no plain file", path)
	case info.Mode().Perm()&0o077 != 0:
		return fmt.Sprintf("password file %s is not used: others can read it (mode %04o); run: chmod 600 %s", path,
			info.Mode().Perm(), path)
	}
	return ""
}

// withParam adds a parameter to a connection string; the last of a name counts.
func withParam(dsn, name, value string) string {
	if strings.HasPrefix(dsn, "postgres://") || strings.HasPrefix(dsn, "postgresql://") {
		separator := "?"
		if strings.Contains(dsn, "?") {
			separator = "&"
		}
		return dsn + separator + name + "=" + value
	}
	return dsn + " " + name + "='" + value + "'"
}

// passfileOf returns the password file that a connection string means, or the
// environment, or the usual one.
func passfileOf(dsn string) string {
	for _, separator := range []string{"passfile=", "passfile ="} {
		i := strings.LastIndex(dsn, separator)
		if i < 0 {
			continue
		}
		value := strings.TrimLeft(dsn[i+len(separator):], " ")
		if quoted, ok := strings.CutPrefix(value, "'"); ok {
			value, _, _ = strings.Cut(quoted, "'")
		} else if end := strings.IndexAny(value, " \t\n&"); end >= 0 {
			value = value[:end]
		}
		if decoded, err := url.QueryUnescape(value); err == nil && strings.Contains(dsn, "://") {
			value = decoded
		}
		return value
	}
	if path := os.Getenv("PGPASSFILE"); path != "" {
		return path
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return ""
	}
	return filepath.Join(home, ".pgpass")
}
