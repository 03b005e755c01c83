//go:build unix

package localpg

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
)

const (
	port = "5432" // only part of the socket's name

	markerFile = "crmctl-local.txt"
	lockFile   = "lock"

	markerText = "crmctl made this directory for a private local PostgreSQL (format 1).\n" +
		"'crmctl local reset' removes it with all its data.\n"

	// maxSocketPath is what every Unix takes: sun_path holds 104 bytes on macOS
	// and 108 on Linux, the last of them NUL.
	maxSocketPath = 103
)

// instance is the directory of one server.
type instance struct {
	name    string
	dir     string
	account account
}

var namePattern = regexp.MustCompile(`^[a-z0-9][a-z0-9_-]{0,39}$`)

// instanceOf resolves name and root; it changes nothing.
func instanceOf(o Options) (*instance, error) {
	name := o.Name
	if name == "" {
		name = DefaultName
	}
	if o.Ephemeral {
		return nil, fmt.Errorf("%w: an ephemeral server is not an instance, only its Server can stop it", ErrName)
	}
	if !namePattern.MatchString(name) {
		return nil, fmt.Errorf("instance %q: %w: use lower-case letters, digits, '-' and '_', at most 40", name, ErrName)
	}
	root, err := absoluteRoot(o.Root)
	if err != nil {
		return nil, err
	}
	in := &instance{name: name, dir: filepath.Join(root, name)}
	if in.account, err = serverAccount(in.dataDir()); err != nil {
		return nil, fmt.Errorf("instance %s: %w", name, err)
	}
	return in, nil
}

func absoluteRoot(root string) (string, error) {
	if root == "" {
		return defaultRoot()
	}
	return filepath.Abs(root)
}

func defaultRoot() (string, error) {
	if os.Geteuid() == 0 {
		return "/var/lib/crmctl/local", nil
	}
	// The XDG specification ignores a path that is not absolute.
	if dir := os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "crmctl", "local"), nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", fmt.Errorf("find a directory for the data: %w", err)
	}
	return filepath.Join(home, ".local", "share", "crmctl", "local"), nil
}

func (in *instance) dataDir() string { return filepath.Join(in.dir, "data") }
func (in *instance) logFile() string { return filepath.Join(in.dir, "postgres.log") }

// socketDir is inside the instance, unless its path is too long for a socket or
// holds a comma, which divides hosts in a connection string: then it is a directory
// under /tmp, named after the instance's path.
func (in *instance) socketDir() string {
	dir := filepath.Join(in.dir, "run")
	if len(socketPath(dir)) <= maxSocketPath && !strings.Contains(dir, ",") {
		return dir
	}
	sum := sha256.Sum256([]byte(in.dir))
	return "/tmp/crmctl-" + hex.EncodeToString(sum[:8])
}

func socketPath(dir string) string { return filepath.Join(dir, ".s.PGSQL."+port) }

// dsn is a URL that libpq and pgx read alike: '/' may stand as it is in a query,
// and '+' is no space there.
func (in *instance) dsn(database string) string {
	host := url.QueryEscape(in.socketDir())
	host = strings.NewReplacer("%2F", "/", "+", "%20").Replace(host)
	return fmt.Sprintf("postgres://%s@/%s?host=%s&port=%s", User, database, host, port)
}

// create makes the instance's directory and marker where they are missing, and
// refuses a directory that somebody else made.
func (in *instance) create() error {
	if err := in.makeParents(filepath.Dir(in.dir)); err != nil {
		return err
	}
	if err := in.account.canEnter(filepath.Dir(in.dir)); err != nil {
		return err
	}
	// Root's instance belongs to root, so that the server's account cannot put a
	// link where root writes; that account owns data and run inside.
	if err := makeDir(in.dir, in.dirMode()); err != nil {
		return err
	}
	return in.checkOurs()
}

func (in *instance) dirMode() os.FileMode {
	if in.account.switched {
		return 0o711
	}
	return 0o700
}

// makeParents is MkdirAll, except that the umask must not shut the server's
// account out.
func (in *instance) makeParents(dir string) error {
	if _, err := os.Stat(dir); !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := in.makeParents(filepath.Dir(dir)); err != nil {
		return err
	}
	mode := os.FileMode(0o700)
	if in.account.switched {
		mode = 0o755
	}
	return makeDir(dir, mode)
}

// makeDir makes a directory with exactly this mode; one that is there stays as it is.
func makeDir(dir string, mode os.FileMode) error {
	err := os.Mkdir(dir, mode)
	if errors.Is(err, os.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Chmod(dir, mode)
}

func (in *instance) mark() error {
	return os.WriteFile(filepath.Join(in.dir, markerFile), []byte(markerText), 0o600)
}

func (in *instance) exists() (bool, error) {
	_, err := os.Lstat(in.dir)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// checkOurs refuses a directory without the marker. One that holds nothing, or
// nothing but the lock, is what an interrupted start or reset leaves.
func (in *instance) checkOurs() error {
	info, err := os.Lstat(in.dir)
	if err != nil {
		return err
	}
	if !info.IsDir() {
		return fmt.Errorf("%w: %s is not a directory", ErrNotOurs, in.dir)
	}
	if in.marked() {
		return nil
	}
	entries, err := os.ReadDir(in.dir)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		// The marker may be a moment younger than the look above.
		if entry.Name() != lockFile && entry.Name() != markerFile {
			return fmt.Errorf("%w: %s holds %s and no %s", ErrNotOurs, in.dir, entry.Name(), markerFile)
		}
	}
	return nil
}

func (in *instance) marked() bool {
	info, err := os.Lstat(filepath.Join(in.dir, markerFile))
	return err == nil && info.Mode().IsRegular()
}

// makeSocketDir makes the directory of the socket, or accepts one that is the
// server's own and private: under /tmp anybody could have been first.
func (in *instance) makeSocketDir() error {
	dir := in.socketDir()
	err := os.Mkdir(dir, 0o700)
	if err == nil {
		return in.account.own(dir)
	}
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	if !info.IsDir() || info.Sys().(*syscall.Stat_t).Uid != in.account.uid || info.Mode().Perm() != 0o700 {
		return fmt.Errorf("%w: %s is not a private directory of %s", ErrNotOurs, dir, in.account.name)
	}
	return nil
}

// dataVersion is the major version that made the data directory, 0 when there is
// none yet.
func (in *instance) dataVersion() (int, error) {
	text, err := os.ReadFile(filepath.Join(in.dataDir(), "PG_VERSION"))
	if errors.Is(err, os.ErrNotExist) {
		if _, err := os.Lstat(in.dataDir()); err == nil {
			return 0, fmt.Errorf("%w: %s is no data directory of PostgreSQL", ErrNotOurs, in.dataDir())
		}
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	major, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%w: %s/PG_VERSION says %q", ErrNotOurs, in.dataDir(), text)
	}
	return major, nil
}
