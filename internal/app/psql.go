package app

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/localpg"
	"github.com/crmctl/crmctl/internal/registry"
)

// PsqlOptions say whose schema a session of psql is for.
type PsqlOptions struct {
	Slug  string
	Write bool // the session may change data
}

// PsqlSession is how psql is run.
type PsqlSession struct {
	Program  string
	Address  string // a connection string without a password
	Password string // for its environment
}

// Reasons why psql is not run.
var (
	// ErrNoPsql says that there is no such program.
	ErrNoPsql = errors.New("there is no psql on the PATH")
	// ErrNotScoped says that the session would not stay in the tenant's schema.
	ErrNotScoped = errors.New("a pooler stands between, and psql would not stay in the tenant's schema")
)

// Psql finds psql, and how it gets a session in a tenant's schema, which is tried.
func (a *App) Psql(ctx context.Context, o PsqlOptions) (PsqlSession, error) {
	if o.Write {
		if err := a.Changing(ctx, false); err != nil {
			return PsqlSession{}, err
		}
	}
	program, err := a.findPsql(ctx)
	if err != nil {
		return PsqlSession{}, err
	}
	conn, err := a.Connect(ctx)
	if err != nil {
		return PsqlSession{}, err
	}
	t, err := a.Registry.Get(ctx, conn, o.Slug)
	var path db.Path
	if err == nil {
		path, err = a.TenantPath(ctx, conn, nil)
	}
	closeConn(ctx, conn)
	switch {
	case err != nil:
		return PsqlSession{}, err
	case t.Status == registry.Deleted && o.Write:
		return PsqlSession{}, &registry.StateError{Slug: t.Slug, State: t.State()}
	}
	s := psqlSession{tenant: t, path: path, write: o.Write}
	address, password, err := a.psqlTarget(ctx, s, conn.Config())
	return PsqlSession{Program: program, Address: address, Password: password}, err
}

// findPsql looks on the PATH, then where the server programs are.
func (a *App) findPsql(ctx context.Context) (string, error) {
	if found, err := exec.LookPath("psql"); err == nil {
		return found, nil
	}
	if dir, _, err := localpg.FindBinaries(ctx, a.Config.PGBin); err == nil {
		if found, err := exec.LookPath(filepath.Join(dir, "psql")); err == nil {
			return found, nil
		}
	}
	return "", ErrNoPsql
}

// psqlTarget returns the connection string for psql, and the password apart from it, after
// a trial: a pooler drops the start-up parameters, or gives the session to others. Past it
// leads direct_database_url.
func (a *App) psqlTarget(
	ctx context.Context, s psqlSession, conn *pgx.ConnConfig,
) (address, password string, err error) {
	dsn, err := a.Config.Database()
	if err != nil {
		return "", "", err
	}
	err = s.try(ctx, conn)
	if errors.Is(err, ErrNotScoped) && a.Config.DirectURL != "" {
		direct, directErr := a.Direct(ctx) // checks that it is the same database
		if directErr != nil {
			return "", "", directErr
		}
		closeConn(ctx, direct)
		conn, dsn = direct.Config(), a.Config.DirectURL
		err = s.try(ctx, conn)
	}
	if err != nil {
		return "", "", fmt.Errorf("tenant %q: %w", s.tenant.Slug, err)
	}
	return s.conninfo(db.OnlyKnown(backup.WithoutPassword(string(dsn))), conn.RuntimeParams["options"],
		s.attributes(conn)), conn.Password, nil
}

// psqlSession is what psql's session begins with.
type psqlSession struct {
	tenant registry.Tenant
	path   db.Path
	write  bool
}

// settings returns the start-up parameters.
func (s psqlSession) settings() [][2]string {
	out := [][2]string{{"search_path", s.path.Behind(s.tenant.Schema)}}
	if s.tenant.Tablespace != "" {
		out = append(out, [2]string{"default_tablespace", s.tenant.Tablespace})
	}
	if !s.write {
		out = append(out, [2]string{"default_transaction_read_only", "on"})
	}
	return out
}

