package main

import (
	"context"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm"
)

func newConversationsCmd(f *factory) *cobra.Command {
	return cli.NewGroup("conversations", "the conversations of a tenant",
		newConversationsListCmd(f),
		newConversationsShowCmd(f),
		newConversationsOpenCmd(f),
		newConversationsMoveCmd(f, "close", "one conversation", (*crm.Writer).CloseConversation),
		newConversationsMoveCmd(f, "reopen", "one that is closed or waits", (*crm.Writer).ReopenConversation),
		newConversationsAssignCmd(f),
		newConversationsExportCmd(f),
	)
}

// conversationsListOptions are the options of `crmctl conversations list`.
type conversationsListOptions struct {
	crmOptions
	pageOptions

	contact, status string
}

func newConversationsListCmd(f *factory) *cobra.Command {
	opts := &conversationsListOptions{}
	cmd := &cobra.Command{
		Use:   "list --tenant TENANT",
		Short: "conversations by contact and status",
		Long: `List conversations a page at a time: those of one contact the newest first, those of all contacts in
the order of their ids. The line "next:" has the command for what follows; in JSON that is "after" of
the summary.`,
		Example: `crmctl conversations list --tenant acme --contact ada@example.com
crmctl conversations list --tenant acme --status open -o json`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.validate(); err != nil {
				return err
			}
			q := crm.ConversationQuery{Page: opts.Page, Contact: opts.contact, Status: opts.status}
			return opts.read(cmd.Context(), f, func(ctx context.Context, p *cli.Printer, r *crm.Reader) error {
				rows, end, err := r.Conversations(ctx, q)
				if err != nil {
					return err
				}
				return printPage(f, p, conversationList(p), rows, end)
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&opts.contact, "contact", "", "only those with a `CONTACT`, by its id or address")
	fs.Var(cli.NewEnum(&opts.status, "", crm.Statuses()), "status", "only those in a `STATUS`: open, pending, closed")
	cli.RegisterCompletion(cmd, "status", cli.CompleteWords(crm.Statuses()...))
	opts.pageOptions.addFlags(fs)
	return newCRMReadCmd(f, &opts.crmOptions, cmd)
}

func newConversationsShowCmd(f *factory) *cobra.Command {
	opts := &crmOptions{}
	return newCRMReadCmd(f, opts, &cobra.Command{
		Use:   "show --tenant TENANT CONVERSATION",
		Short: "one conversation",
		Long: `Show a conversation, which is named by its id, or by the address of a contact: the newest one with
that. "messages list" has what was said.`,
		Example: "crmctl conversations show --tenant acme ada@example.com",
		Args:    cli.ExactArgs("CONVERSATION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return opts.read(cmd.Context(), f, func(ctx context.Context, p *cli.Printer, r *crm.Reader) error {
				v, err := r.Conversation(ctx, args[0])
				if err != nil {
					return err
				}
				return cli.PrintObject(p, conversationObject(v))
			})
		},
	})
}

func newConversationsOpenCmd(f *factory) *cobra.Command {
	opts, o := &crmOptions{}, crm.NewConversation{}
	cmd := &cobra.Command{
		Use:     "open --tenant TENANT CONTACT",
		Short:   "a new one with a contact",
		Long:    "Begin a conversation with a contact, which is named by its id or its address.",
		Example: `crmctl conversations open --tenant acme ada@example.com --channel chat`,
		Args:    cli.ExactArgs("CONTACT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Contact = args[0]
			return opts.move(cmd.Context(), f, func(ctx context.Context, w *crm.Writer) (crm.Conversation, error) {
				return w.OpenConversation(ctx, o)
			})
		},
	}
	cmd.Flags().StringVar(&o.Channel, "channel", "email", "the `CHANNEL`, such as email, chat or phone")
	cmd.Flags().StringVar(&o.Subject, "subject", "", "what it is about: a `TEXT`")
	return newCRMWriteCmd(f, opts, cmd)
}

// move changes a conversation and shows it.
func (o *crmOptions) move(ctx context.Context, f *factory,
	do func(ctx context.Context, w *crm.Writer) (crm.Conversation, error)) error {
	var v crm.Conversation
	return o.write(ctx, f, func(ctx context.Context, w *crm.Writer) (err error) {
		v, err = do(ctx, w)
		return err
	}, func(*cli.Printer) cli.Object { return conversationObject(v) })
}

// newConversationsMoveCmd makes a command that brings a conversation to another status.
func newConversationsMoveCmd(f *factory, verb, what string,
	do func(w *crm.Writer, ctx context.Context, id string) (crm.Conversation, error)) *cobra.Command {
	opts := &crmOptions{}
	return newCRMWriteCmd(f, opts, &cobra.Command{
		Use:   verb + " --tenant TENANT CONVERSATION",
		Short: what,
		Long: `Bring a conversation to another status. It is named by its id, or by the address of a contact: the
newest one with that. One that has the status already is an error, and nothing is done.`,
		Example: "crmctl conversations " + verb + " --tenant acme ada@example.com",
		Args:    cli.ExactArgs("CONVERSATION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return opts.move(cmd.Context(), f, func(ctx context.Context, w *crm.Writer) (crm.Conversation, error) {
				return do(w, ctx, args[0])
			})
		},
	})
}

func newConversationsAssignCmd(f *factory) *cobra.Command {
	opts := &crmOptions{}
	return newCRMWriteCmd(f, opts, &cobra.Command{
		Use:   "assign --tenant TENANT CONVERSATION CONTACT",
		Short: "one to another contact",
		Long: `Make a conversation that of another contact, which is named by its id or its address: it was opened
with the wrong one, or somebody wrote from another address.`,
		Example: "crmctl conversations assign --tenant acme ada@example.com bob@example.com",
		Args:    cli.ExactArgs("CONVERSATION", "CONTACT"),
		RunE: func(cmd *cobra.Command, args []string) error {
			return opts.move(cmd.Context(), f, func(ctx context.Context, w *crm.Writer) (crm.Conversation, error) {
				return w.AssignConversation(ctx, args[0], args[1])
			})
		},
	})
}
