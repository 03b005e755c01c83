package main

import (
	"context"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm"
)

func newMessagesCmd(f *factory) *cobra.Command {
	return cli.NewGroup("messages", "the messages of a tenant",
		newMessagesListCmd(f),
		newMessagesAddCmd(f),
		newMessagesSearchCmd(f),
		newMessagesExportCmd(f),
	)
}

// messagesListOptions are the options of `crmctl messages list`.
type messagesListOptions struct {
	crmOptions
	pageOptions
}

func newMessagesListCmd(f *factory) *cobra.Command {
	opts := &messagesListOptions{}
	cmd := &cobra.Command{
		Use:   "list --tenant TENANT CONVERSATION",
		Short: "what was said in one, the newest first",
		Long: `List the messages of a conversation, the newest first, a page at a time. A table on a terminal has the
beginning of each; -o wide, a pipe and the other formats have all of it. The conversation is named
by its id, or by the address of a contact: the newest one with that.`,
		Example: `crmctl messages list --tenant acme ada@example.com
crmctl messages list --tenant acme ada@example.com -o ndjson`,
		Args: cli.ExactArgs("CONVERSATION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := opts.validate(); err != nil {
				return err
			}
			return opts.read(cmd.Context(), f, func(ctx context.Context, p *cli.Printer, r *crm.Reader) error {
				q := crm.MessageQuery{Page: opts.Page, Conversation: args[0]}
				if p.IsTable() && (p.Terminal || p.Quiet) {
					q.Cut = previewed
				}
				end := ""
				rows, err := r.Messages(ctx, q, &end)
				if err != nil {
					return err
				}
				err = cli.PrintRows(p, cli.List[crm.Message]{
					Plural: "messages", Empty: "no messages", Columns: messageColumns(p),
					Name:    func(m crm.Message) string { return m.ID },
					Summary: func() any { return pageSummary{After: end} },
				}, rows)
				if err == nil {
					f.noteNextPage(end)
				}
				return err
			})
		},
	}
	opts.pageOptions.addFlags(cmd.Flags())
	return newCRMReadCmd(f, &opts.crmOptions, cmd)
}

func newMessagesAddCmd(f *factory) *cobra.Command {
	opts, o := &crmOptions{}, crm.NewMessage{}
	var file, text string
	cmd := &cobra.Command{
		Use:   "add --tenant TENANT CONVERSATION",
		Short: "a message, from stdin or a file",
		Long: `Add a message to a conversation. Its text is read from stdin, unless --file or --text has it; the end
of its last line is not part of it. The conversation is named by its id, or by the address of a
contact: the newest one with that. To a closed one nothing is added without --reopen.`,
		Example: `crmctl messages add --tenant acme ada@example.com --text "Thank you."
cat a.txt | crmctl messages add --tenant acme ada@example.com`,
		Args: cli.ExactArgs("CONVERSATION"),
		RunE: func(cmd *cobra.Command, args []string) error {
			o.Conversation, o.Content = args[0], text
			if !cmd.Flags().Changed("text") {
				read, err := f.ReadInput(file)
				if err != nil {
					return cli.InputError(err)
				}
				o.Content = strings.TrimSuffix(strings.TrimSuffix(string(read), "\n"), "\r")
			}
			var made crm.Message
			return opts.write(cmd.Context(), f, func(ctx context.Context, w *crm.Writer) (err error) {
				made, err = w.AppendMessage(ctx, o)
				return err
			}, func(p *cli.Printer) cli.Object {
				fields := append([]cli.Field{{Name: "id", Value: made.ID}}, cli.FieldsOf(messageColumns(p), made)...)
				fields = slices.DeleteFunc(fields, func(f cli.Field) bool { return f.Name == "id" && f.Wide })
				return cli.Object{Kind: "message", Name: made.ID, Fields: fields}
			})
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&file, "file", "f", "-", "read the text from `FILE`, - for stdin")
	fs.StringVar(&text, "text", "", "the `TEXT` itself")
	fs.Var(cli.NewEnum(&o.Direction, crm.Outbound, crm.Directions()), "direction",
		"which `WAY`: inbound (from the contact), outbound (to it)")
	fs.StringVar(&o.Sender, "sender", "", "the `NAME` of who wrote it")
	fs.BoolVar(&o.Reopen, "reopen", false, "open the conversation where it is closed")
	cmd.MarkFlagsMutuallyExclusive("file", "text")
	cli.RegisterCompletion(cmd, "direction", cli.CompleteWords(crm.Directions()...))
	return newCRMWriteCmd(f, opts, cmd)
}

func newMessagesSearchCmd(f *factory) *cobra.Command {
	opts := &crmOptions{}
	limit := 0
	cmd := &cobra.Command{
		Use:   "search --tenant TENANT WORDS...",
		Short: "messages by their words, the best first",
		Long: `Search for messages by their words, in any form of them: "invoices" finds "invoice" too. WORDS are as
people type them: "a phrase" in quotes, or, -without. The best matches come first, with the words
between asterisks; in JSON they are marked. Of very many only some are compared, which is said.`,
		Example: `crmctl messages search --tenant acme invoice -- -paid
crmctl messages search --tenant acme '"delivery date" or deadline' -o json`,
		Args: cli.MinArgs("WORDS"),
		RunE: func(cmd *cobra.Command, args []string) error {
			if limit < 1 || limit > crm.MaxHits {
				return cli.Usagef("--limit %d: want 1 to %d", limit, crm.MaxHits)
			}
			return opts.read(cmd.Context(), f, func(ctx context.Context, p *cli.Printer, r *crm.Reader) error {
				hits, err := r.SearchMessages(ctx, strings.Join(args, " "), limit)
				if err != nil {
					return err
				}
				return printHits(f, p, hits)
			})
		},
	}
	cmd.Flags().IntVar(&limit, "limit", 20, "at most `N` of them, up to 100")
	return newCRMReadCmd(f, opts, cmd)
}

func printHits(f *factory, p *cli.Printer, hits crm.Hits) error {
	err := cli.PrintList(p, cli.List[crm.Hit]{
		Plural: "messages", Empty: "no message has these words", Columns: hitColumns(p),
		Name: func(h crm.Hit) string { return h.ID },
		Summary: func() any {
			return struct {
				Compared int  `json:"compared"`
				Partial  bool `json:"partial"`
			}{hits.Ranked, hits.Partial}
		},
	}, hits.Rows)
	if err == nil && hits.Partial {
		f.Note("many messages have these words: the best of %s of them are shown", cli.HumanCount(int64(hits.Ranked)))
	}
	return err
}
