package db_test

import (
	"bytes"
	"context"
	"os"
	osexec "os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
)

const stopMyself = "CRMCTL_TEST_STOP_MYSELF"

// A process that was stopped itself (Ctrl-Z) has not waited for the server: what has come
// meanwhile is read.
func TestStoppedProcessHasNotWaited(t *testing.T) {
	t.Parallel()
	if dsn := os.Getenv(stopMyself); dsn != "" {
		conn := impatient(t, dsn)
		err := db.InTx(t.Context(), conn, db.Locals{StatementTimeout: time.Second},
			func(ctx context.Context, q db.Querier) error {
				time.AfterFunc(100*time.Millisecond, func() { _ = syscall.Kill(os.Getpid(), syscall.SIGSTOP) })
				_, err := q.Exec(ctx, "select pg_catalog.pg_sleep(0.3)")
				return err
			})
		if err != nil {
			t.Error(err)
		}
		return
	}
	var out bytes.Buffer
	cmd := osexec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestStoppedProcessHasNotWaited$", "-test.count=1")
	cmd.Env = append(os.Environ(), stopMyself+"="+pgtest.Empty(t))
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	begun, ended := time.Now(), make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	for {
		select {
		case err := <-ended:
			if took := time.Since(begun); err != nil || took < 3*time.Second {
				t.Errorf("%v after %s\n%s", err, took, out.String())
			}
			return
		case <-time.After(4 * time.Second):
			_ = cmd.Process.Signal(syscall.SIGCONT)
		}
	}
}
