package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"filippo.io/age"
	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// backupTrial restores files into schemas that are rolled back, where there is a
// database to do it in.
type backupTrial struct {
	f     *factory
	keys  []age.Identity
	trust bool

	conn *pgx.Conn
	make backup.NewTenant
	not  string // why nothing can be tried
}

// newBackupTrial connects, or finds out why it cannot: to read files needs no database.
func newBackupTrial(ctx context.Context, f *factory, keys []age.Identity, wanted, trust bool) (*backupTrial, error) {
	t := &backupTrial{f: f, keys: keys, trust: trust}
	if !wanted {
		t.not = "--restore=false"
		return t, nil
	}
	a, err := f.app()
	if err != nil {
		return nil, err
	}
	conn, err := f.connect(ctx)
	switch {
	case errors.Is(err, config.ErrNoDatabase):
		t.not = "no database is given"
		return t, nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.As(err, new(*registry.ForeignError)), errors.As(err, new(*registry.TakenError)):
		return nil, err
	case err != nil:
		t.not = "the database cannot be reached"
		f.Note("crmctl: warning: nothing is restored: %s", cli.Visible(err.Error()))
		return t, nil
	}
	t.conn, t.make = conn, a.Trial(ctx, trust)
	return t, nil
}

func (t *backupTrial) close(ctx context.Context) {
	if t.conn != nil {
		closeConn(ctx, t.conn)
	}
}

// try completes the row of a file that is whole with whether it restores.
func (t *backupTrial) try(ctx context.Context, path string, row *backupRecord, m *backup.Manifest) error {
	if m == nil || m.Kind != backup.KindTenant {
		return nil
	}
	if t.not != "" {
		row.Reason = "not restored: " + t.not
		return nil
	}
	in, err := backup.OpenFile(path, t.keys, nil)
	if err != nil {
		return err
	}
	defer func() { _ = in.Close() }()
	_, err = backup.Try(ctx, t.conn, backup.UntilDone(ctx, in), t.make)
	switch {
	case err == nil:
		row.Result = "restores"
		return nil
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case db.SQLState(err) == db.CodeReadOnlyTransaction, db.ConnectionLost(err), db.Retryable(err),
		errors.Is(err, backup.ErrNoRole),
		errors.Is(err, app.ErrExtensionAway):
		row.Reason = "not restored: " + err.Error() // that says nothing about the file
		return nil
	}
	row.Result, row.Reason = "does not restore", err.Error()
	return err
}

// noteStructure says what is to be known of a tenant that was saved.
func noteStructure(f *factory, m *backup.Manifest) {
	if m == nil || m.Tenant == nil {
		return
	}
	name := cli.Visible(m.Tenant.Slug)
	if s := m.Structure; s != nil && s.From == backup.FromFile {
		differs := "with its own structure"
		if len(s.Differs) > 0 {
			differs = "as it is, which is not what its migrations make: " + cli.Visible(strings.Join(s.Differs, ", "))
		}
		f.Note("crmctl: tenant %s is saved %s", name, differs)
		if len(s.Code) > 0 {
			f.Note("crmctl: warning: tenant %s: a restore needs --trust-code, for %s", name,
				cli.Visible(strings.Join(s.Code, ", ")))
		}
		if s.Unproven != "" {
			f.Note("crmctl: warning: tenant %s: it was not tried whether this restores: %s", name, cli.Visible(s.Unproven))
		}
	}
	if len(m.LeftOut) > 0 {
		f.Note("crmctl: tenant %s: not in the backup: %s", name, cli.Visible(strings.Join(m.LeftOut, ", ")))
	}
}

// noteRestored says that a tenant is not what its migrations make, and was not before.
func noteRestored(f *factory, made *backup.Made) {
	if s := made.Manifest.Structure; s != nil && s.From == backup.FromFile {
		f.Note("crmctl: tenant %s is restored as it was, with its own structure: crmctl migrate drift shows in what it "+
			"differs", cli.Visible(made.Tenant.Slug))
	}
	if left := made.Manifest.LeftOut; len(left) > 0 {
		f.Note("crmctl: tenant %s: was not in the backup: %s", cli.Visible(made.Tenant.Slug),
			cli.Visible(strings.Join(left, ", ")))
	}
}

// origin says in words who made a file.
func origin(m *backup.Manifest) string {
	if m.By == nil {
		return m.Program
	}
	who := m.By.Role
	if m.By.User != "" || m.By.Host != "" {
		who += fmt.Sprintf(" (%s@%s)", m.By.User, m.By.Host)
	}
	return m.Program + ", " + who
}
