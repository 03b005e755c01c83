package migrate

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/sqltext"
)

// Compile reads the goose files in the root of fsys. Every file is parsed in
// both directions, so a mistake in any of them is found before anything runs.
// Files that look like migrations and cannot be read as one are a *FilesError, statements
// that no run takes a *RefusedError.
//
// It refuses what would break the promises of a run: statements that begin or
// end a transaction, settings that outlive the transaction or change the schema,
// and what is made or written outside of the tenant's schema. ENVSUB is resolved here, once, from the environment.
func Compile(ctx context.Context, fsys fs.FS) (*Plan, error) {
	others, err := checkSources(fsys)
	if err != nil {
		return nil, err
	}
	rec := &recorder{}
	conn := sql.OpenDB(rec)
	defer func() { _ = conn.Close() }()
	provider, err := goose.NewProvider(goose.DialectPostgres, conn, fsys,
		goose.WithDisableVersioning(true),
		goose.WithDisableGlobalRegistry(true),
		goose.WithLogger(goose.NopLogger()),
	)
	if errors.Is(err, goose.ErrNoMigrations) {
		return nil, noMigrations(fsys, others)
	}
	if err != nil {
		return nil, fmt.Errorf("read migrations: %w", err)
	}
	plan := &Plan{Others: others}
	var refused *RefusedError
	for _, source := range provider.ListSources() {
		m, err := compileFile(ctx, provider, rec, fsys, source)
		_, other := errors.AsType[*OtherToolError](err)
		switch {
		case err == nil:
			plan.Migrations = append(plan.Migrations, m)
		case ctx.Err() != nil, other && refused == nil:
			return nil, err
		case refused == nil:
			refused = &RefusedError{File: source.Path, Err: err}
		default:
			refused.More++
		}
	}
	if refused != nil {
		return nil, refused
	}
	sortByVersion(plan.Migrations)
	plan.spread()
	return plan, nil
}

func compileFile(ctx context.Context, provider *goose.Provider, rec *recorder, fsys fs.FS,
	source *goose.Source) (*Migration, error) {
	text, err := readText(fsys, source.Path)
	if err != nil {
		return nil, err
	}
	m := &Migration{Version: source.Version, File: source.Path}
	record := func(up bool) ([]db.Statement, error) {
		if _, err := provider.ApplyVersion(ctx, source.Version, up); err != nil {
			rec.take() // the next file's record begins empty
			return nil, madeFor(source.Path, text, gooseCause(err))
		}
		statements, transactional := rec.take()
		m.Transactional = m.Transactional || transactional
		return locate(statements, text, source.Path), nil
	}
	if m.Up, err = record(true); err != nil {
		return nil, err
	}
	if m.Down, err = record(false); err != nil {
		return nil, err
	}
	m.Checksum = checksum(m.Up)
	err = m.judge(text)
	return m, err
}

// checksum returns what statements hash to, comments between them left out.
func checksum(statements []db.Statement) string {
	sum := sha256.New()
	piece := make([]byte, 4096) // a statement may have many megabytes
	for _, s := range statements {
		fmt.Fprintf(sum, "%d:", len(s.SQL))
		_, _ = io.CopyBuffer(struct{ io.Writer }{sum}, struct{ io.Reader }{strings.NewReader(s.SQL)}, piece)
		_, _ = sum.Write([]byte{'\n'})
	}
	return hex.EncodeToString(sum.Sum(nil))
}

// gooseCause takes off what goose adds around the cause: a partial result of a
// run that never was one.
func gooseCause(err error) error {
	if partial, ok := errors.AsType[*goose.PartialError](err); ok {
		return partial.Err
	}
	return err
}

// locate splits what goose took for one statement where it holds several, and
// finds the line of each in the file. goose drops comments and blank lines
// before a statement but keeps the lines of the statement as they are.
func locate(recorded []string, text, file string) []db.Statement {
	lines := strings.Split(text, "\n")
	var out []db.Statement
	next := 0
	for _, raw := range recorded {
		first, _, _ := strings.Cut(raw, "\n")
		at := next
		for at < len(lines) && strings.TrimSpace(lines[at]) != strings.TrimSpace(first) {
			at++
		}
		if at == len(lines) {
			// An ENVSUB line differs from its source; the neighbourhood is
			// better than nothing.
			at = min(next, len(lines)-1)
		}
		next = at + strings.Count(raw, "\n") + 1
		for _, command := range sqltext.Split(raw) {
			line := at + strings.Count(raw[:command.Offset], "\n")
			out = append(out, db.Statement{SQL: command.Text, File: file, Line: line + 1})
		}
	}
	return out
}
