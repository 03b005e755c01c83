package main

import (
	"encoding/binary"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
)

// passwordCatcher is a server that asks whoever connects for the password as it is, and
// tells what it was sent.
func passwordCatcher(t *testing.T) (address string, caught <-chan string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	out := make(chan string, 1)
	go func() {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		defer func() { _ = conn.Close() }()
		var size uint32
		if err := binary.Read(conn, binary.BigEndian, &size); err != nil || size < 4 {
			return
		}
		_, _ = io.CopyN(io.Discard, conn, int64(size)-4)
		_, _ = conn.Write([]byte{'R', 0, 0, 0, 8, 0, 0, 0, 3})
		answer, _ := io.ReadAll(io.LimitReader(conn, 12)) // p, length, "secret", 0
		out <- string(answer)
	}()
	return l.Addr().String(), out
}

// A password that the user has in a file of passwords or in the environment is not shown
// to a server that a file of the working directory names.
func TestPlantedAddressGetsNoPassword(t *testing.T) {
	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("PGPASSFILE", filepath.Join(home, ".pgpass"))
	if err := os.WriteFile(filepath.Join(home, ".pgpass"), []byte("*:*:*:*:secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, planted := range []bool{true, false} {
		address, caught := passwordCatcher(t)
		b := newBench(t)
		dsn := "postgres://u@" + address + "/db?sslmode=disable"
		if planted {
			if err := os.WriteFile(filepath.Join(b.dir, "crmctl.yaml"), []byte("database_url: "+dsn+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		} else {
			b.setenv("DATABASE_URL=" + dsn)
		}
		if code := b.run("tenant", "list"); code == cli.ExitOK {
			t.Errorf("planted %v: %s", planted, b.err)
		}
		if got := <-caught; strings.Contains(got, "secret") == planted {
			t.Errorf("planted %v: the server was sent %q", planted, got)
		}
	}
}

// The programs of a planted directory are not run, whatever command looks for some.
func TestPlantedProgramsAreNotRun(t *testing.T) {
	t.Parallel()
	c := newCareless(t)
	evil := filepath.Join(c.dir, "bin")
	if err := os.Mkdir(evil, 0o700); err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(c.home, "ran")
	for _, name := range []string{"postgres", "initdb", "psql", "pg_dump", "pg_config", "pg_ctl"} {
		path := filepath.Join(evil, name)
		if err := os.WriteFile(path, []byte("#!/bin/sh\ntouch "+trace+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	c.write(t, filepath.Join(c.dir, "crmctl.yaml"), "pg_bin: "+evil+"\nprofiles: {p: {pg_bin: "+evil+", database_url: '"+
		c.dsn+"'}}\n")
	for _, args := range []string{
		"demo --tenants 3", "local start --name planted --dry-run", "psql acme-corp -- -c select",
		"--profile p psql acme-corp -- -c select",
		"backup create acme-corp --dir b --format pgdump", "--profile p backup create acme-corp --dir b2 --format pgdump",
	} {
		out, _ := c.run(t, []string{"DATABASE_URL=" + c.dsn}, strings.Fields(args)...)
		if !strings.Contains(out, "pg_bin is ignored") || !strings.Contains(out,
			filepath.Join(".config", "crmctl", "crmctl.yaml")) {
			t.Errorf("%s: no warning:\n%s", args, out)
		}
		if _, err := os.Stat(trace); err == nil {
			t.Fatalf("%s ran a planted program:\n%s", args, out)
		}
	}
}
