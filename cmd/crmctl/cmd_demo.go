package main

import (
	"bytes"
	"context"

	"github.com/crmctl/crmctl/internal/cli"

	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/localpg"
)

// the sample contacts

// demoOptions are the options of `crmctl demo`.
type demoOptions struct {
	tenants int
	file    string
	mapping []string
	null    []string
	pgBin   string
	dryRun  bool
}

//go:embed demo_contacts.csv
var demoContacts []byte

func newDemoCmd(f *factory) *cobra.Command {
	opts := &demoOptions{}
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "the main job from end to end, on a private PostgreSQL",
		Long: `Show the main job: a fleet is created, a migration rolled over it, contacts are imported, sizes
looked at, a tenant deleted and purged. Each step is printed as the command one would type.

Everything happens on a private PostgreSQL that is started for the demo and gone, with its data,
when it ends. No other database is touched, whatever the environment, a profile or a
configuration file says: the demo's commands read none of them.`,
		Example: `crmctl demo
crmctl demo --tenants 200
crmctl demo --file leads.csv --map "Work Mail=email"`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			for _, name := range []string{"database-url", "profile", "config", "migrations-dir"} {
				if cmd.Flags().Changed(name) {
					return cli.Usagef("the demo works on a server of its own: --%s has no say there", name)
				}
			}
			if opts.tenants < 3 || opts.tenants > 5000 {
				return cli.Usagef("--tenants %d: want 3 to 5,000", opts.tenants)
			}
			return runDemo(cmd.Context(), f, opts)
		},
	}
	fs := cmd.Flags()
	fs.IntVar(&opts.tenants, "tenants", 50, "create `N` tenants")
	fs.StringVar(&opts.file, "file", "", "import this CSV `FILE` instead of the sample")
	fs.StringArrayVar(&opts.mapping, "map", nil, "`\"HEADER=FIELD\"` for the import, as in crmctl contacts import")
	fs.StringArrayVar(&opts.null, "null", nil, "a `VALUE` in the file that means nothing")
	fs.StringVar(&opts.pgBin, "pg-bin", "", "`DIR` of initdb and postgres; found by itself otherwise")
	addDryRunFlag(fs, &opts.dryRun)
	cli.StandsApart(cmd)
	cli.DocumentExits(cmd)
	return cmd
}

// demo is a demonstration under way.
type demo struct {
	f    *factory
	opts *demoOptions
	dir  string // for its files
	// server is nil for a dry run, which only shows the commands.
	server *localpg.Server
}

