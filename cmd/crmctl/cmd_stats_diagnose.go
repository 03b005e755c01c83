package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
)

func newStatsDiagnoseCmd(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "diagnose",
		Short: "one page for the first minute: what is wrong, and what mends it",
		Long: `Look at what makes an application stand still, a line each: room for connections, sessions that wait
for locks, transactions that are open for 5 minutes and do nothing, statements that run as long, and
those checks of "crmctl doctor" that are quick: the registry, tenants in the middle of a migration
or behind, runs that were killed, invalid indexes, the lock table, prepared transactions,
transaction ids, autovacuum. Below what is wrong stands the command that leads on.

It changes nothing, and ends with exit code 4 where something is wrong.

What it costs: what "crmctl stats connections" does, and a query for each of the other checks.`,
		Example: `crmctl stats diagnose
crmctl stats diagnose -o json`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runStatsDiagnose(cmd.Context(), f)
		},
	}
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitPending, cli.ExitUnreachable)
	return cmd
}

func runStatsDiagnose(ctx context.Context, f *factory) error {
	p, err := f.printer()
	if err != nil {
		return err
	}
	a, err := f.app()
	if err != nil {
		return err
	}
	conn, err := f.connect(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	f.Reads.Store(true)
	retention, err := config.ParseDuration(config.Default(config.KeyRetention))
	if err != nil {
		return err
	}
	found, err := a.Diagnose(ctx, conn, app.ExamineOptions{LockTimeout: a.Config.LockTimeout,
		Newest: builtInHeads().Public, Retention: retention})
	if err != nil {
		return err
	}
	if p.Terminal && p.Format == "table" && !p.Quiet {
		err = writeDiagnosis(p, found)
	} else {
		err = cli.PrintList(p, diagnosisList(), found)
	}
	if err != nil {
		return err
	}
	wrong := 0
	for _, d := range found {
		if !d.OK && !d.Unknown {
			wrong++
		}
	}
	if wrong > 0 {
		line := fmt.Sprintf("%s of %d wrong", cli.Plural(wrong, "check"), len(found))
		f.Note("%s", line)
		return cli.ExitTold(cli.ExitPending, "%s", line)
	}
	return nil
}

// mendCommand returns the command that leads on from a check, "" for none.
func mendCommand(d app.Diagnosed) string {
	if d.OK || d.Unknown {
		return ""
	}
	switch d.Name {
	case app.CheckRoom:
		return "crmctl connections clean --idle 30m --dry-run"
	case app.CheckBlocked:
		return "crmctl stats locks"
	case app.CheckInTransaction:
		return "crmctl connections clean --in-transaction 5m --dry-run"
	case app.CheckLongRunning:
		return "crmctl stats activity --longer 5m"
	}
	if len(d.Findings) == 1 && strings.HasPrefix(d.Findings[0].Command, "crmctl ") {
		return d.Findings[0].Command
	}
	return "crmctl doctor --check " + d.Name
}

// markOf returns a tick, a cross or a question mark.
func markOf(p *cli.Printer, d app.Diagnosed) string {
	marks := map[bool][3]string{true: {"✓", "✗", "?"}, false: {"ok", "!!", "? "}}[p.Unicode]
	switch {
	case d.OK:
		return p.Painter.Paint(cli.Green, marks[0])
	case d.Unknown:
		return p.Painter.Paint(cli.Yellow, marks[2])
	}
	return p.Painter.Paint(cli.Red, marks[1])
}

// writeDiagnosis prints
//
//	✓ connections           12 of 97 in use, room for 85 more
//	✗ blocked               4 sessions wait for a lock, the longest for 2m16s
//	                        next: crmctl stats locks
func writeDiagnosis(p *cli.Printer, found []app.Diagnosed) error {
	const label = 20
	var b strings.Builder
	for _, d := range found {
		mark := markOf(p, d)
		width := 1
		if !p.Unicode {
			width = 2
		}
		margin := strings.Repeat(" ", width+1+label+2)
		text := cli.Fold(margin+cli.Visible(d.What), p.Width, margin)[len(margin):]
		b.WriteString(strings.TrimRight(fmt.Sprintf("%s %-*s  %s", mark, label, d.Name, text), " ") + "\n")
		if command := mendCommand(d); command != "" {
			b.WriteString(margin + "next: " + cli.Visible(command) + "\n")
		}
	}
	if _, err := p.Out.Write([]byte(b.String())); err != nil {
		return fmt.Errorf("write the answer: %w", err)
	}
	return nil
}

func diagnosisList() cli.List[app.Diagnosed] {
	return cli.List[app.Diagnosed]{
		Plural: "checks",
		Columns: []cli.Column[app.Diagnosed]{
			{Name: "check", Value: func(d app.Diagnosed) any { return d.Name }},
			{Name: "ok", Value: func(d app.Diagnosed) any {
				if d.Unknown {
					return cli.Either{Human: "unknown", Machine: nil}
				}
				return d.OK
			}},
			{Name: "message", Title: "WHAT", Value: func(d app.Diagnosed) any { return d.What }},
			{Name: "findings", Right: true, Value: func(d app.Diagnosed) any { return len(d.Findings) }},
			{Name: "command", Value: func(d app.Diagnosed) any { return mendCommand(d) }},
		},
		Name: func(d app.Diagnosed) string { return d.Name },
	}
}
