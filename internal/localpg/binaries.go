//go:build unix

package localpg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strconv"
	"strings"
)

// binaries is a directory with initdb and postgres of one version.
type binaries struct {
	dir     string
	version string // "15.18"
	major   int
}

func newestBinaries(ctx context.Context, binDir string) (dir, version string, err error) {
	a, err := newAccount(uint32(os.Geteuid()))
	if err != nil {
		return "", "", err
	}
	b, err := findBinaries(ctx, binDir, 0, a)
	return b.dir, b.version, err
}

// findBinaries returns the binaries of binDir, or without it the first ones found
// that the account can run; those of the major version prefer win over others.
func findBinaries(ctx context.Context, binDir string, prefer int, a account) (binaries, error) {
	candidates := []string{binDir}
	if binDir == "" {
		candidates = candidateDirs(ctx)
	}
	var found []binaries
	for _, dir := range candidates {
		b, err := binariesIn(ctx, dir, a)
		switch {
		case err == nil && (prefer == 0 || b.major == prefer):
			return b, nil
		case err == nil:
			found = append(found, b)
		case ctx.Err() != nil:
			return binaries{}, ctx.Err()
		case binDir != "" && !errors.Is(err, fs.ErrNotExist):
			return binaries{}, err
		}
	}
	if len(found) > 0 {
		return found[0], nil
	}
	return binaries{}, &BinariesError{Searched: candidates, Install: installLine()}
}

// binariesIn wants both programs in dir and asks postgres for its version.
func binariesIn(ctx context.Context, dir string, a account) (binaries, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return binaries{}, err
	}
	for _, program := range []string{"initdb", "postgres"} {
		if _, err := os.Stat(filepath.Join(dir, program)); err != nil {
			return binaries{}, err
		}
	}
	if err := a.canEnter(dir); err != nil {
		return binaries{}, err
	}
	out, err := exec.CommandContext(ctx, filepath.Join(dir, "postgres"), "--version").Output()
	if err != nil {
		return binaries{}, fmt.Errorf("ask %s for its version: %w", filepath.Join(dir, "postgres"), err)
	}
	version, major, err := parseVersion(string(out))
	if err != nil {
		return binaries{}, fmt.Errorf("ask %s for its version: %w", filepath.Join(dir, "postgres"), err)
	}
	return binaries{dir: dir, version: version, major: major}, nil
}

// candidateDirs lists where the binaries may be, best first, each once.
func candidateDirs(ctx context.Context) []string {
	var dirs []string
	if out, err := exec.CommandContext(ctx, "pg_config", "--bindir").Output(); err == nil {
		dirs = append(dirs, strings.TrimSpace(string(out)))
	}
	for _, pattern := range []string{
		"/usr/lib/postgresql/*/bin",            // Debian, Ubuntu
		"/usr/pgsql-*/bin",                     // Fedora, RHEL with the packages of postgresql.org
		"/usr/libexec/postgresql*",             // Alpine
		"/opt/homebrew/opt/postgresql@*/bin",   // Homebrew on Apple silicon
		"/usr/local/opt/postgresql@*/bin",      // Homebrew on Intel
		"/Library/PostgreSQL/*/bin",            // the installer for macOS
		"/Applications/Postgres.app/*/*/*/bin", // Postgres.app
	} {
		matches, _ := filepath.Glob(pattern) // its only error is a malformed pattern
		dirs = append(dirs, newestFirst(matches)...)
	}
	dirs = append(dirs, "/opt/homebrew/bin", "/usr/local/pgsql/bin")
	for _, dir := range filepath.SplitList(os.Getenv("PATH")) {
		if filepath.IsAbs(dir) {
			dirs = append(dirs, dir)
		}
	}
	var unique []string
	for _, dir := range dirs {
		if !slices.Contains(unique, dir) {
			unique = append(unique, dir)
		}
	}
	return unique
}

var digits = regexp.MustCompile(`[0-9]+`)

// newestFirst sorts paths by the first number in them, downwards: 9.6 < 15 < 18.
func newestFirst(paths []string) []string {
	number := func(path string) int {
		n, _ := strconv.Atoi(digits.FindString(path))
		return n
	}
	slices.SortStableFunc(paths, func(a, b string) int { return number(b) - number(a) })
	return paths
}

var versionPattern = regexp.MustCompile(`\(PostgreSQL\) (([0-9]+)[0-9A-Za-z.]*)`)

// parseVersion reads the line of postgres --version,
// "postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)".
func parseVersion(line string) (version string, major int, err error) {
	m := versionPattern.FindStringSubmatch(line)
	if m == nil {
		return "", 0, fmt.Errorf("no version in %q", line)
	}
	major, err = strconv.Atoi(m[2])
	return m[1], major, err
}

// installLine is what a user of this platform types to get the binaries.
func installLine() string {
	if runtime.GOOS == "darwin" {
		return "brew install postgresql@18"
	}
	line := "sudo apt-get install postgresql"
	family := osRelease("/etc/os-release")
	for _, known := range []struct{ id, line string }{
		{"debian", line},
		{"ubuntu", line},
		{"fedora", "sudo dnf install postgresql-server"},
		{"rhel", "sudo dnf install postgresql-server"},
		{"suse", "sudo zypper install postgresql-server"},
		{"arch", "sudo pacman -S postgresql"},
		{"alpine", "sudo apk add postgresql"},
	} {
		if slices.Contains(family, known.id) {
			line = known.line
			break
		}
	}
	if os.Geteuid() == 0 {
		line = strings.TrimPrefix(line, "sudo ")
	}
	return line
}

// osRelease returns the words of ID and ID_LIKE, see os-release(5).
func osRelease(path string) []string {
	f, err := os.Open(path)
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	var words []string
	for lines := bufio.NewScanner(f); lines.Scan(); {
		if key, value, ok := strings.Cut(lines.Text(), "="); ok && (key == "ID" || key == "ID_LIKE") {
			words = append(words, strings.Fields(strings.Trim(value, `"'`))...)
		}
	}
	return words
}
