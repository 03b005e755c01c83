package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// factory hands a command what it needs. What costs something is made when it
// is first asked for: help, completion and version never dial.
type factory struct {
	*cli.Console // what it says and asks, and the signals that end it

	flags globalFlags
	help  *cli.Help

	// config reads flags, environment and files, once.
	config func() (*config.Config, error)
	// connConfig says how to connect, for commands that open several
	// connections. Each call returns a copy of its own; it and connect may be
	// called by several goroutines at once.
	connConfig func() (*pgx.ConnConfig, error)
	// connect opens one connection; the caller closes it.
	connect func(ctx context.Context) (*pgx.Conn, error)
	// app returns the application, the same each time.
	app func() (*app.App, error)
	// registry says where the registry stands.
	registry    func() registry.Registry
	cmd         *cobra.Command // the command being run or completed
	started     bool           // its RunE was reached
	release     func()         // frees what --timeout holds
	args        []string       // as they were typed
	skippedRows int            // rows of the registry that are not valid
	recorded    bool           // programs were given an error
	ownership   registryCheck
	other       string // the profile of a second database, "" for the first
}

func newFactory(s *cli.Streams, in *cli.Interrupts) *factory {
	f := &factory{help: newHelp()}
	f.Console = cli.NewConsole(s, in, &f.flags.Switches)
	f.Console.Redact, f.Console.Structured = f.redact, f.structured
	f.hang()
	return f
}

// onProfile returns a factory for a second database, that of another profile, in the same
// command.
func (f *factory) onProfile(name string) *factory {
	second := &factory{Console: f.Console, flags: f.flags, help: f.help, cmd: f.cmd, args: f.args, other: name}
	second.hang()
	hidden := f.Redact
	f.Redact = func(text string) string { return second.redact(hidden(text)) }
	return second
}

// hang sets what is made when it is first asked for.
func (f *factory) hang() {
	f.config = sync.OnceValues(f.loadConfig)
	parsed := sync.OnceValues(f.readConnConfig)
	f.connConfig = func() (*pgx.ConnConfig, error) {
		cfg, err := parsed()
		if err != nil {
			return nil, err
		}
		return cfg.Copy(), nil
	}
	f.connect = f.dial
	f.app = sync.OnceValues(f.makeApp)
	f.registry = f.configuredRegistry
}

// configuredRegistry is the registry where the configuration says. Without a
// configuration no command gets far enough to need one.
func (f *factory) configuredRegistry() registry.Registry {
	cfg, err := f.config()
	if err != nil || cfg.RegistrySchema == db.Public.String() {
		return registry.Default()
	}
	schema, err := db.RegisteredSchema(cfg.RegistrySchema)
	if err != nil {
		return registry.Default() // the configuration has refused such a name
	}
	return registry.In(schema)
}

func (f *factory) loadConfig() (*config.Config, error) {
	if f.other != "" {
		return f.loadOther()
	}
	src := config.Sources{
		Env:       f.IO.Env,
		Flag:      f.flagValue,
		Dir:       f.IO.Dir,
		SystemDir: f.IO.SystemDir,
	}
	if f.cmd != nil && f.cmd.HasParent() && f.cmd.Parent().Name() == localGroup {
		src.Optional = app.IsLocalProfile // which these commands write and remove
	}
	return config.Load(src)
}

// useFlagsAlone makes the configuration be read from the flags alone.
func (f *factory) useFlagsAlone() {
	f.config = sync.OnceValues(func() (*config.Config, error) {
		return config.Load(config.Sources{Env: f.IO.Env, Flag: f.flagValue, Apart: true})
	})
}

func (f *factory) readConnConfig() (*pgx.ConnConfig, error) {
	cfg, err := f.config()
	if err != nil {
		return nil, err
	}
	dsn, err := cfg.Database()
	if err != nil {
		return nil, err
	}
	conn, err := db.ParseConfig(string(dsn))
	if err != nil {
		return nil, cli.WithHint(cli.WithCode(err, cli.ExitUsage), "set by", cfg.Setting(config.KeyDatabaseURL).Origin)
	}
	if left := db.ForeignParameters(string(dsn)); len(left) > 0 {
		f.Verbose("left out of the address, since they are other programs': %s", cli.Visible(strings.Join(left, ", ")))
	}
	if problem := db.PassfileProblem(string(dsn)); problem != "" {
		f.Say("crmctl: warning: %s", problem)
	}
	if cfg.DatabaseFromProject() && !dsn.HasPassword() {
		hidePassword(conn)
	}
	cfg.AddSecret(conn.Password)
	if name := db.TargetOf(conn).Database; cfg.ExpectDatabase != "" && name != cfg.ExpectDatabase {
		return nil, cli.Usagef("the database is %q, but %q is expected (%s)", name, cfg.ExpectDatabase,
			cfg.Setting(config.KeyExpectDatabase).Origin)
	}
	return conn, nil
}

// hidePassword keeps a password that the user has elsewhere from being shown to a
// server whose address stands in a file of the working directory: such a server may ask
// for a proof of it (SCRAM), and not for the password or what it can be found from.
func hidePassword(conn *pgx.ConnConfig) {
	if os.Getenv("PGREQUIREAUTH") == "" {
		conn.RequireAuth = noReadablePassword
	}
}

