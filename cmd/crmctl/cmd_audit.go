package main

import (
	"context"
	"encoding/json"
	"fmt"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
)

func newAuditCmd(f *factory) *cobra.Command {
	return cli.NewGroup("audit", "who did what to which tenant", newAuditListCmd(f))
}

// printEntries prints entries of the audit as they come.
func (f *factory) printEntries(entries iter.Seq2[registry.Entry, error], empty string) error {
	p, err := f.printer()
	if err != nil {
		return err
	}
	return cli.PrintRows(p, entryList(empty), entries)
}

func entryList(empty string) cli.List[registry.Entry] {
	return cli.List[registry.Entry]{
		Plural: "events",
		Columns: []cli.Column[registry.Entry]{
			{Name: "at", Title: "WHEN", Value: func(e registry.Entry) any { return e.At }},
			{Name: "tenant", Value: func(e registry.Entry) any { return e.Tenant }},
			{Name: "action", Value: func(e registry.Entry) any {
				return cli.Styled{Value: e.Action, Color: actionColor(e.Action)}
			}},
			{Name: "actor", Title: "BY", Value: func(e registry.Entry) any { return e.Actor }},
			{Name: "db_role", Title: "ROLE", Wide: true, Optional: true, Value: func(e registry.Entry) any { return e.DBRole }},
			{Name: "client", Title: "FROM", Wide: true, Optional: true, Value: func(e registry.Entry) any { return e.Client }},
			{Name: "program", Wide: true, Optional: true, Value: func(e registry.Entry) any { return e.Program }},
			{Name: "run", Wide: true, Right: true, Optional: true, Value: func(e registry.Entry) any {
				if e.RunID == 0 {
					return nil
				}
				return cli.Serial(e.RunID)
			}},
			{Name: "what", Copied: true, Text: true, Value: func(e registry.Entry) any {
				return cli.Either{Human: whatHappened(e), Machine: whatChanged(e)}
			}},
			{Name: "tenant_id", Document: true, Value: func(e registry.Entry) any { return e.TenantID }},
			{Name: "os_user", Document: true, Optional: true, Value: func(e registry.Entry) any { return e.OSUser }},
			{Name: "host", Document: true, Optional: true, Value: func(e registry.Entry) any { return e.Host }},
			{Name: "before", Document: true, Optional: true, Value: func(e registry.Entry) any { return e.Before }},
			{Name: "after", Document: true, Optional: true, Value: func(e registry.Entry) any { return e.After }},
			{Name: "detail", Document: true, Value: func(e registry.Entry) any { return e.Detail }},
		},
		Name:  func(e registry.Entry) string { return e.Tenant },
		Empty: empty,
	}
}

func actionColor(action string) cli.Color {
	switch action {
	case registry.ActionPurge, registry.ActionPurging, registry.ActionDelete:
		return cli.Red
	case registry.ActionSuspend:
		return cli.Yellow
	}
	return cli.Plain
}

// whatChanged says in a line what an entry tells: the changed fields, then the
// details.
func whatChanged(e registry.Entry) string {
	before, after, detail := members(e.Before), members(e.After), members(e.Detail)
	var parts []string
	names := sortedNames(after)
	if i := slices.Index(names, "status"); i > 0 {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, "status")
	}
	for _, name := range names {
		was, is := scalar(before[name]), scalar(after[name])
		switch {
		case name == "deleted_at", name == "purge_after" && is == "":
			// The entry's own time, and what goes without saying.
		case slices.Contains([]string{registry.ActionCreate, registry.ActionRestore, registry.ActionClone}, e.Action) &&
			name != "display_name" && name != "role", was == is:
		case was == "":
			parts = append(parts, fmt.Sprintf("%s: %s", name, is))
		case is == "":
			parts = append(parts, fmt.Sprintf("no %s (was %s)", name, was))
		default:
			parts = append(parts, fmt.Sprintf("%s: %s -> %s", name, was, is))
		}
	}
	for _, name := range sortedNames(detail) {
		parts = append(parts, fmt.Sprintf("%s: %s", name, scalar(detail[name])))
	}
	return strings.Join(parts, ", ")
}

