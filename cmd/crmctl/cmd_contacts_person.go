package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm"
)

// personOptions are the options of `crmctl contacts person`.
type personOptions struct {
	selection

	all                 bool
	show, export, erase bool
	to                  string
	concurrency         int
	lockTimeout         time.Duration
	statementTimeout    time.Duration
	dryRun, newKey      bool
}

func newContactsPersonCmd(f *factory) *cobra.Command {
	opts := &personOptions{}
	cmd := &cobra.Command{
		Use:   "person ADDRESS --show|--export|--erase",
		Short: "everything stored about somebody: shown, given out, erased",
		Long: `Find everything that tenants store about the person with an e-mail address; - reads it from stdin,
so that it stands in no list of processes. Capitals and the two forms of an internationalized
domain make no difference; dots and what follows a plus do. Found are contacts with the address,
or with it under a name with "mail" in their metadata, their conversations and messages, messages
that the person has sent in other conversations, and what imports and merges keep of all that.
Told, and not erased, are messages of others with the address in their text, contacts that name it
elsewhere in their metadata, and rows of other tables in whose columns *mail* it is. Tenants of
every state are looked at; one that is being moved or purged fails. Not looked at are backups,
exported files, rejects of imports, the server's logs, and texts without the address.

--show prints it, long texts cut on a terminal; -o json has all. --export writes it as JSON to a file
that its owner alone can read. --erase removes it, a transaction a tenant: conversations and messages
go with the contact, since they are about the person. The same command goes on where it was cut
short. The audit has a keyed hash in the place of the person. The registry keeps it, and "backup
restore" erases the person again from what was saved before. The key is made by the first erasure in
erasure_key_file (erasure.key beside the user's crmctl.yaml): keep it apart from the backups, and
bring it along where they are restored. The file may hold several keys, a line each: erasures are
made with the first. Where the key is lost, --new-key begins with another.`,
		Example: `crmctl contacts person ann@example.com --all-tenants --show
cat a.txt | crmctl contacts person - --tenant acme --export --to ann.json
crmctl contacts person ann@example.com --all-tenants --erase --dry-run`,
		Args: cli.ExactArgs("ADDRESS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			// What goes on is the same command without the address in it.
			for i, word := range f.args {
				if word == args[0] {
					f.args = slices.Clone(f.args)
					f.args[i] = "-"
				}
			}
			if err := opts.validate(cmd.Flags().Changed("to")); err != nil {
				return err
			}
			return runPerson(cmd.Context(), f, opts, args[0])
		},
		ValidArgsFunction: cobra.NoFileCompletions,
	}
	fs := cmd.Flags()
	opts.selection.addFlags(f, cmd)
	fs.BoolVar(&opts.all, "all-tenants", false, "of every tenant; an erasure is of those that come later too")
	fs.BoolVar(&opts.show, "show", false, "print what is stored")
	fs.BoolVar(&opts.export, "export", false, "write what is stored to a file, as JSON")
	fs.BoolVar(&opts.erase, "erase", false, "erase what is stored")
	fs.StringVar(&opts.to, "to", "-", "with --export, the `FILE`; - for stdout")
	fs.BoolVar(&opts.newKey, "new-key", false, "with --erase, although the key of erasures before is lost")
	addConcurrencyFlag(fs, &opts.concurrency)
	addLockTimeoutFlag(fs, &opts.lockTimeout)
	addStatementTimeoutFlag(fs, &opts.statementTimeout)
	addDryRunFlag(fs, &opts.dryRun)
	addExpectDatabaseFlag(fs)
	cmd.MarkFlagsMutuallyExclusive("show", "export", "erase")
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

func (o *personOptions) validate(to bool) error {
	picked := len(o.tenants) > 0 || o.from != ""
	switch {
	case !o.show && !o.export && !o.erase:
		return cli.Usagef("nothing to do: give --show, --export or --erase")
	case !picked && !o.all:
		return cli.Usagef("no tenant to look at: give --tenant or --all-tenants")
	case picked && o.all:
		return cli.Usagef("--all-tenants does not go with --tenant and --tenants-from")
	case to && !o.export:
		return cli.Usagef("--to goes with --export")
	case o.newKey && !o.erase:
		return cli.Usagef("--new-key goes with --erase")
	}
	return nil
}

// address reads the address. Errors do not hold it.
func (o *personOptions) address(f *factory, arg string) (crm.Address, error) {
	if arg == "-" {
		if o.from == "-" {
			return crm.Address{}, cli.Usagef("the address and --tenants-from cannot both be stdin")
		}
		text, err := f.ReadInput("-")
		if err != nil {
			return crm.Address{}, cli.InputError(err)
		}
		arg = string(text)
	}
	address, err := crm.ParseAddress(strings.TrimSpace(arg))
	if err != nil {
		return address, cli.WithCode(errors.New("this is no e-mail address"), cli.ExitUsage)
	}
	return address, nil
}

func runPerson(ctx context.Context, f *factory, opts *personOptions, arg string) error {
	address, err := opts.address(f, arg)
	if err != nil {
		return err
	}
	chosen, err := opts.selection.read(f)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	o := app.PersonOptions{Selection: chosen, Address: address, Rows: opts.show || opts.export, DryRun: opts.dryRun,
		NewKey:      opts.newKey,
		Concurrency: opts.concurrency, LockTimeout: opts.lockTimeout, StatementTimeout: opts.statementTimeout}
	s := personScreen{f: f, p: p, o: opts, address: address}
	if !opts.erase {
		if s.done, err = a.FindPerson(ctx, o); err != nil {
			return err
		}
		return s.found()
	}
	o.Confirm = func(found app.PersonResult) error {
		target, err := f.target()
		if err != nil {
			return err
		}
		held, tenants := found.Total()
		return f.ConfirmYes(ctx, fmt.Sprintf("Erase %s of %s of %s, and in what is restored? This cannot be taken back.",
			heldText(held), cli.Plural(tenants, "tenant"), cli.Visible(target.Place())))
	}
	if s.done, err = a.ErasePerson(ctx, o); err != nil {
		return personHint(err)
	}
	return s.erased()
}

// personHint adds what to do about the key.
func personHint(err error) error {
	if _, is := errors.AsType[*app.ErasureKeyError](err); is {
		return cli.WithHint(err, "name the file of the key", "erasure_key_file in crmctl.yaml, or CRMCTL_ERASURE_KEY_FILE")
	}
	return err
}

// heldText returns "2 contacts, 1 conversation and 3 messages", without what there is none of.
func heldText(h crm.Held) string {
	var parts []string
	for _, part := range []struct {
		n    int64
		noun string
	}{{h.Contacts, "contact"}, {h.Conversations, "conversation"}, {h.Messages, "message"}, {h.Kept, "kept row"}} {
		if part.n > 0 {
			parts = append(parts, cli.Plural(int(part.n), part.noun))
		}
	}
	switch last := len(parts) - 1; {
	case last < 0:
		return "nothing"
	case last > 0:
		return strings.Join(parts[:last], ", ") + " and " + parts[last]
	}
	return parts[0]
}
