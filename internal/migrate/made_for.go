package migrate

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// OtherToolError says that the files of a directory were written for another tool.
type OtherToolError struct {
	Tool string // "dbmate"
	File string // one of them
	Do   string // what makes goose's of them
	Err  error  // ErrNoMigrations, or what goose says of the file; nil for none
}

// Error names the tool, and says what goose wants.
func (e *OtherToolError) Error() string {
	return fmt.Sprintf("%q is a file for %s: %s", e.File, e.Tool, e.Do)
}

// Unwrap returns what goose says of the file.
func (e *OtherToolError) Unwrap() error { return e.Err }

// What makes goose's files of other tools'.
const (
	fromPairs = "goose wants one file VERSION_NAME.sql with -- +goose Up and -- +goose Down in place of each pair of " +
		".up.sql and .down.sql"
	fromDbmate = "goose wants -- +goose Up in place of -- migrate:up, and -- +goose Down in place of -- migrate:down"
	fromTern   = "goose wants -- +goose Up as the first line, and -- +goose Down in place of ---- create above / drop " +
		"below ----"
	fromFlyway = "goose wants VERSION_NAME.sql, with -- +goose Up as its first line, in place of V1__name.sql"
	fromPrisma = "goose wants each migration.sql as a file VERSION_NAME.sql beside the others, with -- +goose Up as its " +
		"first line"
	fromCode = "its migrations are programs; write what they make as SQL, in files VERSION_NAME.sql with -- +goose Up " +
		"as the first line"
)

// errNoUp says of a file that nothing in it is for goose.
var errNoUp = errors.New("no line -- +goose Up, which comes before the first statement")

const ternSeparator = "---- create above / drop below ----"

// madeFor returns an *OtherToolError where the text or the name of a file that goose
// cannot read is that of another tool, and err otherwise.
func madeFor(file, text string, err error) error {
	other := func(tool, do string) error { return &OtherToolError{Tool: tool, File: file, Do: do, Err: err} }
	switch {
	case strings.Contains(text, "+goose"):
		return err
	case dbmateUp.MatchString(text):
		return other("dbmate", fromDbmate)
	case strings.Contains(text, ternSeparator):
		return other("tern", fromTern)
	case isHalf(file):
		return other("golang-migrate", fromPairs)
	}
	return errNoUp
}

var (
	dbmateUp   = regexp.MustCompile(`(?m)^\s*--\s*migrate:up\b`)
	flywayFile = regexp.MustCompile(`^([VU][0-9][0-9._]*|R)__.*\.sql$`)
	codeFile   = regexp.MustCompile(`^[0-9]+_.*\.(js|cjs|mjs|ts|cts|mts|rb|py)$|^[0-9]+\..*\.php$`)
)

// isHalf reports whether a file is one of a pair that golang-migrate and others want.
func isHalf(file string) bool {
	return strings.HasSuffix(file, ".up.sql") || strings.HasSuffix(file, ".down.sql")
}

// otherTool returns what to do with files that have names of another tool's, "" where
// they have not.
func otherTool(files []FileProblem) (tool, do string) {
	every := func(is func(string) bool) bool {
		return !slices.ContainsFunc(files, func(f FileProblem) bool { return !is(f.File) })
	}
	switch {
	case every(isHalf):
		return "golang-migrate", fromPairs
	case every(flywayFile.MatchString):
		return "Flyway", fromFlyway
	}
	return "", ""
}

// noMigrations returns an *OtherToolError for a directory that has migrations of another
// tool alone, and ErrNoMigrations for any other.
func noMigrations(fsys fs.FS, others []string) error {
	for _, name := range others {
		if codeFile.MatchString(name) {
			tool := map[string]string{".rb": "Rails", ".py": "Django"}[path.Ext(name)]
			if tool == "" {
				tool = "a tool such as knex"
			}
			return &OtherToolError{Tool: tool, File: name, Do: fromCode, Err: ErrNoMigrations}
		}
		if found, err := fs.Stat(fsys, path.Join(name, "migration.sql")); err == nil && found.Mode().IsRegular() {
			return &OtherToolError{Tool: "Prisma", File: path.Join(name, "migration.sql"), Do: fromPrisma, Err: ErrNoMigrations}
		}
	}
	return ErrNoMigrations
}
