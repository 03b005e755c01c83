package localpg

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	// DefaultName is the instance meant by an empty Options.Name.
	DefaultName = "default"

	// User is the superuser of every instance.
	User = "crmctl"

	// Database is the database that Start creates for the user's data.
	Database = "crm"
)

// DefaultStartTimeout is how long Start waits for a server to accept connections
// when Options.StartTimeout is zero.
const DefaultStartTimeout = time.Minute

// Options says which instance is meant and how its server runs. The zero value
// is the default instance.
type Options struct {
	// Name of the instance: lower-case letters, digits, '-' and '_', at most 40
	// characters, starting with a letter or digit. Empty means DefaultName.
	// Ephemeral servers have no name.
	Name string

	// Root is the directory that holds the instances, one directory each. Empty
	// means DefaultRoot. An ephemeral server makes a directory for itself there, and
	// without Root in TMPDIR, in memory (/dev/shm with 4 GiB free) or in /tmp.
	Root string

	// BinDir holds initdb and postgres. Empty means: search for them, and prefer
	// the major version of an existing data directory.
	BinDir string

	// Settings are server parameters (as in postgresql.conf) that win over the
	// ones localpg chooses. They hold until the server stops.
	Settings map[string]string

	// Ephemeral asks for a server without durability that ends with this process.
	Ephemeral bool

	// StartTimeout bounds the wait for the server to accept connections. Zero
	// means DefaultStartTimeout.
	StartTimeout time.Duration

	// Observe, when not nil, is told of each step that takes time. It is called
	// from the goroutine that called Start or Stop.
	Observe func(Step)
}

// Step is a part of Start or Stop that takes time, in words fit for a user.
type Step string

// The steps that Options.Observe hears of.
const (
	StepWait       Step = "waiting for another command on this instance"
	StepInitialise Step = "creating the data directory"
	StepStart      Step = "starting the server"
	StepRecover    Step = "recovering after an unclean stop"
	StepStop       Step = "stopping the server"
)

// State of an instance.
type State string

// The states of an instance.
const (
	// Absent: there is no such instance.
	Absent State = "absent"
	// Stopped: shut down cleanly, or never started.
	Stopped State = "stopped"
	// Starting: the server runs and does not accept connections yet, or not any more.
	Starting State = "starting"
	// Running: the server accepts connections.
	Running State = "running"
	// Crashed: the server ended without a shutdown; Start recovers it.
	Crashed State = "crashed"
)

// Status describes an instance. Fields that do not apply are zero.
type Status struct {
	Name      string
	State     State
	PID       int       // of the postmaster, while it runs
	Version   string    // "15.18" while it runs, otherwise the major version of the data, "15"
	BinDir    string    // where the running server's binaries are; where known
	Dir       string    // the instance's own directory
	DataDir   string    // inside Dir
	SocketDir string    // inside Dir, or a short one under /tmp when Dir is too long for a socket
	LogFile   string    // inside Dir
	DSN       string    // a connection URL for Database; it holds no secret
	StartedAt time.Time // while it runs
	Bytes     int64     // size of the data directory
	Account   string    // the operating system's account that owns the data
}

// Server is a server that Start started or found running.
type Server struct {
	Status

	// AlreadyRunning says that Start found the server running.
	AlreadyRunning bool

	// Created says that Start made the data directory.
	Created bool

	keeper *keeper // what ties an ephemeral server to this process; nil for the others
	opts   Options
}

// ConnConfig says how to connect to Database, and holds nothing that libpq's
// environment or a file of the user says: no PGOPTIONS, no service, no password.
func (s Status) ConnConfig() (*pgx.ConnConfig, error) {
	return connConfig(s.SocketDir, Database)
}

// Start starts the instance, creating it when it is absent, and returns when its
// server accepts connections and Database exists. A server that already runs is
// returned as it is; Options.Settings do not reach it.
//
// Errors: ErrNoBinaries, ErrVersion, ErrNotOurs, ErrName, ErrUnreachableDir,
// ErrUnsupported, and *StartError with the last lines of the server's log. When ctx
// ends first, a server that Start launched is stopped again; when StartTimeout
// passes, it is left to go on (a recovery may be long), unless it is ephemeral.
func Start(ctx context.Context, o Options) (*Server, error) {
	return start(ctx, o)
}

// Stop ends the server: an ephemeral one at once and with its directory, any
// other as the function Stop does.
func (s *Server) Stop(ctx context.Context) error {
	if s.keeper != nil {
		return s.keeper.release(ctx)
	}
	return Stop(ctx, s.opts)
}

// Stop shuts the server of the instance down: fast (sessions are ended, data is
// flushed), and immediately when that takes more than 30 seconds, which Start then
// recovers from. It returns when the server's process is gone. An instance that
// does not run is left alone without an error.
func Stop(ctx context.Context, o Options) error {
	return stop(ctx, o)
}

// Inspect says how the instance is. It changes nothing and takes no lock; an
// instance that does not exist is Absent, not an error.
func Inspect(ctx context.Context, o Options) (Status, error) {
	return inspect(ctx, o)
}

// Reset stops the server and removes the instance with all its data. A directory
// without localpg's marker is refused with ErrNotOurs. An absent instance is no
// error.
func Reset(ctx context.Context, o Options) error {
	return reset(ctx, o)
}

// List inspects every instance under root, by name; an empty root means
// DefaultRoot. Directories that localpg did not make are left out.
func List(ctx context.Context, root string) ([]Status, error) {
	return list(ctx, root)
}

// DefaultRoot is the directory of the instances: $XDG_DATA_HOME/crmctl/local,
// with ~/.local/share for an unset XDG_DATA_HOME; for root, whose home an
// unprivileged account cannot enter, /var/lib/crmctl/local.
func DefaultRoot() (string, error) {
	return defaultRoot()
}

// FindBinaries returns the directory of initdb and postgres and the version there,
// as Start would choose it for a new instance: binDir when it is not empty, and
// nothing else then; otherwise what pg_config names, the usual places of the
// distributions and Homebrew, newest version first, and PATH. The error is
// ErrNoBinaries.
func FindBinaries(ctx context.Context, binDir string) (dir, version string, err error) {
	return newestBinaries(ctx, binDir)
}
