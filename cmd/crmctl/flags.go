package main

import (
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
)

// globalFlags are the flags every command has. Those that are configuration
// too are filled in from it before the command runs.
type globalFlags struct {
	cli.Switches

	databaseURL    string
	profile        string
	configFile     string
	output         string
	color          string
	noColor        bool
	migrationsDir  string
	registrySchema string
	timeout        time.Duration
	utc            bool
	confirmProfile string
}

func (g *globalFlags) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&g.databaseURL, "database-url", "", "the database `DSN`, without a password (DATABASE_URL may hold one)")
	fs.StringVar(&g.profile, "profile", "", "use the profile `NAME` of the configuration file")
	fs.StringVar(&g.configFile, "config", "", "read this `FILE` instead of the usual configuration files")
	fs.VarP(cli.NewEnum(&g.output, config.Default(config.KeyOutput), config.Outputs()), "output", "o", "`FORMAT`: "+
		strings.Join(config.Outputs(), ", "))
	fs.Var(cli.NewEnum(&g.color, config.Default(config.KeyColor), config.Colors()), "color", "colour `WHEN`: "+
		strings.Join(config.Colors(), ", "))
	fs.BoolVar(&g.noColor, "no-color", false, "same as --color never")
	fs.StringVar(&g.migrationsDir, "migrations-dir", "", "use the migrations in `DIR` instead of the built-in ones")
	fs.StringVar(&g.registrySchema, "registry-schema", config.Default(config.KeyRegistrySchema),
		"crmctl's own tables stand in this `SCHEMA`")
	fs.Var(newDuration(&g.timeout, config.Default(config.KeyTimeout)), "timeout",
		"give up after this `DURATION`; 0 for never")
	fs.BoolVar(&g.utc, "utc", false, "show times in UTC")
	fs.BoolVarP(&g.Quiet, "quiet", "q", false, "print names alone, and nothing but errors on stderr")
	fs.BoolVarP(&g.Verbose, "verbose", "v", false, "say more on stderr")
	fs.BoolVar(&g.Debug, "debug", false, "show the whole chain of an error")
	fs.BoolVar(&g.Yes, "yes", false, "answer yes to questions (a tenant's destruction wants --confirm NAME)")
	fs.StringVar(&g.confirmProfile, "confirm-profile", "", "`NAME` of a protected profile, instead of typing it")
}

// flagValue gives the configuration the flags of the command being run. Any
// flag that is named like a key counts, wherever it is defined.
func (f *factory) flagValue(name string) (string, bool) {
	if f.cmd == nil {
		return "", false
	}
	fs := f.cmd.Flags()
	if name == config.KeyColor && !fs.Changed(name) && f.flags.noColor {
		return "never", true
	}
	flag := fs.Lookup(name)
	if flag == nil || !flag.Changed {
		return "", false
	}
	return flag.Value.String(), true
}

// fillFlags gives the flags that were left out the values of the configuration:
// a command only looks at its options, and --concurrency, CRMCTL_CONCURRENCY
// and a file mean the same to it.
func (f *factory) fillFlags(cmd *cobra.Command, cfg *config.Config) error {
	var failed error
	cmd.Flags().VisitAll(func(flag *pflag.Flag) {
		name := strings.ReplaceAll(flag.Name, "-", "_")
		if flag.Changed || name == config.KeyDatabaseURL || failed != nil {
			return
		}
		s := cfg.Setting(name)
		if s.Key == "" || s.Value == "" {
			return
		}
		if err := flag.Value.Set(s.Value); err != nil {
			failed = cli.Usagef("%s: %q: %w", s.Origin, s.Value, err)
		}
	})
	return failed
}

// durationValue is a flag that takes days and weeks too: 30d, 2w.
type durationValue struct{ target *time.Duration }

// newDuration makes a flag's value; def is a duration as one writes it.
func newDuration(target *time.Duration, def string) *durationValue {
	*target, _ = config.ParseDuration(def)
	return &durationValue{target}
}

func (d *durationValue) String() string {
	if d.target == nil {
		return "0"
	}
	return config.FormatDuration(*d.target)
}

func (d *durationValue) Type() string { return "duration" }

func (d *durationValue) Set(s string) error {
	v, err := config.ParseDuration(s)
	if err == nil {
		*d.target = v
	}
	return err
}

// concurrencyValue is a number of tenants at once, or auto, which is 0.
type concurrencyValue struct{ target *int }

func (c *concurrencyValue) String() string {
	if c.target == nil || *c.target == 0 {
		return "auto"
	}
	return strconv.Itoa(*c.target)
}

func (c *concurrencyValue) Type() string { return "N" }

func (c *concurrencyValue) Set(s string) (err error) {
	*c.target, err = config.ParseConcurrency(s)
	return err
}

// addConcurrencyFlag adds --concurrency, which is configuration too.
func addConcurrencyFlag(fs *pflag.FlagSet, target *int) {
	fs.Var(&concurrencyValue{target}, "concurrency",
		"work on `N` tenants at once, one connection each; auto goes by the machine and the server")
}

// addLockTimeoutFlag adds --lock-timeout, which is configuration too.
func addLockTimeoutFlag(fs *pflag.FlagSet, target *time.Duration) {
	fs.Var(newDuration(target, config.Default(config.KeyLockTimeout)), "lock-timeout",
		"wait this `DURATION` for a lock, then try the tenant again later")
}

// addStatementTimeoutFlag adds --statement-timeout, which is configuration too.
func addStatementTimeoutFlag(fs *pflag.FlagSet, target *time.Duration) {
	fs.Var(newDuration(target, config.Default(config.KeyStatementTimeout)), "statement-timeout",
		"cancel a statement after this `DURATION`; 0 for never")
}

// addRetentionFlag adds --retention, which is configuration too.
func addRetentionFlag(fs *pflag.FlagSet, target *time.Duration) {
	fs.Var(newDuration(target, config.Default(config.KeyRetention)), "retention",
		"keep a deleted tenant this `DURATION` before it may be purged")
}

// addDryRunFlag adds --dry-run, which CRMCTL_DRY_RUN switches on too.
func addDryRunFlag(fs *pflag.FlagSet, target *bool) {
	fs.BoolVar(target, "dry-run", false, "change nothing, say what would happen")
}

// addExpectDatabaseFlag adds --expect-database, which is configuration too.
func addExpectDatabaseFlag(fs *pflag.FlagSet) {
	fs.String("expect-database", "", "stop unless the database is called `NAME`")
}
