package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/maintain"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// migrateRunsOptions are the options of `crmctl migrate runs`.
type migrateRunsOptions struct {
	limit int
}

func newMigrateRunsCmd(f *factory) *cobra.Command {
	opts := &migrateRunsOptions{}
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "the runs over the fleet, the newest first",
		Long: `List the runs over the fleet: who ran what when, and how it ended. A run that was killed is
recognised and closed as such.`,
		Example: "crmctl migrate runs\ncrmctl migrate runs show 42",
		Args:    cli.GroupArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.limit < 1 {
				return cli.Usagef("--limit %d: want 1 or more", opts.limit)
			}
			return runMigrateRuns(cmd.Context(), f, opts)
		},
	}
	cmd.Flags().IntVar(&opts.limit, "limit", 20, "show the newest `N` runs")
	cmd.AddCommand(newMigrateRunsShowCmd(f))
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitUnreachable)
	return cmd
}

func runMigrateRuns(ctx context.Context, f *factory, opts *migrateRunsOptions) error {
	p, conn, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	runs, err := f.registry().ListRuns(ctx, conn, opts.limit)
	if err != nil {
		return err
	}
	return cli.PrintList(p, cli.List[registry.Run]{
		Plural:  "runs",
		Columns: runColumns(f, p.Show),
		Name:    func(r registry.Run) string { return strconv.FormatInt(r.ID, 10) },
		Empty:   "no runs yet",
	}, runs)
}

func runColumns(f *factory, show cli.Presentation) []cli.Column[registry.Run] {
	return []cli.Column[registry.Run]{
		{Name: "run", Right: true, Value: func(r registry.Run) any { return cli.Serial(r.ID) }},
		{Name: "kind", Value: func(r registry.Run) any { return r.Kind }},
		{Name: "state", Value: runState},
		{Name: "target_version", Title: "VERSION", Right: true, Value: func(r registry.Run) any { return runTarget(r) }},
		{Name: "tenants", Spare: true, Right: true, Value: func(r registry.Run) any { return r.Tenants }},
		{Name: "succeeded", Title: "OK", Right: true, Value: func(r registry.Run) any { return r.Succeeded }},
		{Name: "failed", Right: true, Value: func(r registry.Run) any { return styledIf(r.Failed > 0, r.Failed, cli.Red) }},
		{Name: "not_started", Title: "LEFT", Right: true, Value: func(r registry.Run) any {
			return styledIf(r.NotStarted > 0, r.NotStarted, cli.Yellow)
		}},
		{Name: "started_at", Title: "STARTED", Dear: true, Value: func(r registry.Run) any {
			return cli.Either{Human: show.Minute(r.StartedAt), Machine: r.StartedAt}
		}},
		{Name: "seconds", Title: "TOOK", Spare: true, Right: true, Value: func(r registry.Run) any {
			return runDuration(f, r)
		}},
		{Name: "actor", Title: "BY", Spare: true, Value: func(r registry.Run) any { return r.Actor }},
		{Name: "reason", Wide: true, Optional: true, Value: func(r registry.Run) any { return r.Reason }},
		{Name: "finished_at", Document: true, Value: func(r registry.Run) any { return r.FinishedAt }},
		{Name: "selection", Document: true, Optional: true, Value: func(r registry.Run) any { return r.Selection }},
	}
}

// runTarget shows the version a run aimed at.
func runTarget(r registry.Run) cli.Either {
	switch {
	case maintain.IsAction(r.Kind):
		return cli.Either{Human: "", Machine: nil}
	case r.Target < 0:
		return cli.Either{Human: "its own", Document: r.Target} // to programs -1, as ever; a table has no number
	}
	return cli.Either{Human: cli.Serial(r.Target), Machine: r.Target}
}

func styledIf(on bool, v any, c cli.Color) any {
	if on {
		return cli.Styled{Value: v, Color: c}
	}
	return v
}

func runState(r registry.Run) any {
	switch {
	case r.State == "killed", r.State == "stopped":
		return cli.Styled{Value: r.State, Color: cli.Red}
	case r.State == "finished" && r.Failed > 0:
		return cli.Styled{Value: r.State, Color: cli.Yellow}
	case r.State == "finished":
		return cli.Styled{Value: r.State, Color: cli.Green}
	}
	return r.State
}

