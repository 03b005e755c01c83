//go:build unix

package localpg

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"syscall"
)

// account is the operating system's account that runs a server and owns its data.
type account struct {
	name     string
	home     string
	uid, gid uint32
	switched bool // not the account of this process: root starts the server as it
}

// serverAccount returns the owner of dataDir when it exists, and otherwise the
// account a new server would belong to: this process's own, or, for root, an
// unprivileged one.
func serverAccount(dataDir string) (account, error) {
	euid := uint32(os.Geteuid())
	owner, err := ownerOf(dataDir)
	switch {
	case errors.Is(err, os.ErrNotExist):
		return newAccount(euid)
	case err != nil:
		return account{}, whoseIs(dataDir, err)
	case owner == 0:
		return account{}, fmt.Errorf("%w: %s belongs to root", ErrNotOurs, dataDir)
	case owner != euid && euid != 0:
		return account{}, &ForeignError{Dir: filepath.Dir(dataDir), Account: lookupID(owner).name}
	}
	a := lookupID(owner)
	a.switched = owner != euid
	return a, nil
}

// whoseIs says whose directory it is that this process may not enter on the way to path, and
// returns another error as it is.
func whoseIs(path string, err error) error {
	if !errors.Is(err, os.ErrPermission) {
		return err
	}
	for dir := filepath.Clean(path); ; dir = filepath.Dir(dir) {
		owner, lookErr := ownerOf(dir)
		switch {
		case lookErr == nil && owner != uint32(os.Geteuid()):
			return &ForeignError{Dir: dir, Account: lookupID(owner).name}
		case lookErr == nil, dir == filepath.Dir(dir):
			return err
		}
	}
}

func newAccount(euid uint32) (account, error) {
	if euid != 0 {
		return lookupID(euid), nil
	}
	// initdb wants an account with a passwd entry; best first.
	names := [...]string{"postgres", "_postgres", "nobody"}
	for _, name := range names {
		u, err := user.Lookup(name)
		if err != nil || u.Uid == "0" {
			continue
		}
		a := accountOf(u)
		a.switched = true
		return a, nil
	}
	return account{}, fmt.Errorf("PostgreSQL refuses to run as root, and there is none of the accounts %v to run it as",
		names)
}

// lookupID returns the account with that id, with what is known of it: a container
// may run under an id that has no passwd entry.
func lookupID(uid uint32) account {
	u, err := user.LookupId(strconv.FormatUint(uint64(uid), 10))
	if err != nil {
		return account{name: strconv.FormatUint(uint64(uid), 10), home: "/", uid: uid, gid: uint32(os.Getegid())}
	}
	return accountOf(u)
}

func accountOf(u *user.User) account {
	return account{name: u.Username, home: u.HomeDir, uid: parseID(u.Uid), gid: parseID(u.Gid)}
}

// parseID reads an id; macOS writes that of nobody as -2.
func parseID(s string) uint32 {
	id, _ := strconv.ParseInt(s, 10, 64)
	return uint32(id)
}

func ownerOf(path string) (uint32, error) {
	info, err := os.Lstat(path)
	if err != nil {
		return 0, err
	}
	return info.Sys().(*syscall.Stat_t).Uid, nil
}

// command prepares a program to run as the account, in dir, with an environment
// that says nothing about this process's own connections (PG*) and language, and in
// a session of its own: no signal of this terminal reaches it.
func (a account) command(dir, program string, args ...string) *exec.Cmd {
	cmd := exec.Command(program, args...)
	cmd.Dir = dir
	cmd.Env = []string{"HOME=" + a.home, "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "LC_ALL=C"}
	for _, name := range []string{"TZ", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH"} {
		if value, ok := os.LookupEnv(name); ok {
			cmd.Env = append(cmd.Env, name+"="+value)
		}
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if a.switched {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return cmd
}

// own hands a file or directory made by root to the account.
func (a account) own(path string) error {
	if !a.switched {
		return nil
	}
	return os.Lchown(path, int(a.uid), int(a.gid))
}

// canEnter returns ErrUnreachableDir when the permissions of dir, or of a
// directory above it, shut the account out. What this process itself cannot use
// shows when it is used.
func (a account) canEnter(dir string) error {
	if !a.switched {
		return nil
	}
	for d := dir; ; d = filepath.Dir(d) {
		info, err := os.Stat(d)
		if err != nil {
			return err
		}
		st := info.Sys().(*syscall.Stat_t)
		search := os.FileMode(0o001)
		switch {
		case st.Uid == a.uid:
			search = 0o100
		case st.Gid == a.gid:
			search = 0o010
		}
		if info.Mode()&search == 0 {
			return fmt.Errorf("%w: %s cannot enter %s (the server of root runs as %s)", ErrUnreachableDir, a.name, d, a.name)
		}
		if d == filepath.Dir(d) {
			return nil
		}
	}
}
