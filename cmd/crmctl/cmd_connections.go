package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

func newConnectionsCmd(f *factory) *cobra.Command {
	return cli.NewGroup("connections", "end connections that are in the way", newConnectionsCleanCmd(f))
}

// connectionsCleanOptions are the options of `crmctl connections clean`.
type connectionsCleanOptions struct {
	selection

	idle          time.Duration
	inTransaction time.Duration
	pids          []int32
	superusers    bool
	dryRun        bool
}

func (o *connectionsCleanOptions) validate() error {
	switch {
	case len(o.pids) == 0 && o.idle <= 0 && o.inTransaction <= 0:
		return cli.Usagef("which connections? want --idle, --in-transaction or --kill")
	case len(o.pids) > 0 && (o.idle > 0 || o.inTransaction > 0 || len(o.tenants)+len(o.exclude) > 0 || o.from != ""):
		return cli.Usagef("--kill names connections: it does not go with what picks others")
	}
	return nil
}

func newConnectionsCleanCmd(f *factory) *cobra.Command {
	opts := &connectionsCleanOptions{}
	cmd := &cobra.Command{
		Use:   "clean",
		Short: "end idle connections, or those that block others",
		Long: `End connections to the database: those that have been idle, or idle in a transaction, for so long, or
those of the processes named. They are shown first, and --yes answers the question. A transaction
that is open is rolled back by the server. Each is looked at once more before it is ended: one that
is at work again by then stays.

With --tenant only connections that are known to be that tenant's are ended; see "crmctl stats
connections" for how. The connection of this command, those of superusers (without --superusers), of
other databases, and background work such as autovacuum are never ended. Behind PgBouncer these are
its own connections to the server; it opens new ones. The audit tells how many of which tenant were
ended, by whom.`,
		Example: `crmctl connections clean --idle 30m --dry-run
crmctl connections clean --idle 30m --in-transaction 5m --yes
crmctl connections clean --in-transaction 5m --tenant acme-corp
crmctl connections clean --kill 8123`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := opts.validate(); err != nil {
				return err
			}
			return runConnectionsClean(cmd.Context(), f, opts)
		},
	}
	opts.addFlags(f, cmd)
	fs := cmd.Flags()
	fs.Var(newDuration(&opts.idle, "0"), "idle", "those that have been idle for this `DURATION`")
	fs.Var(newDuration(&opts.inTransaction, "0"), "in-transaction",
		"those that have been idle in a transaction for this `DURATION`")
	fs.Int32SliceVar(&opts.pids, "kill", nil, "those of these processes, `PIDS`, whatever they do")
	fs.BoolVar(&opts.superusers, "superusers", false, "those of superusers too")
	addDryRunFlag(fs, &opts.dryRun)
	addExpectDatabaseFlag(fs)
	cli.DocumentExits(cmd, cli.ExitPartial, cli.ExitUnreachable, exitNoTenant)
	return cmd
}

func runConnectionsClean(ctx context.Context, f *factory, opts *connectionsCleanOptions) error {
	m, err := opts.read(f)
	if err != nil {
		return err
	}
	p, a, err := f.begin()
	if err != nil {
		return err
	}
	done, failed := a.CleanConnections(ctx, app.CleanOptions{
		PickOptions: stats.PickOptions{Idle: opts.idle, InTransaction: opts.inTransaction, PIDs: opts.pids,
			Superusers: opts.superusers},
		Selection: m, DryRun: opts.dryRun,
		Confirm: func(ctx context.Context, picked []stats.Session, left []stats.NotPicked) error {
			return confirmClean(ctx, f, opts, picked, left)
		},
	})
	if failed != nil && !anyTried(done.Sessions) {
		return failed
	}
	if err := cli.PrintList(p, cleanedList(opts.dryRun), done.Sessions); err != nil {
		return err
	}
	for _, line := range gapLines(done.Look) {
		f.Note("%s", line)
	}
	if failed != nil {
		return failed
	}
	return cli.ExitWith(cleanCode(done))
}

// confirmClean shows what will be ended and asks. Without a question nothing is shown here,
// since the answer shows it.
func confirmClean(ctx context.Context, f *factory, opts *connectionsCleanOptions, picked []stats.Session,
	left []stats.NotPicked) error {
	for _, l := range left {
		f.Say("crmctl: process %d is left alone: %s", l.PID, l.Why)
	}
	if opts.dryRun || len(picked) == 0 {
		return nil
	}
	if f.CanAsk() && !f.flags.Yes {
		for _, s := range picked[:min(len(picked), mostAsked)] {
			f.Note("%d  %s  %s %s  %s", s.PID, cli.Visible(orNobody(s)), s.State, cli.HumanDuration(s.InState),
				cli.Visible(s.Application))
		}
		if more := len(picked) - mostAsked; more > 0 {
			f.Note("and %s more", cli.HumanCount(int64(more)))
		}
	}
	target, err := f.target()
	if err != nil {
		return err
	}
	return f.ConfirmYes(ctx, fmt.Sprintf("End %s to %s?", cli.Plural(len(picked), "connection"),
		cli.Visible(target.Place())))
}

func orNobody(s stats.Session) string {
	if s.Tenant == "" {
		return nobody(s.Whose)
	}
	return s.Tenant
}

func anyTried(list []app.EndedSession) bool {
	for _, s := range list {
		if s.Fate != "" || s.Err != nil {
			return true
		}
	}
	return false
}

// cleanCode returns 3 where one stays that was to be ended, 1 where all do.
func cleanCode(done app.Cleaned) int {
	stayed, ended := len(done.Left), 0
	for _, s := range done.Sessions {
		switch {
		case s.Err != nil || s.Fate == stats.Refused || s.Fate == stats.Signalled:
			stayed++
		default:
			ended++
		}
	}
	switch {
	case stayed == 0:
		return cli.ExitOK
	case ended == 0:
		return cli.ExitFailure
	}
	return cli.ExitPartial
}

func cleanedList(dryRun bool) cli.List[app.EndedSession] {
	type row = app.EndedSession
	result := func(r row) any {
		switch {
		case dryRun:
			return "would end"
		case r.Err != nil, r.Fate == stats.Refused, r.Fate == stats.Signalled:
			return cli.Styled{Value: map[bool]string{true: "failed", false: string(r.Fate)}[r.Err != nil], Color: cli.Red}
		case r.Fate == stats.Ended:
			return cli.Styled{Value: "ended", Color: cli.Green}
		case r.Fate == "":
			return "not tried"
		}
		return cli.Styled{Value: string(r.Fate), Color: cli.Dim}
	}
	of := func(r row) stats.Session { return r.Session }
	columns := []cli.Column[row]{
		{Name: "result", Value: result},
		{Name: "pid", Value: func(r row) any { return pidCell(r.Session) }},
		{Name: "tenant", Value: func(r row) any { return tenantCell(r.Tenant, r.Whose) }},
		{Name: "state", Value: func(r row) any { return stateCell(r.Session) }},
		{Name: "state_seconds", Title: "FOR", Right: true, Value: func(r row) any { return secondsCell(r.InState) }},
		{Name: "query", Title: "STATEMENT", Value: func(r row) any { return r.Query }},
		{Name: "error", Document: true, Optional: true, Value: func(r row) any { return errorText(r.Err) }},
	}
	return cli.List[row]{
		Plural:   "sessions",
		Columns:  append(columns, sessionColumns(of)...),
		Name:     func(r row) string { return cli.ID(int(r.PID)) },
		Empty:    "no connections to end",
		NoHeader: true,
	}
}
