package main

import (
	"context"
	"encoding/json"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm"
)

// contactsListOptions are the options of `crmctl contacts list`.
type contactsListOptions struct {
	crmOptions
	pageOptions
}

func newContactsListCmd(f *factory) *cobra.Command {
	opts := &contactsListOptions{}
	cmd := &cobra.Command{
		Use:   "list --tenant TENANT",
		Short: "contacts, the newest first",
		Long: `List contacts, the newest first, a page at a time. The line "next:" has the command for what
follows; in JSON that is "after" of the summary. A page costs the same wherever it is.`,
		Example: "crmctl contacts list --tenant acme\ncrmctl contacts list --tenant acme -o json --limit 1000",
		Args:    cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.validate(); err != nil {
				return err
			}
			return opts.read(cmd.Context(), f, func(ctx context.Context, p *cli.Printer, r *crm.Reader) error {
				rows, end, err := r.Contacts(ctx, opts.Page)
				if err != nil {
					return err
				}
				return printPage(f, p, contactList(p), rows, end)
			})
		},
	}
	opts.pageOptions.addFlags(cmd.Flags())
	return newCRMReadCmd(f, &opts.crmOptions, cmd)
}

func newContactsShowCmd(f *factory) *cobra.Command {
	opts := &crmOptions{}
	return newCRMReadCmd(f, opts, &cobra.Command{
		Use:   "show --tenant TENANT CONTACT",
		Short: "one contact",
		Long:  "Show a contact, which is named by its id or its address.",
		Example: `crmctl contacts show --tenant acme ada@example.com
crmctl contacts show --tenant acme ada@example.com -o json`,
		Args: cli.ExactArgs("CONTACT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return opts.read(cmd.Context(), f, func(ctx context.Context, p *cli.Printer, r *crm.Reader) error {
				c, err := r.Contact(ctx, args[0])
				if err != nil {
					return err
				}
				return cli.PrintObject(p, contactObject(c))
			})
		},
	})
}

// contactsSearchOptions are the options of `crmctl contacts search`.
type contactsSearchOptions struct {
	crmOptions
	pageOptions
	metadataFlags

	email, phone string
}

// query returns what is searched for.
func (o *contactsSearchOptions) query(args []string) (crm.ContactQuery, error) {
	q := crm.ContactQuery{Page: o.Page, EmailPrefix: o.email, Phone: o.phone}
	var err error
	if q.Metadata, err = o.json(); err != nil {
		return q, err
	}
	for _, word := range args {
		switch {
		case strings.HasPrefix(word, "{") && json.Valid([]byte(word)) && q.Metadata == nil:
			q.Metadata = json.RawMessage(word)
		case strings.Trim(word, "+0123456789 ()/.-") == "" && q.Phone == "":
			q.Phone = word
		case q.EmailPrefix == "":
			q.EmailPrefix = word
		default:
			return q, cli.Usagef("%q: there is more than one beginning of an address", word)
		}
	}
	if q.EmailPrefix == "" && q.Phone == "" && q.Metadata == nil {
		return q, cli.Usagef("nothing to search for: give the beginning of an address, a number or metadata")
	}
	return q, nil
}

func newContactsSearchCmd(f *factory) *cobra.Command {
	opts := &contactsSearchOptions{}
	cmd := &cobra.Command{
		Use:   "search --tenant TENANT [TEXT...]",
		Short: "contacts by address, number or metadata",
		Long: `Search for contacts by how the address begins, by the whole telephone number as people type it, and
by what the metadata contains; all that is given must be true. A TEXT of digits is a number, one in
braces is metadata, and any other the beginning of an address. Each has an index of its own.`,
		Example: `crmctl contacts search --tenant acme ada
crmctl contacts search --tenant acme "+49 30 1234567"
crmctl contacts search --tenant acme '{"tags": ["vip"]}'`,
		Args: cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := opts.validate(); err != nil {
				return err
			}
			q, err := opts.query(args)
			if err != nil {
				return err
			}
			return opts.read(cmd.Context(), f, func(ctx context.Context, p *cli.Printer, r *crm.Reader) error {
				rows, end, err := r.FindContacts(ctx, q)
				if err != nil {
					return err
				}
				return printPage(f, p, contactList(p), rows, end)
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&opts.email, "email", "", "the address begins with `TEXT`")
	fs.StringVar(&opts.phone, "phone", "", "the telephone `NUMBER`")
	opts.metadataFlags.addFlags(fs)
	opts.pageOptions.addFlags(fs)
	return newCRMReadCmd(f, &opts.crmOptions, cmd)
}
