package main

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/crm"
)

// personFacts are the columns of each kind of row that need no name on a terminal, in the
// order in which they are shown.
var personFacts = map[string][]string{
	"contact":      {"email", "name", "phone", "company"},
	"kept":         {"email", "name", "phone", "company"},
	"conversation": {"status", "channel", "subject"},
	"message":      {"direction", "sender", "content"},
	"mention":      {"direction", "sender", "content"},
}

// notShown are the columns that say nothing about a person: a terminal does without them.
var notShown = []string{"id", "contact_id", "conversation_id", "created_at", "updated_at", "import_id", "into_id",
	"before", "moved", "xid", "put_back_xid", "left_as"}

// personText says on a terminal what a row has about a person: "ann@example.com, Ann; city: Bonn".
// cut reports whether a long text is not shown whole.
func personText(r personRecord) (text string, cut bool) {
	row := map[string]any{}
	if json.Unmarshal(r.Row, &row) != nil {
		return string(r.Row), false
	}
	if before, ok := row["before"].(map[string]any); ok { // of a contact that was merged into another
		row = before
	}
	short := func(v any) string {
		whole := oneLine(valueText(v))
		text := firstCharacters(whole, previewed)
		if len(text) < len(whole) {
			cut = true
			text += " ... (" + cli.HumanSize(int64(len(whole))) + ")"
		}
		return text
	}
	known, left := personFacts[r.Kind], slices.Clone(notShown)
	if len(known) == 0 {
		left = nil // of another table: all of it
	}
	var facts, more []string
	for _, name := range known {
		if text := short(row[name]); text != "" {
			facts = append(facts, text)
		}
	}
	add := func(object map[string]any, but []string) {
		for _, name := range slices.Sorted(maps.Keys(object)) {
			if text := short(object[name]); text != "" && !slices.Contains(but, name) {
				more = append(more, name+": "+text)
			}
		}
	}
	if metadata, ok := row["metadata"].(map[string]any); ok && len(known) > 0 {
		add(metadata, nil)
		left = append(left, "metadata")
	}
	add(row, append(left, known...))
	if len(facts) > 0 {
		more = slices.Insert(more, 0, strings.Join(facts, ", "))
	}
	if len(more) == 0 {
		return "(nothing but the id of the contact)", cut
	}
	return strings.Join(more, "; "), cut
}

// valueText is a value of JSON as people read it: a list of addresses of metadata is
// "ann@example.com (work), ann@example.org (home)".
func valueText(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return v
	case []any:
		var texts []string
		for _, one := range v {
			texts = append(texts, valueText(one))
		}
		return strings.Join(texts, ", ")
	case map[string]any:
		value, kind := valueText(v["value"]), valueText(v["type"])
		if value != "" && kind != "" && len(v) == 2 {
			return value + " (" + kind + ")"
		}
		var texts []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			texts = append(texts, name+" "+valueText(v[name]))
		}
		return strings.Join(texts, ", ")
	}
	text, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(text)
}

// createdAt returns when a row was made, "" where it does not say.
func createdAt(p *cli.Printer, r personRecord) any {
	var row struct {
		CreatedAt any `json:"created_at"`
	}
	_ = json.Unmarshal(r.Row, &row) // of another table it may be anything
	text := valueText(row.CreatedAt)
	at, err := time.Parse(time.RFC3339Nano, text)
	if err != nil {
		return text
	}
	return cli.Either{Human: p.Show.Minute(at), Machine: at}
}

// inThreads puts the messages of a conversation behind it.
func inThreads(rows []crm.PersonRow) []crm.PersonRow {
	ids := func(r crm.PersonRow) (id, conversation string) {
		var row struct {
			ID           any `json:"id"`
			Conversation any `json:"conversation_id"`
		}
		_ = json.Unmarshal(r.Row, &row)
		return valueText(row.ID), valueText(row.Conversation)
	}
	of := map[string][]crm.PersonRow{}
	for _, r := range rows {
		if r.Kind == "conversation" {
			id, _ := ids(r)
			of[id] = nil
		}
	}
	var others []crm.PersonRow
	for _, r := range rows {
		_, conversation := ids(r)
		if thread, ok := of[conversation]; ok && r.Kind == "message" {
			of[conversation] = append(thread, r)
			continue
		}
		others = append(others, r)
	}
	var out []crm.PersonRow
	for _, r := range others {
		out = append(out, r)
		if id, _ := ids(r); r.Kind == "conversation" {
			out = append(out, of[id]...)
		}
	}
	return out
}
