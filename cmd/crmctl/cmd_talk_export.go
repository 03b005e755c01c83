package main

import (
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/crm/exporter"
)

func newConversationsExportCmd(f *factory) *cobra.Command {
	return newExportCmd(f, exporter.Conversations, exportTalk+
		`contact_id is the id of the contact, as "contacts export" has it.`,
		`crmctl conversations export --tenant acme-corp --status open --to open.csv
crmctl conversations export --all-tenants --to conversations.jsonl.gz`)
}

func newMessagesExportCmd(f *factory) *cobra.Command {
	return newExportCmd(f, exporter.Messages, exportTalk+
		`conversation_id is the id of the conversation, as "conversations export" has it.`,
		`crmctl messages export --tenant acme-corp --contact ada@example.com
crmctl messages export --tenant acme-corp --search 'invoice -paid' --to a.csv`)
}

// exportTalk is the help of both.
const exportTalk = `Write them as CSV, JSON lines or XLSX, as they are at one moment: for reports, an archive, another
system, or somebody who asks what is stored of them. No command imports them; to carry a tenant
over there are "tenant clone" and "backup". What is said of CSV, --anonymize and files under
"contacts export" holds here too. With --anonymize ids are replaced, and with the same --seed they
still refer to each other.

`