func runDuration(f *factory, r registry.Run) time.Duration {
	end := f.Now()
	if r.FinishedAt != nil {
		end = *r.FinishedAt
	}
	return max(0, end.Sub(r.StartedAt)).Round(time.Millisecond)
}

// migrateRunsShowOptions are the options of `crmctl migrate runs show`.
type migrateRunsShowOptions struct {
	id  int64
	all bool
}

func newMigrateRunsShowCmd(f *factory) *cobra.Command {
	opts := &migrateRunsShowOptions{}
	cmd := &cobra.Command{
		Use:     "show RUN",
		Short:   "what became of each tenant of a run",
		Example: "crmctl migrate runs show 42\ncrmctl migrate runs show 42 --all -o csv",
		Args:    cli.ExactArgs("RUN"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if opts.id, err = runID(args[0]); err != nil {
				return err
			}
			return runMigrateRunsShow(cmd.Context(), f, opts)
		},
	}
	cmd.Flags().BoolVar(&opts.all, "all", false, "list every tenant, not only those that failed or were not done")
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitUnreachable)
	return cmd
}

func runID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, cli.Usagef("%q is not the number of a run: see crmctl migrate runs", text)
	}
	return id, nil
}

func runMigrateRunsShow(ctx context.Context, f *factory, opts *migrateRunsShowOptions) error {
	p, conn, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	run, tenants, err := getRun(ctx, f, conn, opts.id)
	if err != nil {
		return err
	}
	outcomes := make([]outcomeRow, len(tenants))
	for i, t := range tenants {
		outcomes[i] = outcomeRow{RunTenant: t}
	}
	if p.IsDocument() {
		return cli.PrintObject(p, cli.Object{Kind: "run", Fields: append(cli.FieldsOf(runColumns(f, p.Show), run),
			cli.Field{Name: "outcomes", Value: cli.Documents(outcomeColumns(), outcomes)})})
	}
	shown := outcomes
	if !opts.all {
		shown = slices.DeleteFunc(outcomes, func(o outcomeRow) bool {
			return migrate.State(o.State) != migrate.Failed && migrate.State(o.State) != migrate.NotStarted
		})
	}
	if p.IsTable() && !p.NamesOnly() {
		if err := cli.PrintObject(p, cli.Object{Fields: runFields(f, p, run)}); err != nil || len(shown) == 0 {
			return err
		}
		if p.Terminal {
			fmt.Fprintln(p.Out)
		}
	}
	list := outcomeList(outcomeColumns())
	list.Alike.Each = f.sameWide
	if err := cli.PrintList(p, list, shown); err != nil {
		return err
	}
	if run.Failed+run.NotStarted > 0 && run.Target >= 0 && !f.structured() {
		f.Note("\nnext: crmctl migrate retry %d%s", run.ID, f.sameTarget())
	}
	return nil
}

// runFields shows a run in a few lines on a terminal, and with all its columns in a pipe.
func runFields(f *factory, p *cli.Printer, run registry.Run) []cli.Field {
	if !p.Terminal {
		return cli.FieldsOf(runColumns(f, p.Show), run)
	}
	count := func(n int) string { return cli.HumanCount(int64(n)) }
	what := fmt.Sprintf("%d, %s", run.ID, run.Kind)
	if run.Target >= 0 {
		what += fmt.Sprintf(" to version %d", run.Target)
	}
	return []cli.Field{
		{Name: "run", Value: what},
		{Name: "state", Value: runState(run)},
		{Name: "started", Value: run.StartedAt},
		{Name: "duration", Value: runDuration(f, run)},
		{Name: "by", Value: run.Actor},
		{Name: "tenants", Value: fmt.Sprintf("%s: %s ok, %s failed, %s not done", count(run.Tenants), count(run.Succeeded),
			count(run.Failed), count(run.NotStarted))},
		{Name: "reason", Optional: true, Value: run.Reason},
	}
}

func getRun(ctx context.Context, f *factory, conn *pgx.Conn, id int64) (registry.Run, []registry.RunTenant, error) {
	run, tenants, err := f.registry().GetRun(ctx, conn, id)
	if errors.Is(err, registry.ErrNoRun) {
		return run, nil, cli.WithHint(cli.WithCode(err, cli.ExitFailure), "see", "crmctl migrate runs")
	}
	return run, tenants, err
}
