package migrate

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/sqltext"
)

// FilesError says which files of a directory look like migrations and cannot be taken
// for one. To pass by them would leave a migration out without a word.
type FilesError struct{ Files []FileProblem }

// FileProblem is a file and what is wrong with it.
type FileProblem struct {
	File   string
	Reason string
}

// maxFilesNamed is how many files an error names.
const maxFilesNamed = 5

// Error names the first files and their reasons.
func (e *FilesError) Error() string {
	named := e.Files[:min(len(e.Files), maxFilesNamed)]
	lines := make([]string, len(named))
	for i, f := range named {
		lines[i] = fmt.Sprintf("%q %s", f.File, f.Reason)
	}
	text := strings.Join(lines, "; ")
	if more := len(e.Files) - len(named); more > 0 {
		text += fmt.Sprintf("; and %d more", more)
	}
	if tool, do := otherTool(e.Files); tool != "" {
		text += fmt.Sprintf("; these are files for %s: %s", tool, do)
	}
	return text
}

// checkSources looks at every entry of a directory of migrations. It returns the names
// of those that are none, and a *FilesError for those that goose would pass by, or stop
// at, although they look like one.
func checkSources(fsys fs.FS) (others []string, err error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	var problems []FileProblem
	versions := map[int64]string{}
	for _, entry := range entries {
		name := entry.Name()
		version, isMigration, reason := classify(fsys, name)
		if before := versions[version]; isMigration && before != "" {
			reason = sqltext.SameVersion(version, before)
		}
		switch {
		case reason != "":
			problems = append(problems, FileProblem{name, reason})
		case isMigration:
			versions[version] = name
		default:
			others = append(others, name)
		}
	}
	if len(problems) > 0 {
		return nil, &FilesError{problems}
	}
	return others, nil
}

// classify says what an entry of the directory is: a migration with its version, or
// something else, or (with a reason) what looks like a migration and is none.
func classify(fsys fs.FS, name string) (version int64, isMigration bool, reason string) {
	version, reason = sqltext.FileVersion(name)
	if version == 0 {
		return 0, false, reason
	}
	// What cannot be opened (no right, a directory, a link to nothing) is found now.
	if err := readable(fsys, name); err != nil {
		return 0, false, sqltext.Unreadable(err)
	}
	return version, true, ""
}

// readable reads the first byte of a file.
func readable(fsys fs.FS, name string) error {
	f, err := fsys.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	if _, err := f.Read(make([]byte, 1)); err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	return nil
}

// readText reads a file into one string, without a copy of it on the way.
func readText(fsys fs.FS, name string) (string, error) {
	f, err := fsys.Open(name)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	var b strings.Builder
	if info, err := f.Stat(); err == nil {
		b.Grow(int(info.Size()))
	}
	_, err = io.Copy(&b, f)
	return b.String(), err
}

// sortByVersion orders migrations by number: 2 comes before 10, whatever the names of
// their files say.
func sortByVersion(migrations []*Migration) {
	slices.SortFunc(migrations, func(a, b *Migration) int { return cmp.Compare(a.Version, b.Version) })
}
