package main

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm"
	"github.com/crmctl/crmctl/internal/crm/importer"
	"github.com/crmctl/crmctl/internal/db"
)

// crmOptions are those of every command on one tenant's contacts, conversations or messages.
type crmOptions struct {
	tenant string
	dryRun bool
}

// newCRMCmd makes a command that reads. It works on the tenant that --tenant names.
func newCRMCmd(f *factory, opts *crmOptions, cmd *cobra.Command) *cobra.Command {
	cmd.Flags().StringVar(&opts.tenant, "tenant", "", "the `TENANT` (required)")
	cli.RegisterCompletion(cmd, "tenant", completeOne(f))
	cmd.ValidArgsFunction = cobra.NoFileCompletions
	if err := cmd.MarkFlagRequired("tenant"); err != nil {
		panic(err) // only when the flag is not defined
	}
	cli.DocumentExits(cmd, cli.ExitUnreachable, cli.ExitLocked, exitNoTenant)
	return cmd
}

// newCRMReadCmd makes a command that changes nothing.
func newCRMReadCmd(f *factory, opts *crmOptions, cmd *cobra.Command) *cobra.Command {
	readOnly(cmd)
	return newCRMCmd(f, opts, cmd)
}

// newCRMWriteCmd makes a command that changes something.
func newCRMWriteCmd(f *factory, opts *crmOptions, cmd *cobra.Command) *cobra.Command {
	addDryRunFlag(cmd.Flags(), &opts.dryRun)
	addExpectDatabaseFlag(cmd.Flags())
	return newCRMCmd(f, opts, cmd)
}

// read runs fn over the tenant.
func (o *crmOptions) read(ctx context.Context, f *factory,
	fn func(ctx context.Context, p *cli.Printer, r *crm.Reader) error) error {
	return o.readBy(ctx, f, (*app.App).ReadCRM, fn)
}

// readBy runs fn over the tenant as one of the ways to read does.
func (o *crmOptions) readBy(ctx context.Context, f *factory,
	read func(a *app.App, ctx context.Context, tenant string, fn func(context.Context, *crm.Reader) error) error,
	fn func(ctx context.Context, p *cli.Printer, r *crm.Reader) error) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	err = read(a, ctx, o.tenant, func(ctx context.Context, r *crm.Reader) error { return fn(ctx, p, r) })
	return f.crmError(err, o.tenant)
}

// write runs do over the tenant and prints what it has left.
func (o *crmOptions) write(ctx context.Context, f *factory, do func(ctx context.Context, w *crm.Writer) error,
	object func(p *cli.Printer) cli.Object) error {
	return o.writeAsked(ctx, f, do, nil, object)
}

// writeAsked is write, with a question before anything is kept; nil for none.
func (o *crmOptions) writeAsked(ctx context.Context, f *factory, do func(ctx context.Context, w *crm.Writer) error,
	confirm func() error, object func(p *cli.Printer) cli.Object) error {
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	err = a.WriteCRM(ctx, app.CRMWrite{Tenant: o.tenant, DryRun: o.dryRun, Do: do, Confirm: confirm})
	if err != nil {
		return f.crmError(err, o.tenant)
	}
	if err := cli.PrintObject(p, object(p)); err != nil {
		return err
	}
	if o.dryRun {
		f.Note("dry run: nothing was kept")
	}
	return nil
}

// crmError adds the exit code and the next step.
func (f *factory) crmError(err error, tenant string) error {
	if _, is := errors.AsType[*crm.InvalidError](err); is {
		return cli.WithCode(err, cli.ExitUsage)
	}
	if taken, is := errors.AsType[*crm.TakenError](err); is && taken.ID != "" {
		return cli.WithHint(err, "look at it", cli.ShellWords([]string{"crmctl", "contacts", "show", "--tenant", tenant,
			taken.ID}))
	}
	if state, is := errors.AsType[*crm.StateError](err); is && state.Status == crm.StatusClosed {
		return cli.WithHint(err, "open it again", "crmctl conversations reopen --tenant "+tenant+" "+state.ID)
	}
	if _, is := errors.AsType[*importer.TableError](err); is {
		return f.tableHint(err, tenant)
	}
	if db.SQLState(err) == db.CodeLockNotAvailable {
		return cli.WithCode(err, cli.ExitLocked)
	}
	return err
}

// pageOptions say which part of a list is shown.
type pageOptions struct{ crm.Page }

func (o *pageOptions) addFlags(fs *pflag.FlagSet) {
	fs.IntVar(&o.Limit, "limit", crm.DefaultLimit, "at most `N` of them, up to 10000")
	fs.StringVar(&o.After, "after", "", "what follows the list that ended at `END`")
}

func (o *pageOptions) validate() error {
	if o.Limit < 1 || o.Limit > crm.MaxLimit {
		return cli.Usagef("--limit %d: want 1 to %d", o.Limit, crm.MaxLimit)
	}
	return nil
}

// printPage prints a page of a list. Where there is more, programs find its end in the
// summary, and people the command that goes on.
func printPage[T any](f *factory, p *cli.Printer, l cli.List[T], rows []T, end string) error {
	l.Summary = func() any { return pageSummary{After: end} }
	if err := cli.PrintList(p, l, rows); err != nil {
		return err
	}
	f.noteNextPage(end)
	return nil
}

type pageSummary struct {
	After string `json:"after"` // "" for the last page
}

// noteNextPage says how to go on behind a page.
func (f *factory) noteNextPage(end string) {
	if end == "" {
		return
	}
	words := []string{"crmctl"}
	for i := 0; i < len(f.args); i++ {
		if f.args[i] == "--after" {
			i++
			continue
		}
		if !strings.HasPrefix(f.args[i], "--after=") {
			words = append(words, f.args[i])
		}
	}
	f.Note("next: %s", cli.Visible(cli.ShellWords(append(words, "--after", end))))
}

// metadataFlags are what is set in a contact's metadata.
type metadataFlags struct {
	object string
	pairs  []string
}

func (o *metadataFlags) addFlags(fs *pflag.FlagSet) {
	fs.StringVar(&o.object, "metadata", "", "a `JSON` object of metadata")
	fs.StringArrayVar(&o.pairs, "set", nil, "a text of the metadata: `KEY=TEXT`; may be given several times")
}

// json returns the object, nil where nothing was given.
func (o *metadataFlags) json() (json.RawMessage, error) {
	if o.object == "" && len(o.pairs) == 0 {
		return nil, nil
	}
	object := map[string]json.RawMessage{} // what is given as JSON stays as it is, digit by digit
	if o.object != "" {
		if err := json.Unmarshal([]byte(o.object), &object); err != nil || object == nil {
			return nil, cli.Usagef("--metadata: not a JSON object, such as '{\"city\": \"Bonn\"}'")
		}
		if len(o.pairs) == 0 {
			return json.RawMessage(o.object), nil
		}
	}
	for _, pair := range o.pairs {
		key, text, ok := strings.Cut(pair, "=")
		if !ok || key == "" {
			return nil, cli.Usagef("--set %s: want KEY=TEXT", pair)
		}
		value, err := json.Marshal(text)
		if err != nil {
			return nil, err
		}
		object[key] = value
	}
	return json.Marshal(object)
}
