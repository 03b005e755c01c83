package main

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
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/localpg"
	"github.com/crmctl/crmctl/internal/registry"
)

// psqlOptions are the options of `crmctl psql`.
type psqlOptions struct {
	name  string
	args  []string // for psql
	write bool
}

func newPsqlCmd(f *factory) *cobra.Command {
	opts := &psqlOptions{}
	cmd := &cobra.Command{
		Use:   "psql TENANT [-- PSQL-ARGUMENTS]",
		Short: "open psql in a tenant's schema",
		Long: `Open the real psql with the tenant's schema on the search path, and behind it what the migrations
have there: schemas of extensions, and shared_schemas. What stands behind -- is passed on to it; the
exit code is psql's.

Sessions are read only unless --write is given: default_transaction_read_only is on. That is a
guard against slips, which "set default_transaction_read_only = off" takes away.

The session keeps its settings only on a connection of its own: behind a pooler,
direct_database_url says how to get past it.`,
		Example: `crmctl psql acme-corp
crmctl psql acme-corp --write
crmctl psql acme-corp -- -c '\dt+'
crmctl psql acme-corp -- -At -f report.sql`,
		Args: func(cmd *cobra.Command, args []string) error {
			n := cmd.ArgsLenAtDash()
			if n < 0 {
				n = len(args)
			}
			if n > 1 {
				return cli.WithHint(cli.Usagef("%q takes one TENANT, and psql's arguments behind --: %q", cmd.CommandPath(),
					args[1]), "try", cmd.CommandPath()+" "+args[0]+" -- "+strings.Join(args[1:], " "))
			}
			return cli.ExactArgs("TENANT")(cmd, args[:n])
		},
		ValidArgsFunction: completeTenants(f),
		RunE: func(cmd *cobra.Command, args []string) error {
			opts.name, opts.args = args[0], args[1:]
			return runPsql(cmd.Context(), f, opts)
		},
	}
	cmd.Flags().BoolVar(&opts.write, "write", false, "let the session change data")
	addExpectDatabaseFlag(cmd.Flags())
	cli.DocumentExits(cmd, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runPsql(ctx context.Context, f *factory, opts *psqlOptions) error {
	slug, err := registry.Slug(opts.name)
	if err != nil {
		return err
	}
	if opts.write {
		if err := f.beforeChange(ctx, false); err != nil {
			return err
		}
	}
	program, err := findPsql(ctx, f)
	if err != nil {
		return err
	}
	conn, err := f.connect(ctx)
	if err != nil {
		return err
	}
	t, err := f.registry().Get(ctx, conn, slug)
	var path db.Path
	if err == nil {
		path, err = f.tenantPath(ctx, conn, nil)
	}
	_ = conn.Close(context.WithoutCancel(ctx))
	switch {
	case err != nil:
		return err
	case t.Status == registry.Deleted && opts.write:
		return &registry.StateError{Slug: t.Slug, State: t.State()}
	}
	s := psqlSession{tenant: t, path: path, write: opts.write}
	dsn, cfg, err := s.target(ctx, f)
	if err != nil {
		return err
	}
	told, err := f.config()
	if err != nil {
		return err
	}
	env := f.programEnv(told, told.DatabaseURL, f.IO.Env, cfg.Password)
	f.Verbose("psql is %s", program)
	args := append(append([]string{program}, opts.args...), "--dbname="+dsn)
	return cli.Become(program, args, env, f.IO)
}

// findPsql looks on the PATH, then where the server programs are.
func findPsql(ctx context.Context, f *factory) (string, error) {
	if found, err := exec.LookPath("psql"); err == nil {
		return found, nil
	}
	cfg, err := f.config()
	if err != nil {
		return "", err
	}
	if dir, _, err := localpg.FindBinaries(ctx, cfg.PGBin); err == nil {
		if found, err := exec.LookPath(filepath.Join(dir, "psql")); err == nil {
			return found, nil
		}
	}
	return "", cli.WithHint(errors.New("there is no psql on the PATH"), "install PostgreSQL's client programs, e.g.",
		"apt install postgresql-client")
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

// target returns the connection string for psql, without a password, after a trial:
// a pooler drops the start-up parameters, or gives the session to others. Past it leads
// direct_database_url.
func (s psqlSession) target(ctx context.Context, f *factory) (string, *pgx.ConnConfig, error) {
	cfg, err := f.config()
	if err != nil {
		return "", nil, err
	}
	dsn, err := cfg.Database()
	if err != nil {
		return "", nil, err
	}
	conn, err := f.connConfig()
	if err != nil {
		return "", nil, err
	}
	err = s.try(ctx, conn)
	if errors.Is(err, errNotScoped) && cfg.DirectURL != "" {
		direct, connErr := f.connectDirect(ctx) // checks that it is the same database
		if connErr != nil {
			return "", nil, connErr
		}
		conn, dsn = direct.Config(), cfg.DirectURL
		_ = direct.Close(context.WithoutCancel(ctx))
		err = s.try(ctx, conn)
	}
	switch {
	case errors.Is(err, errNotScoped):
		return "", nil, cli.WithHint(fmt.Errorf("tenant %q: %w", s.tenant.Slug, err), "set the address past it",
			"direct_database_url (CRMCTL_DIRECT_DATABASE_URL)")
	case err != nil:
		return "", nil, fmt.Errorf("tenant %q: %w", s.tenant.Slug, err)
	}
	return s.conninfo(db.OnlyKnown(backup.WithoutPassword(string(dsn))), conn.RuntimeParams["options"],
		s.attributes(conn)), conn, nil
}

var errNotScoped = errors.New("a pooler stands between, and psql would not stay in the tenant's schema")

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
		return errNotScoped
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
		return errNotScoped
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
