package localpg

import (
	"errors"
	"fmt"
	"strings"
)

var (
	// ErrNoBinaries says that initdb and postgres were not found. The message names the
	// line that installs them on this platform.
	ErrNoBinaries = errors.New("no PostgreSQL server binaries found")

	// ErrVersion says that the data directory was made by another major version.
	ErrVersion = errors.New("data directory of another PostgreSQL major version")

	// ErrNotOurs says that the directory was not made by localpg, or that its data
	// belongs to another account.
	ErrNotOurs = errors.New("not an instance of this program")

	// ErrName says that the name of an instance or of a setting is not allowed.
	ErrName = errors.New("name not allowed")

	// ErrUnreachableDir says that the unprivileged account which runs root's
	// servers cannot enter a directory.
	ErrUnreachableDir = errors.New("directory out of reach of the server's account")

	// ErrUnsupported says that there is no private local PostgreSQL on this
	// operating system.
	ErrUnsupported = errors.New("the private local PostgreSQL needs Linux, macOS or another Unix; " +
		"use a PostgreSQL server of your own instead")
)

// ForeignError is ErrNotOurs for what belongs to another account.
type ForeignError struct {
	Dir     string
	Account string // a number where it has no name
}

func (e *ForeignError) Error() string {
	return fmt.Sprintf("the local PostgreSQL in %s belongs to the account %s", e.Dir, e.Account)
}

// Is makes errors.Is(err, ErrNotOurs) hold.
func (e *ForeignError) Is(target error) bool { return target == ErrNotOurs }

// BinariesError is ErrNoBinaries with what was searched and what to do about it.
type BinariesError struct {
	Searched []string // directories, in order
	Install  string   // the shell line that installs the server
}

func (e *BinariesError) Error() string {
	return fmt.Sprintf("%v (initdb and postgres; searched %s): install them with: %s",
		ErrNoBinaries, strings.Join(e.Searched, ", "), e.Install)
}

// Is makes errors.Is(err, ErrNoBinaries) hold.
func (e *BinariesError) Is(target error) bool { return target == ErrNoBinaries }

// VersionError is ErrVersion with the two versions.
type VersionError struct {
	Name    string // of the instance
	DataDir string
	Data    int    // major version that made the data directory
	Server  int    // major version of the binaries
	BinDir  string // where those are
}

func (e *VersionError) Error() string {
	return fmt.Sprintf("%s was made by PostgreSQL %d, and the server in %s is version %d", e.DataDir, e.Data,
		e.BinDir, e.Server)
}

// Is makes errors.Is(err, ErrVersion) hold.
func (e *VersionError) Is(target error) bool { return target == ErrVersion }

// StartError says that the server ended before it accepted connections, or did not
// accept them in time.
type StartError struct {
	Reason  string
	LogFile string
	LogTail string // the last lines of this start, possibly empty
	Err     error  // the error of the context that ended the wait, or nil
}

func (e *StartError) Error() string {
	msg := fmt.Sprintf("start PostgreSQL: %s (log: %s)", e.Reason, e.LogFile)
	if e.LogTail != "" {
		msg += "\n" + e.LogTail
	}
	return msg
}

// Unwrap returns e.Err.
func (e *StartError) Unwrap() error { return e.Err }
