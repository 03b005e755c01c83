package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm"
)

// contactOptions are the options of `crmctl contacts add` and `edit`.
type contactOptions struct {
	crmOptions
	metadataFlags

	email, phone, name, company string
	forget                      []string
}

func (o *contactOptions) addFlags(cmd *cobra.Command, away string) {
	fs := cmd.Flags()
	fs.StringVar(&o.email, "email", "", "the e-mail `ADDRESS`"+away)
	fs.StringVar(&o.phone, "phone", "", "the telephone `NUMBER`"+away)
	fs.StringVar(&o.name, "name", "", "the `NAME`"+away)
	fs.StringVar(&o.company, "company", "", "the `COMPANY`"+away)
	o.metadataFlags.addFlags(fs)
}

// change returns what was given.
func (o *contactOptions) change(cmd *cobra.Command) (crm.ContactChange, error) {
	given := func(name string, text *string) *string {
		if !cmd.Flags().Changed(name) {
			return nil
		}
		return text
	}
	c := crm.ContactChange{Email: given("email", &o.email), Phone: given("phone", &o.phone),
		Name: given("name", &o.name), Company: given("company", &o.company), Forget: o.forget}
	var err error
	c.Metadata, err = o.json()
	return c, err
}

func newContactsAddCmd(f *factory) *cobra.Command {
	opts := &contactOptions{}
	cmd := &cobra.Command{
		Use:   "add --tenant TENANT",
		Short: "one contact",
		Long: `Add a contact. Its address is stored in lower case, and its number in E.164 where it is known to be
one: without a country code it is taken for one of the tenant's setting "region". Where another
contact has the address, that one is named, and nothing is added.`,
		Example: `crmctl contacts add --tenant acme --email ada@example.com --name Ada
crmctl contacts add --tenant acme --phone "+49 30 1234567" --set city=Berlin`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			change, err := opts.change(cmd)
			if err != nil {
				return err
			}
			var made crm.Contact
			return opts.write(cmd.Context(), f, func(ctx context.Context, w *crm.Writer) (err error) {
				made, err = w.AddContact(ctx, change)
				return err
			}, func(*cli.Printer) cli.Object { return contactObject(made) })
		},
	}
	opts.addFlags(cmd, "")
	return newCRMWriteCmd(f, &opts.crmOptions, cmd)
}

func newContactsEditCmd(f *factory) *cobra.Command {
	opts := &contactOptions{}
	cmd := &cobra.Command{
		Use:   "edit --tenant TENANT CONTACT",
		Short: "change one contact",
		Long: `Change a contact, which is named by its id or its address. What is not given stays as it is; an
empty text takes the value away. Of the metadata only the keys that are given change.`,
		Example: `crmctl contacts edit --tenant acme ada@example.com --company Engines
crmctl contacts edit --tenant acme ada@example.com --phone "" --unset fax`,
		Args: cli.ExactArgs("CONTACT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			change, err := opts.change(cmd)
			if err != nil {
				return err
			}
			var after crm.Contact
			return opts.write(cmd.Context(), f, func(ctx context.Context, w *crm.Writer) (err error) {
				after, err = w.EditContact(ctx, args[0], change)
				return err
			}, func(*cli.Printer) cli.Object { return contactObject(after) })
		},
	}
	opts.addFlags(cmd, `; "" takes it away`)
	cmd.Flags().StringArrayVar(&opts.forget, "unset", nil, "take the `KEY` out of the metadata; may be given several "+
		"times")
	return newCRMWriteCmd(f, &opts.crmOptions, cmd)
}

func newContactsRemoveCmd(f *factory) *cobra.Command {
	opts := &crmOptions{}
	cmd := &cobra.Command{
		Use:   "remove --tenant TENANT CONTACT",
		Short: "one contact, with its conversations",
		Long: `Remove a contact, which is named by its id or its address, with its conversations and their
messages. There is no way back but a backup. It stays where another table refers to it.`,
		Example: `crmctl contacts remove --tenant acme ada@example.com --dry-run
crmctl contacts remove --tenant acme ada@example.com --yes`,
		Args: cli.ExactArgs("CONTACT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			var gone crm.Removed
			return opts.writeAsked(cmd.Context(), f, func(ctx context.Context, w *crm.Writer) (err error) {
				gone, err = w.RemoveContact(ctx, args[0])
				return err
			}, func() error {
				return f.ConfirmYes(cmd.Context(), fmt.Sprintf("Remove %s with %s and %s?", args[0],
					cli.Plural(int(gone.Conversations), "conversation"), cli.Plural(int(gone.Messages), "message")))
			}, func(*cli.Printer) cli.Object {
				return contactObject(gone.Contact, cli.Field{Name: "conversations", Value: gone.Conversations},
					cli.Field{Name: "messages", Value: gone.Messages})
			})
		},
	}
	return newCRMWriteCmd(f, opts, cmd)
}
