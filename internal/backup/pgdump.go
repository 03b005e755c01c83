package backup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// PgDump runs the real pg_dump, for those who want its format.
type PgDump struct {
	Program string
	// ConnString is what --dbname gets: it stands in the list of processes, where
	// everybody can read it, and so must hold no password.
	ConnString string
	// Env is the environment, the password included.
	Env []string
	// LockTimeout is how long to wait for a table; 0 for ever.
	LockTimeout time.Duration
}

// FindPgDump looks for a pg_dump that can read a server of a major version: in the
// directories given, at the usual places of that version, on the PATH. One that is
// older than the server cannot.
func FindPgDump(ctx context.Context, major int, dirs ...string) (string, error) {
	var candidates []string
	for _, dir := range dirs {
		if dir != "" {
			candidates = append(candidates, filepath.Join(dir, "pg_dump"))
		}
	}
	for _, pattern := range []string{"/usr/lib/postgresql/%d/bin", "/usr/pgsql-%d/bin", "/usr/libexec/postgresql%d",
		"/opt/homebrew/opt/postgresql@%d/bin"} {
		candidates = append(candidates, filepath.Join(fmt.Sprintf(pattern, major), "pg_dump"))
	}
	if found, err := exec.LookPath("pg_dump"); err == nil {
		candidates = append(candidates, found)
	}
	older := 0
	for _, program := range candidates {
		version, err := majorOf(ctx, program)
		if err != nil {
			continue
		}
		if version >= major {
			return program, nil
		}
		older = version
	}
	if older > 0 {
		return "", fmt.Errorf("pg_dump %d cannot read a server of version %d: install the client programs of that version",
			older, major)
	}
	return "", fmt.Errorf("there is no pg_dump for a server of version %d: install the client programs", major)
}

// majorOf asks a program for its version: "pg_dump (PostgreSQL) 15.18 (Debian …)".
func majorOf(ctx context.Context, program string) (int, error) {
	out, err := exec.CommandContext(ctx, program, "--version").Output()
	if err != nil {
		return 0, err
	}
	m := regexp.MustCompile(`\(PostgreSQL\) (\d+)`).FindSubmatch(out)
	if m == nil {
		return 0, fmt.Errorf("%s says %q", program, out)
	}
	return strconv.Atoi(string(m[1]))
}

// Dump writes the schema of a tenant in pg_dump's custom format.
func (d *PgDump) Dump(ctx context.Context, src Source, out io.Writer) error {
	args := []string{"--format=custom", "--no-password", "--schema=" + quotePattern(src.Schema.String())}
	if d.LockTimeout > 0 {
		args = append(args, fmt.Sprintf("--lock-wait-timeout=%d", d.LockTimeout.Milliseconds()))
	}
	if src.role != "" {
		args = append(args, "--role="+src.role)
	}
	cmd := exec.CommandContext(ctx, d.Program, append(args, "--dbname="+d.ConnString)...)
	cmd.Env = d.Env
	cmd.Stdout = out
	var complaint bytes.Buffer
	cmd.Stderr = &complaint
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		text := strings.TrimSpace(complaint.String())
		if text == "" {
			text = err.Error()
		}
		return fmt.Errorf("dump schema %s: %w", src.Schema, errors.New(text))
	}
	return nil
}

// quotePattern makes a pattern of pg_dump that means one name.
func quotePattern(name string) string { return `"` + strings.ReplaceAll(name, `"`, `""`) + `"` }

// WithoutPassword takes the passwords out of a connection string, a URL or made of
// keywords, and leaves the rest as it is.
func WithoutPassword(dsn string) string {
	if strings.Contains(dsn, "://") {
		dsn = regexp.MustCompile(`^([a-z]+://[^/?#@:]*):[^/?#]*@`).ReplaceAllString(dsn, "$1@")
		dsn = regexp.MustCompile(`([?&])(?:password|sslpassword)=[^&]*&?`).ReplaceAllString(dsn, "$1")
		return strings.TrimRight(dsn, "?&")
	}
	return strings.TrimSpace(regexp.MustCompile(`\b(?:password|sslpassword)\s*=\s*(?:'(?:[^'\\]|\\.)*'|(?:[^\s\\]|\\.)*)`).ReplaceAllString(dsn, ""))
}