// whatHappened is whatChanged for people: the part that a tenant had in a run is told in a
// few words.
func whatHappened(e registry.Entry) string {
	detail := members(e.Detail)
	state := scalar(detail["state"])
	if e.RunID == 0 || state == "" {
		return whatChanged(e)
	}
	from, to, message := scalar(detail["from_version"]), scalar(detail["to_version"]), scalar(detail["message"])
	switch {
	case message != "":
		return fmt.Sprintf("%s at version %s: %s", state, to, message)
	case from != to:
		return fmt.Sprintf("version: %s -> %s", from, to)
	}
	return fmt.Sprintf("%s at version %s", state, to)
}

func members(text json.RawMessage) map[string]json.RawMessage {
	var m map[string]json.RawMessage
	if json.Unmarshal(text, &m) != nil {
		return nil // an audit row that somebody else wrote
	}
	return m
}

func sortedNames(m map[string]json.RawMessage) []string {
	names := make([]string, 0, len(m))
	for name := range m {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// scalar shows a JSON value without the quotes of a string, and a time without
// fractions of a second.
func scalar(text json.RawMessage) string {
	var s string
	switch {
	case len(text) == 0 || string(text) == "null":
		return ""
	case json.Unmarshal(text, &s) == nil:
		if at, err := time.Parse(time.RFC3339Nano, s); err == nil {
			return at.UTC().Format(time.RFC3339)
		}
		return s
	}
	return string(text)
}

// auditListOptions are the options of `crmctl audit list`.
type auditListOptions struct {
	since   timeFlag
	until   timeFlag
	actions []string
	tenants []string
	limit   int
}

func newAuditListCmd(f *factory) *cobra.Command {
	opts := &auditListOptions{}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"ls"},
		Short:   "the audit, the newest last",
		Long: `List the audit: every change of a tenant, written in the change's own transaction: who (the
account, host and crmctl version as the program says, the database role and address as the
server says), what, and the changed fields before and after.

The table of the audit refuses UPDATE, DELETE and TRUNCATE, by a trigger and for lack of
a grant. Its owner and a superuser can switch that off on purpose; copy the audit to a place they
cannot reach (crmctl audit list -o ndjson --since 24h) where that matters.`,
		Example: `crmctl audit list --since 24h
crmctl audit list --action purge,delete --since 2026-01-01 -o json
crmctl audit list --tenant acme-corp -o wide`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.limit < 0 {
				return cli.Usagef("--limit %d: want 0 (all) or more", opts.limit)
			}
			return runAuditList(cmd.Context(), f, opts)
		},
	}
	fs := cmd.Flags()
	fs.Var(&opts.since, "since", "from this `TIME` on: 24h or 7d ago, 2026-11-23, or RFC 3339")
	fs.Var(&opts.until, "until", "before this `TIME`")
	fs.StringSliceVar(&opts.actions, "action", nil, "only these `ACTIONS`: "+strings.Join(registry.Actions(), ", "))
	fs.StringSliceVar(&opts.tenants, "tenant", nil, "only tenants that had these `NAMES` then")
	fs.IntVar(&opts.limit, "limit", 0, "only the newest `N`; 0 for all")
	cli.RegisterCompletion(cmd, "action", cli.CompleteWords(registry.Actions()...))
	cli.RegisterCompletion(cmd, "tenant", completeTenants(f))
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitUnreachable)
	return cmd
}

func runAuditList(ctx context.Context, f *factory, opts *auditListOptions) error {
	for _, a := range opts.actions {
		if !slices.Contains(registry.Actions(), a) {
			return cli.Usagef("--action %s: want one of %s", a, strings.Join(registry.Actions(), ", "))
		}
	}
	wanted, err := slugs(opts.tenants)
	if err != nil {
		return err
	}
	conn, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	return f.printEntries(f.registry().Audit(ctx, conn, registry.AuditFilter{
		Since: opts.since.at(f.Now()), Until: opts.until.at(f.Now()), Actions: opts.actions, Slugs: wanted, Limit: opts.limit,
	}), "no events")
}
