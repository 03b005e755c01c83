//go:build unix

package localpg

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

func inspect(ctx context.Context, o Options) (Status, error) {
	in, err := instanceOf(o)
	if err != nil {
		return Status{}, err
	}
	exists, err := in.exists()
	if err != nil {
		return Status{}, err
	}
	if !exists {
		return Status{Name: in.name, State: Absent, Dir: in.dir}, nil
	}
	if err := in.checkOurs(); err != nil {
		return Status{}, err
	}
	return in.status(ctx)
}

func (in *instance) status(ctx context.Context) (Status, error) {
	s := Status{
		Name:      in.name,
		State:     Stopped,
		Dir:       in.dir,
		DataDir:   in.dataDir(),
		SocketDir: in.socketDir(),
		LogFile:   in.logFile(),
		DSN:       in.dsn(Database),
		Account:   in.account.name,
	}
	p, err := in.postmaster()
	if err != nil {
		return s, err
	}
	if p.pid != 0 {
		s.State = Crashed
	}
	if p.alive {
		s.State, s.PID, s.StartedAt, s.BinDir = Starting, p.pid, p.started, in.binDirOf()
		if version, up := in.ask(ctx); up {
			s.State, s.Version = Running, version
		}
	}
	if s.Version == "" {
		major, err := in.dataVersion()
		if err != nil {
			return s, err
		}
		if major != 0 {
			s.Version = strconv.Itoa(major)
		}
	}
	s.Bytes, err = diskUsage(in.dataDir())
	return s, err
}

// ask reports whether the server accepts connections, and its version, if it has a
// connection to spare.
func (in *instance) ask(ctx context.Context) (version string, up bool) {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	conn, err := in.connect(ctx, Database)
	if err != nil {
		return "", accepts(err)
	}
	defer hangUp(ctx, conn)
	version, _, _ = strings.Cut(conn.PgConn().ParameterStatus("server_version"), " ")
	return version, true
}

// diskUsage sums the sizes of the files, of which some may come and go meanwhile.
func diskUsage(dir string) (int64, error) {
	var bytes int64
	err := filepath.WalkDir(dir, func(_ string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			var info fs.FileInfo
			if info, err = entry.Info(); err == nil {
				bytes += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return bytes, err
}

func list(ctx context.Context, root string) ([]Status, error) {
	root, err := absoluteRoot(root)
	if err != nil {
		return nil, err
	}
	entries, err := os.ReadDir(root)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, whoseIs(root, err)
	}
	var all []Status
	for _, entry := range entries {
		candidate := instance{dir: filepath.Join(root, entry.Name())}
		if !entry.IsDir() || !namePattern.MatchString(entry.Name()) || !candidate.marked() {
			continue
		}
		in, err := instanceOf(Options{Root: root, Name: entry.Name()})
		if err != nil {
			return nil, err
		}
		s, err := in.status(ctx)
		if err != nil {
			return nil, err
		}
		all = append(all, s)
	}
	return all, nil
}