func runDemo(ctx context.Context, f *factory, opts *demoOptions) (err error) {
	d := &demo{f: f, opts: opts}
	if opts.dryRun {
		f.Note("# would start a private PostgreSQL, gone when the demo ends, and run there:")
		return d.steps(ctx)
	}
	begun := f.Now()
	f.Note("# a private PostgreSQL, gone when the demo ends")
	d.server, err = localpg.Start(ctx, localpg.Options{Ephemeral: true, BinDir: opts.pgBin})
	if err != nil {
		return localError(err)
	}
	defer func() {
		if stopErr := d.server.Stop(context.WithoutCancel(ctx)); err == nil {
			err = stopErr
		}
	}()
	if d.dir, err = os.MkdirTemp("", "crmctl-demo-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(d.dir) }()
	if err := d.steps(ctx); err != nil {
		return err
	}
	fmt.Fprintf(f.IO.Out, "\ndone in %s; the database is gone again\n", cli.HumanDuration(f.Now().Sub(begun)))
	f.Note("next: crmctl local start   (one that stays)")
	return nil
}

func (d *demo) steps(ctx context.Context) error {
	for _, step := range []func(context.Context) error{d.provision, d.migrate, d.importContacts, d.remove} {
		if err := step(ctx); err != nil {
			return err
		}
	}
	return nil
}

// write writes one of the demo's own files and returns its path.
func (d *demo) write(name string, content []byte) (string, error) {
	path := filepath.Join(d.dir, name)
	if d.opts.dryRun {
		return path, nil
	}
	return path, os.WriteFile(path, content, 0o600)
}

func (d *demo) provision(ctx context.Context) error {
	names, err := d.write("names.txt", []byte(demoNames(d.opts.tenants)))
	if err != nil {
		return err
	}
	return d.run(ctx,
		say("The registry: one table of tenants in the schema public."),
		call("migrate", "public"),
		say(fmt.Sprintf("%d tenants, each a schema of its own, built in one transaction each. They start at version 3.",
			d.opts.tenants)),
		call("tenant", "create", "--from", names, "--to", "3"),
	)
}

func (d *demo) migrate(ctx context.Context) error {
	return d.run(ctx,
		say("A fourth migration has come. Who is behind?"),
		call("migrate", "status"),
		say("Roll it over the fleet."),
		call("migrate", "all-tenants"),
		say("Once more: nothing to do, whatever the size of the fleet."),
		call("migrate", "all-tenants"),
	)
}

func (d *demo) importContacts(ctx context.Context) error {
	file := d.opts.file
	if file == "" {
		var err error
		if file, err = d.write("contacts.csv", demoContacts); err != nil {
			return err
		}
	}
	args := []string{"contacts", "import", "--tenant", "acme-corp", file, "--rejects",
		filepath.Join(d.dir, "rejected.csv")}
	for _, m := range d.opts.mapping {
		args = append(args, "--map", m)
	}
	for _, n := range d.opts.null {
		args = append(args, "--null", n)
	}
	return d.run(ctx,
		say("Contacts from a spreadsheet into one of them."),
		step{args: args, allowed: cli.ExitPartial},
		say("A tenant with conversations and messages."),
		call("seed"),
		say("Who takes the space?"),
		call("stats", "sizes", "--top", "4"),
	)
}

func (d *demo) remove(ctx context.Context) error {
	return d.run(ctx,
		say("A tenant leaves. Deleting closes it and keeps its data for a while, here for no time at all ..."),
		call("tenant", "delete", "globex", "--retention", "0s", "--confirm", "globex"),
		say("... and purging destroys what is deleted and overdue, and nothing else."),
		call("tenant", "purge", "--no-backup", "--yes"),
		call("tenant", "list", "--limit", "3"),
	)
}

// step is a line of explanation or a command.
type step struct {
	text    string
	args    []string
	allowed int // an exit code that is no failure here, beside 0
}

func say(text string) step      { return step{text: text} }
func call(args ...string) step  { return step{args: args} }
func (s step) ok(code int) bool { return code == cli.ExitOK || code == s.allowed }
func (s step) typed() string    { return "crmctl " + cli.ShellWords(s.args) }

var errDemo = errors.New("a step of the demo failed")

func (d *demo) run(ctx context.Context, steps ...step) error {
	for _, s := range steps {
		if err := ctx.Err(); err != nil {
			return context.Cause(ctx)
		}
		if s.text != "" {
			fmt.Fprintf(d.f.IO.Out, "\n%s\n", d.f.outPainter().Paint(cli.Dim, "# "+s.text))
			continue
		}
		// The files of the demo are shown by their names alone.
		typed := s.typed()
		if d.dir != "" {
			typed = strings.ReplaceAll(typed, d.dir+string(filepath.Separator), "")
		}
		fmt.Fprintf(d.f.IO.Out, "$ %s\n", cli.Visible(typed))
		if d.opts.dryRun {
			continue
		}
		var out bytes.Buffer
		inner := d.factory(&out)
		code := inner.execute(ctx, newRootCmd(inner), append(d.globalFlags(), s.args...))
		if _, err := d.f.IO.Out.Write(shorten(out.Bytes())); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		if !s.ok(code) {
			return fmt.Errorf("%w: %s: exit code %d", errDemo, s.typed(), code)
		}
	}
	return nil
}

// factory makes what a command of the demo works with. Its configuration is the
// demo's flags and the defaults, its database the demo's server, and its environment
// the language and the terminal: nothing of the user's can reach it, because
// nothing of the user's is looked at.
func (d *demo) factory(out io.Writer) *factory {
	s := *d.f.IO
	s.Out = out
	s.In, s.InTerminal = strings.NewReader(""), false
	// The answers are for people here, even in the log of a CI job.
	s.OutTerminal = true
	s.Dir, s.SystemDir, s.Env = d.dir, "", nil
	for _, name := range []string{"LANG", "LC_ALL", "LC_CTYPE", "TERM"} {
		s.Env = append(s.Env, name+"="+d.f.IO.Getenv(name))
	}
	f := newFactory(&s, d.f.Interrupts)
	f.useFlagsAlone()
	f.connConfig = func() (*pgx.ConnConfig, error) {
		cfg, err := d.server.ConnConfig()
		if err == nil {
			db.Prepare(cfg)
		}
		return cfg, err
	}
	return f
}

func (d *demo) globalFlags() []string {
	if d.f.outPainter().On {
		return nil
	}
	return []string{"--color", "never"}
}

// shorten leaves out the middle of a long answer: fifty tenants look alike.
func shorten(out []byte) []byte {
	const head, foot = 4, 2
	lines := bytes.SplitAfter(out, []byte("\n"))
	if len(lines) <= head+foot+4 {
		return out
	}
	last := len(lines) - 1 - foot // the last element is what follows the last newline
	short := bytes.Join(lines[:head], nil)
	short = append(short, fmt.Sprintf("  ... %d more lines ...\n", last-head)...)
	return append(short, bytes.Join(lines[last:], nil)...)
}

// demoNames returns names of tenants, one a line.
func demoNames(n int) string {
	names := []string{"acme-corp, Acme Corp.", "globex, Globex Corporation", "initech, Initech", "hooli, Hooli",
		"Tech Startup"}
	for i := len(names); i < n; i++ {
		names = append(names, fmt.Sprintf("customer-%03d, Customer %d", i+1, i+1))
	}
	return strings.Join(names[:n], "\n") + "\n"
}
