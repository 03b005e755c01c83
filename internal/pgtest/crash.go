//go:build unix

package pgtest

import (
	"context"
	"syscall"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/localpg"
)

// Restart crashes a server made by Instance, as a power cut would, and starts it
// again: every session is cut, and what was committed asynchronously in the last
// moments may be lost.
func Restart(t testing.TB, s *localpg.Server, o localpg.Options) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	if err := syscall.Kill(s.PID, syscall.SIGQUIT); err != nil {
		t.Errorf("pgtest: crash the server: %v", err)
		return
	}
	for syscall.Kill(s.PID, 0) == nil && ctx.Err() == nil {
		time.Sleep(10 * time.Millisecond)
	}
	if _, err := localpg.Start(ctx, o); err != nil {
		t.Errorf("pgtest: start the server again: %v", err)
	}
}
