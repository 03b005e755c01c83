package db

import (
	"regexp"
	"slices"
	"strings"
)

// urlScheme matches what stands before the first "://" of a URL.
var urlScheme = regexp.MustCompile(`^([A-Za-z][A-Za-z0-9+.-]*)://`)

// firstKey matches what key=value begins with: a name, which a broken URL with parameters
// has not. pgx would send that to the server as the name of a setting, and go by the
// defaults for everything else.
var firstKey = regexp.MustCompile(`^[a-z_][a-z0-9_.]*\s*=`)

// otherScheme returns for whom a connection string is written that is neither libpq's
// URL nor key=value, "" where it is one of these. It names no scheme but known ones.
func otherScheme(dsn string) string {
	dsn = strings.ToLower(strings.TrimSpace(dsn))
	if strings.HasPrefix(dsn, "jdbc:") || strings.HasPrefix(dsn, "r2dbc:") {
		before, _, _ := strings.Cut(dsn, ":")
		return before + " (" + before + ":postgresql:)"
	}
	match := urlScheme.FindStringSubmatch(dsn)
	switch {
	case match == nil && strings.Contains(dsn, "=") && !firstKey.MatchString(dsn):
		return "another program or driver"
	case match == nil:
		return ""
	}
	scheme := match[1]
	switch known := []string{
		"postgresql+asyncpg", "postgresql+psycopg", "postgresql+psycopg2", "postgresql+pg8000", "postgres+asyncpg",
		"postgres+psycopg2",
		"postgis", "pgsql", "pg", "psql", "pgx", "pgx5", "ecto", "prisma", "prisma+postgres", "cockroachdb", "mysql",
		"mariadb", "sqlite", "sqlserver", "mongodb",
	}; {
	case scheme == "postgres", scheme == "postgresql":
		return ""
	case slices.Contains(known, scheme):
		return "another program or driver (" + scheme + "://)"
	}
	return "another program or driver"
}
