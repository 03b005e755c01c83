//go:build unix && !linux

package localpg

import (
	"os/exec"
	"strconv"
	"strings"
)

// isPostgres reports whether the process is a PostgreSQL that was started for
// dataDir by that account.
func isPostgres(pid int, uid uint32, dataDir string) bool {
	out, err := exec.Command("ps", "-ww", "-o", "uid=,command=", "-p", strconv.Itoa(pid)).Output()
	if err != nil {
		return false
	}
	owner, command, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	return parseID(owner) == uid && strings.Contains(command, "postgres") && strings.Contains(command, " -D "+dataDir)
}
