package importer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	osexec "os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/db"
)

// endless is a file that goes on after some rows only when the test is over: an
// import of it has sent rows and waits for more.
type endless struct {
	rows io.Reader
	wait <-chan struct{}
	told io.Writer // gets a line when the rows are used up
}

func (e *endless) Read(p []byte) (int, error) {
	n, err := e.rows.Read(p)
	if !errors.Is(err, io.EOF) {
		return n, err
	}
	if e.told != nil {
		fmt.Fprintln(e.told, "sent")
		e.told = nil
	}
	<-e.wait
	return 0, io.EOF
}

// loaded makes of a reader what an import reads while it loads, as it does a file.
type loaded struct{ io.Reader }

func (loaded) Stat() (fs.FileInfo, error) { return regular{}, nil }

// regular is a file of unknown size, as those under /proc are.
type regular struct{ fs.FileInfo }

func (regular) Mode() fs.FileMode  { return 0o600 }
func (regular) Size() int64        { return 0 }
func (regular) ModTime() time.Time { return time.Time{} }

// importForever is what the child of TestKilledImportLeavesNothing does.
func importForever(dsn string) int {
	cfg, err := db.ParseConfig(dsn)
	if err != nil {
		return 1
	}
	ctx := context.Background()
	conn, err := db.Connect(ctx, cfg)
	if err != nil {
		return 1
	}
	schema, err := db.SchemaForSlug("acme")
	if err != nil {
		return 1
	}
	_, err = Import(ctx, conn, loaded{&endless{rows: &generated{rows: 60_000}, wait: make(chan struct{}),
		told: os.Stdout}}, Options{Schema: schema})
	fmt.Fprintln(os.Stderr, err)
	return 1
}

// kill -9 in the middle of an import, on the fast path and on the other, leaves
// the tenant as it was, indexes and all, and the next import loads everything.
func TestKilledImportLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, before := range map[string][]string{
		"empty tenant":     nil,
		"tenant with data": {"insert into contacts (email, name) values ('old@example.com', 'Old')"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			crmtest.Exec(t, conn, schema, before...)
			indexes := crmtest.List(t, conn, schema, indexSQL)
			child := osexec.Command(os.Args[0])
			child.Env = append(os.Environ(), childEnv+"="+connString(conn))
			out, err := child.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			var stderr bytes.Buffer
			child.Stderr = &stderr
			if err := child.Start(); err != nil {
				t.Fatal(err)
			}
			line, _ := bufio.NewReader(out).ReadString('\n')
			if line != "sent\n" {
				t.Errorf("the child said %q and %s", line, stderr.String())
			}
			time.Sleep(200 * time.Millisecond) // let it stand in the middle of COPY
			if err := child.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			_ = child.Wait()

			// The server may need a moment to see that its client is gone.
			deadline := time.Now().Add(30 * time.Second)
			for {
				others := crmtest.List(t, conn, schema, "select count(*) from pg_stat_activity where datname = "+
					"current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'")
				if others[0] == "0" {
					break
				}
				if time.Now().After(deadline) {
					t.Fatal("the killed import still has its session")
				}
				time.Sleep(50 * time.Millisecond)
			}
			if n := len(contacts(t, conn, schema)); n != len(before) {
				t.Errorf("%d contacts are there, want %d", n, len(before))
			}
			crmtest.SameLines(t, "indexes", crmtest.List(t, conn, schema, indexSQL), indexes)
			r, err := Import(t.Context(), conn, &generated{rows: 60_000}, Options{Schema: schema})
			if err != nil || r.Inserted != 60_000 {
				t.Errorf("the next import: %s, %v", tally(r), err)
			}
		})
	}
}

// connString returns how to connect to the database of conn again.
func connString(conn *pgx.Conn) string {
	cfg := conn.Config()
	quote := func(s string) string { return "'" + strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(s) + "'" }
	return fmt.Sprintf("host=%s port=%d user=%s dbname=%s password=%s sslmode=disable", quote(cfg.Host), cfg.Port,
		quote(cfg.User), quote(cfg.Database), quote(cfg.Password))
}

// A cancelled import leaves nothing either, even when its input never ends, and
// the session can be used again or is closed.
func TestCancelledImportLeavesNothing(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	dsn := connString(conn)
	ctx, cancel := context.WithCancel(t.Context())
	sent, told := io.Pipe()
	go func() {
		_, _ = bufio.NewReader(sent).ReadString('\n')
		cancel()
	}()
	over := make(chan struct{})
	defer close(over)
	_, err := Import(ctx, conn, loaded{&endless{rows: &generated{rows: 60_000}, wait: over, told: told}},
		Options{Schema: schema})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want a cancelled context", err)
	}
	if n := len(contacts(t, crmtest.Connect(t, dsn), schema)); n != 0 {
		t.Errorf("%d contacts are there", n)
	}
}

// A file that cannot be read to its end is not imported in part.
func TestFailingReaderLeavesNothing(t *testing.T) {
	t.Parallel()
	for name, directFrom := range paths {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			broken := errors.New("disk on fire")
			_, err := Import(t.Context(), conn, loaded{io.MultiReader(&generated{rows: 60_000}, failing{broken})},
				Options{Schema: schema, directFrom: directFrom})
			if !errors.Is(err, broken) {
				t.Errorf("got %v, want %v", err, broken)
			}
			if n := len(contacts(t, conn, schema)); n != 0 {
				t.Errorf("%d contacts are there", n)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

const indexSQL = "select indexname, indexdef from pg_indexes where schemaname = current_schema() order by 1"
