package localpg

import (
	"fmt"
	"os"
	"strings"
)

// isPostgres reports whether the process runs PostgreSQL in dataDir, where a server
// changes to, for that account.
func isPostgres(pid int, uid uint32, dataDir string) bool {
	proc := fmt.Sprintf("/proc/%d", pid)
	owner, err := ownerOf(proc)
	if err != nil || owner != uid {
		return false
	}
	name, err := os.ReadFile(proc + "/comm")
	if err != nil || strings.TrimSpace(string(name)) != "postgres" {
		return false
	}
	cwd, err := os.Readlink(proc + "/cwd")
	return err == nil && cwd == dataDir
}