// options returns the settings as libpq's parameter of that name takes them, behind
// those that are there already. There, a backslash escapes a space or a backslash.
func (s psqlSession) options(before string) string {
	escape := strings.NewReplacer(`\`, `\\`, " ", `\ `)
	out := []string{}
	if before != "" {
		out = append(out, before)
	}
	for _, setting := range s.settings() {
		out = append(out, "-c "+setting[0]+"="+escape.Replace(setting[1]))
	}
	return strings.Join(out, " ")
}

// try opens a session as psql will, and looks where it stands.
func (s psqlSession) try(ctx context.Context, cfg *pgx.ConnConfig) error {
	cfg = cfg.Copy()
	switch s.attributes(cfg) {
	case "primary":
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPrimary
	case "prefer-standby":
		cfg.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsPreferStandby
	}
	cfg.RuntimeParams["options"] = s.options(cfg.RuntimeParams["options"])
	conn, err := db.Connect(ctx, cfg)
	switch {
	case err != nil && db.SQLState(err) == "08P01": // PgBouncer: unsupported startup parameter
		return ErrNotScoped
	case err != nil:
		return err
	}
	defer closeConn(ctx, conn)
	var (
		pid     uint32
		path    string
		current *string
	)
	err = conn.QueryRow(ctx, `select pg_catalog.pg_backend_pid(), pg_catalog.current_setting('search_path'),
		pg_catalog.current_schema()::pg_catalog.text`).Scan(&pid, &path, &current)
	switch {
	case err != nil:
		return err
	case pid != conn.PgConn().PID(), path != s.settings()[0][1]:
		return ErrNotScoped
	case current == nil || *current != s.tenant.Schema.String():
		return fmt.Errorf("%w: %s", db.ErrWrongSchema, s.tenant.Schema)
	}
	return nil
}

// attributes returns the target_session_attrs of a read only session where those of
// the configuration would not let it be one: that transactions are read only by
// default is what two of them go by. "" leaves them as they are. (Clients know these
// since PostgreSQL 14.)
func (s psqlSession) attributes(cfg *pgx.ConnConfig) string {
	if s.write || cfg.ValidateConnect == nil {
		return ""
	}
	is := func(check pgconn.ValidateConnectFunc) bool {
		return reflect.ValueOf(cfg.ValidateConnect).Pointer() == reflect.ValueOf(check).Pointer()
	}
	switch {
	case is(pgconn.ValidateConnectTargetSessionAttrsReadWrite):
		return "primary"
	case is(pgconn.ValidateConnectTargetSessionAttrsReadOnly):
		return "prefer-standby"
	}
	return ""
}

// conninfo puts the session's parameters into a connection string, over those of the
// same name.
func (s psqlSession) conninfo(dsn, options, attributes string) string {
	params := [][2]string{{"application_name", "crmctl:" + s.tenant.Slug}, {"options", s.options(options)}}
	if attributes != "" {
		params = append(params, [2]string{"target_session_attrs", attributes})
	}
	replaced := func(name string) bool {
		return slices.ContainsFunc(params, func(p [2]string) bool { return p[0] == name })
	}
	if strings.Contains(dsn, "://") {
		// Not by net/url, which knows no URL with several hosts.
		address, query, _ := strings.Cut(dsn, "?")
		var kept []string
		for param := range strings.SplitSeq(query, "&") {
			if name, _, _ := strings.Cut(param, "="); name != "" && !replaced(name) {
				kept = append(kept, param)
			}
		}
		for _, p := range params {
			// libpq takes a plus sign for itself.
			kept = append(kept, p[0]+"="+strings.ReplaceAll(url.QueryEscape(p[1]), "+", "%20"))
		}
		return address + "?" + strings.Join(kept, "&")
	}
	escape := strings.NewReplacer(`\`, `\\`, `'`, `\'`)
	for _, p := range params {
		dsn = strings.TrimSpace(dsn + " " + p[0] + "='" + escape.Replace(p[1]) + "'")
	}
	return dsn
}
