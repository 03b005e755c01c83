package main

import (
	"strings"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm"
)

// previewed is how many characters of a message are shown in a table.
const previewed = 200

func contactList(p *cli.Printer) cli.List[crm.Contact] {
	return cli.List[crm.Contact]{
		Plural: "contacts", Empty: "no contacts", Name: func(c crm.Contact) string { return c.ID },
		Columns: contactColumns(p),
	}
}

func contactColumns(p *cli.Printer) []cli.Column[crm.Contact] {
	type column = cli.Column[crm.Contact]
	return []column{
		{Name: "email", Value: func(c crm.Contact) any { return c.Email }},
		{Name: "name", Value: func(c crm.Contact) any { return c.Name }},
		{Name: "phone", Value: func(c crm.Contact) any { return c.Phone }},
		{Name: "company", Spare: true, Value: func(c crm.Contact) any { return c.Company }},
		{Name: "created_at", Title: "CREATED", Spare: true, Value: func(c crm.Contact) any {
			return cli.Either{Human: p.Show.Human(cli.Day(c.CreatedAt)), Machine: c.CreatedAt}
		}},
		{Name: "id", Wide: true, Value: func(c crm.Contact) any { return c.ID }},
		{Name: "updated_at", Document: true, Value: func(c crm.Contact) any { return c.UpdatedAt }},
		{Name: "metadata", Document: true, Value: func(c crm.Contact) any { return c.Metadata }},
	}
}

// contactObject shows one contact; more are facts beside it.
func contactObject(c crm.Contact, more ...cli.Field) cli.Object {
	return cli.Object{Kind: "contact", Name: c.ID, Fields: append([]cli.Field{
		{Name: "id", Value: c.ID},
		{Name: "email", Value: c.Email},
		{Name: "phone", Value: c.Phone},
		{Name: "name", Value: c.Name},
		{Name: "company", Value: c.Company},
		{Name: "metadata", Value: c.Metadata},
		{Name: "created_at", Title: "created", Value: c.CreatedAt},
		{Name: "updated_at", Title: "updated", Value: c.UpdatedAt},
	}, more...)}
}

func conversationList(p *cli.Printer) cli.List[crm.Conversation] {
	type column = cli.Column[crm.Conversation]
	return cli.List[crm.Conversation]{
		Plural: "conversations", Empty: "no conversations", Name: func(v crm.Conversation) string { return v.ID },
		Columns: []column{
			{Name: "id", Value: func(v crm.Conversation) any { return v.ID }},
			{Name: "status", Value: func(v crm.Conversation) any { return conversationStatus(v.Status) }},
			{Name: "channel", Spare: true, Value: func(v crm.Conversation) any { return v.Channel }},
			{Name: "contact", Value: func(v crm.Conversation) any { return v.Contact }},
			{Name: "subject", Value: func(v crm.Conversation) any { return v.Subject }},
			{Name: "updated_at", Title: "UPDATED", Spare: true, Value: func(v crm.Conversation) any {
				return cli.Either{Human: p.Show.Minute(v.UpdatedAt), Machine: v.UpdatedAt}
			}},
			{Name: "created_at", Document: true, Value: func(v crm.Conversation) any { return v.CreatedAt }},
			{Name: "contact_id", Document: true, Value: func(v crm.Conversation) any { return v.ContactID }},
		},
	}
}

func conversationStatus(status string) any {
	color := cli.Plain
	switch status {
	case crm.StatusOpen:
		color = cli.Green
	case crm.StatusPending:
		color = cli.Yellow
	}
	return cli.Styled{Value: status, Color: color}
}

func conversationObject(v crm.Conversation) cli.Object {
	return cli.Object{Kind: "conversation", Name: v.ID, Fields: []cli.Field{
		{Name: "id", Value: v.ID},
		{Name: "status", Value: conversationStatus(v.Status)},
		{Name: "channel", Value: v.Channel},
		{Name: "subject", Value: v.Subject},
		{Name: "contact", Value: v.Contact},
		{Name: "contact_id", Value: v.ContactID},
		{Name: "created_at", Title: "created", Value: v.CreatedAt},
		{Name: "updated_at", Title: "updated", Value: v.UpdatedAt},
	}}
}

func messageColumns(p *cli.Printer) []cli.Column[crm.Message] {
	type column = cli.Column[crm.Message]
	return []column{
		{Name: "created_at", Title: "CREATED", Value: func(m crm.Message) any {
			return cli.Either{Human: p.Show.Minute(m.CreatedAt), Machine: m.CreatedAt}
		}},
		{Name: "direction", Spare: true, Value: func(m crm.Message) any { return m.Direction }},
		{Name: "sender", Value: func(m crm.Message) any { return m.Sender }},
		{Name: "content", Text: true, Value: func(m crm.Message) any {
			return cli.Either{Human: preview(m), Machine: m.Content}
		}},
		{Name: "size_bytes", Document: true, Value: func(m crm.Message) any { return cli.ByteSize(m.Size) }},
		{Name: "id", Wide: true, Value: func(m crm.Message) any { return m.ID }},
		{Name: "conversation_id", Document: true, Value: func(m crm.Message) any { return m.ConversationID }},
	}
}

// preview is how a message begins, on one line.
func preview(m crm.Message) string {
	text := firstCharacters(m.Content, previewed)
	short := int64(len(text)) < m.Size
	if text = oneLine(text); short {
		text += " ... (" + cli.HumanSize(m.Size) + ")"
	}
	return text
}

// hitColumns are those of a message that was found.
func hitColumns(p *cli.Printer) []cli.Column[crm.Hit] {
	type column = cli.Column[crm.Hit]
	return []column{
		{Name: "created_at", Title: "CREATED", Value: func(h crm.Hit) any {
			return cli.Either{Human: p.Show.Minute(h.CreatedAt), Machine: h.CreatedAt}
		}},
		{Name: "sender", Spare: true, Value: func(h crm.Hit) any { return h.Sender }},
		{Name: "snippet", Text: true, Value: func(h crm.Hit) any {
			return cli.Either{Human: oneLine(marked(h.Snippet)), Machine: marked(h.Snippet), Document: snippetOf(h.Snippet)}
		}},
		{Name: "rank", Wide: true, Right: true, Value: func(h crm.Hit) any { return h.Rank }},
		{Name: "conversation_id", Wide: true, Value: func(h crm.Hit) any { return h.ConversationID }},
		{Name: "direction", Document: true, Value: func(h crm.Hit) any { return h.Direction }},
		{Name: "size_bytes", Document: true, Value: func(h crm.Hit) any { return cli.ByteSize(h.Size) }},
		{Name: "id", Wide: true, Value: func(h crm.Hit) any { return h.ID }},
	}
}

// marked puts the words that were searched for between asterisks.
func marked(snippet []crm.Segment) string {
	var b strings.Builder
	for _, s := range snippet {
		if s.Hit {
			b.WriteString("*" + s.Text + "*")
			continue
		}
		b.WriteString(s.Text)
	}
	return b.String()
}

// segmentRecord is a part of a snippet in JSON and YAML.
type segmentRecord struct {
	Text string `json:"text"`
	Hit  bool   `json:"hit"`
}

func snippetOf(snippet []crm.Segment) []segmentRecord {
	out := make([]segmentRecord, len(snippet))
	for i, s := range snippet {
		out[i] = segmentRecord(s)
	}
	return out
}