// noReadablePassword is a value of libpq's require_auth.
const noReadablePassword = "!password,!md5"

// programEnv is the environment of psql and pg_dump, which connect by themselves:
// with the password, and with hidePassword's rule.
func (f *factory) programEnv(cfg *config.Config, dsn config.DSN, env []string, password string) []string {
	env = slices.Clip(env)
	if (cfg.DatabaseFromProject() || cfg.DirectFromProject()) && !dsn.HasPassword() && f.IO.Getenv("PGREQUIREAUTH") == "" {
		env = append(env, "PGREQUIREAUTH="+noReadablePassword)
	}
	if password != "" {
		env = append(env, "PGPASSWORD="+password)
	}
	return env
}

func (f *factory) dial(ctx context.Context) (*pgx.Conn, error) {
	conn, err := f.dialUnchecked(ctx)
	if err != nil {
		return nil, err
	}
	return f.checked(ctx, conn)
}

// dialUnchecked connects before it is known whose the registry is.
func (f *factory) dialUnchecked(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := f.connConfig()
	if err != nil {
		return nil, err
	}
	return db.Connect(ctx, cfg)
}

// connectDirect opens a connection past a pooler, to direct_database_url where
// that is set.
func (f *factory) connectDirect(ctx context.Context) (*pgx.Conn, error) {
	cfg, err := f.config()
	if err != nil {
		return nil, err
	}
	if cfg.DirectURL == "" {
		return f.connect(ctx)
	}
	conn, err := db.ParseConfig(string(cfg.DirectURL))
	if err != nil {
		return nil, cli.WithCode(fmt.Errorf("%s: %w", config.KeyDirectURL, err), cli.ExitUsage)
	}
	if cfg.DirectFromProject() && !cfg.DirectURL.HasPassword() {
		hidePassword(conn)
	}
	target, err := f.target()
	if err != nil {
		return nil, err
	}
	if name := db.TargetOf(conn).Database; name != target.Database {
		return nil, cli.Usagef("%s is the database %q, but the command works on %q", config.KeyDirectURL, name,
			target.Database)
	}
	main, err := f.connConfig()
	if err != nil {
		return nil, err
	}
	db.ShareEngine(conn, main)
	direct, err := db.Connect(ctx, conn)
	if err != nil {
		return nil, err
	}
	return f.checked(ctx, direct)
}

// target says which database the command works on, without connecting.
func (f *factory) target() (db.Target, error) {
	cfg, err := f.connConfig()
	if err != nil {
		return db.Target{}, err
	}
	return db.TargetOf(cfg), nil
}

// redact hides every known secret in a text.
func (f *factory) redact(text string) string {
	cfg, err := f.config()
	if err != nil {
		return config.RedactText(text)
	}
	return cfg.Redact(text)
}

// open returns what a command that reads the database works with. closeConn ends it.
func (f *factory) open(ctx context.Context) (*cli.Printer, *pgx.Conn, error) {
	p, err := f.printer()
	if err != nil {
		return nil, nil, err
	}
	conn, err := f.connect(ctx)
	return p, conn, err
}

// openWithPlan is open for a command that compares tenants with the migrations, which are
// compiled first.
func (f *factory) openWithPlan(ctx context.Context) (*migrate.Plan, *cli.Printer, *pgx.Conn, error) {
	plan, err := f.tenantPlan(ctx)
	if err != nil {
		return nil, nil, nil, err
	}
	p, conn, err := f.open(ctx)
	return plan, p, conn, err
}

// unknownHead stands for the newest version where the migrations do not tell.
const unknownHead = -1

// openWithHead is open for a command that only shows which tenants are behind the newest
// version. Where the migrations cannot be read it goes on without it, and says so.
func (f *factory) openWithHead(ctx context.Context) (int64, *cli.Printer, *pgx.Conn, error) {
	head := int64(unknownHead)
	plan, unread := f.tenantPlan(ctx)
	_, refused := errors.AsType[*app.FilesError](unread)
	switch {
	case unread == nil:
		head = plan.Head()
	case !refused:
		return 0, nil, nil, unread
	}
	p, conn, err := f.open(ctx)
	if err == nil && refused {
		f.Say("crmctl: warning: how many migrations are pending is not known: %s", textOf(unread))
	}
	return head, p, conn, err
}

// openToChange is open for a command that changes something, unless dryRun is set:
// it names the target first.
func (f *factory) openToChange(ctx context.Context, dryRun bool) (*cli.Printer, *pgx.Conn, error) {
	p, err := f.printer()
	if err != nil {
		return nil, nil, err
	}
	if err := f.beforeChange(ctx, dryRun); err != nil {
		return nil, nil, err
	}
	conn, err := f.connect(ctx)
	return p, conn, err
}

// closeConn closes a connection, also after the context is gone. There is nobody to
// tell where that fails: what was to be committed has been.
func closeConn(ctx context.Context, conn *pgx.Conn) { _ = conn.Close(context.WithoutCancel(ctx)) }
