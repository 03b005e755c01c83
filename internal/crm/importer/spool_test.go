package importer

import (
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/db"
)

// Whoever writes into a pipe may stall: until it has ended the import holds no lock and
// has no transaction open.
func TestPipeIsReadBeforeAnythingIsLocked(t *testing.T) {
	conn, schema := crmtest.Tenant(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	reader, writer := io.Pipe()
	done := make(chan error, 1)
	var r Result
	go func() {
		var err error
		r, err = Import(t.Context(), conn, reader, Options{Schema: schema})
		done <- err
	}()
	rows := &generated{rows: 60_000}
	if _, err := io.Copy(writer, rows); err != nil {
		t.Fatal(err)
	}
	other := crmtest.Connect(t, connString(conn))
	locals := db.Locals{Schema: schema, LockTimeout: time.Second}
	err := db.InTx(t.Context(), other, locals, func(ctx context.Context, q db.Querier) error {
		_, err := q.Exec(ctx, "lock table contacts in access exclusive mode")
		return err
	})
	if err != nil {
		t.Errorf("while the pipe stalls: %v", err)
	}
	_ = writer.Close()
	if err := <-done; err != nil || r.Inserted != 60_000 || r.Bytes < 1<<20 {
		t.Errorf("%s of %d bytes, %v", tally(r), r.Bytes, err)
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
}

// A pipe that breaks off leaves neither contacts nor a copy.
func TestBrokenPipe(t *testing.T) {
	conn, schema := crmtest.Tenant(t)
	temp := t.TempDir()
	t.Setenv("TMPDIR", temp)
	broken := errors.New("the other end is gone")
	_, err := Import(t.Context(), conn, io.MultiReader(&generated{rows: 60_000}, failing{broken}), Options{Schema: schema})
	if !errors.Is(err, broken) {
		t.Errorf("got %v, want %v", err, broken)
	}
	if n := len(contacts(t, conn, schema)); n != 0 {
		t.Errorf("%d contacts are there", n)
	}
	if left, _ := filepath.Glob(filepath.Join(temp, "*")); len(left) != 0 {
		t.Errorf("left behind: %q", left)
	}
	t.Setenv("TMPDIR", filepath.Join(temp, "nowhere"))
	if _, err := Import(t.Context(), conn, &onlyReader{&generated{rows: 60_000}}, Options{Schema: schema}); err == nil ||
		!strings.Contains(err.Error(), "keep the input until it is whole") {
		t.Errorf("without a place for the copy: %v", err)
	}
}

type onlyReader struct{ io.Reader }

// A file that somebody writes to while it is read is refused, whether it grew, shrank or
// was only touched.
func TestFileChangedWhileRead(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(path string) error{
		"grown": func(path string) error {
			file, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			_, err = file.WriteString("late@example.com,Late\n")
			return errors.Join(err, file.Close())
		},
		"cut":       func(path string) error { return os.Truncate(path, 30) },
		"rewritten": func(path string) error { return os.Chtimes(path, time.Time{}, time.Unix(1, 0)) },
		"left":      func(string) error { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, schema := crmtest.Tenant(t)
			path := filepath.Join(t.TempDir(), "leads.csv")
			if err := os.WriteFile(path, []byte("email,name\na@example.com,A\nb@example.com,B\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			file, err := os.Open(path)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = file.Close() }()
			o := Options{Schema: schema, Observer: observerFunc(func() {
				if err := change(path); err != nil {
					t.Error(err)
				}
				change = func(string) error { return nil }
			})}
			want, rows := ErrSourceChanged, 0
			if name == "left" {
				want, rows = nil, 2
			}
			if _, err = Import(t.Context(), conn, file, o); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
			if n := len(contacts(t, conn, schema)); n != rows {
				t.Errorf("%d contacts are there, want %d", n, rows)
			}
		})
	}
}
