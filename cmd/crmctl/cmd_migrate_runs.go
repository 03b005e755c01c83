package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
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
		Plural: "runs",
		Columns: []cli.Column[registry.Run]{
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
			{Name: "started_at", Title: "STARTED", Value: func(r registry.Run) any {
				return cli.Either{Human: p.Show.Minute(r.StartedAt), Machine: r.StartedAt}
			}},
			{Name: "seconds", Title: "TOOK", Spare: true, Right: true, Value: func(r registry.Run) any {
				return runDuration(f, r)
			}},
			{Name: "actor", Title: "BY", Spare: true, Value: func(r registry.Run) any { return r.Actor }},
			{Name: "reason", Wide: true, Optional: true, Value: func(r registry.Run) any { return r.Reason }},
			{Name: "finished_at", Document: true, Value: func(r registry.Run) any { return r.FinishedAt }},
			{Name: "selection", Document: true, Optional: true, Value: func(r registry.Run) any { return r.Selection }},
		},
		Name:  func(r registry.Run) string { return strconv.FormatInt(r.ID, 10) },
		Empty: "no runs yet",
	}, runs)
}

// runTarget shows the version a run aimed at.
func runTarget(r registry.Run) cli.Either {
	if r.Target < 0 {
		return cli.Either{Human: "its own", Machine: r.Target}
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

// runRecord is a run in JSON and YAML.
type runRecord struct {
	Run        int64               `json:"run"`
	Kind       string              `json:"kind"`
	State      string              `json:"state"`
	Reason     string              `json:"reason,omitempty"`
	Actor      string              `json:"actor"`
	Target     int64               `json:"target_version"`
	Tenants    int                 `json:"tenants"`
	Succeeded  int                 `json:"succeeded"`
	Failed     int                 `json:"failed"`
	NotStarted int                 `json:"not_started"`
	StartedAt  time.Time           `json:"started_at"`
	FinishedAt *time.Time          `json:"finished_at"`
	Seconds    float64             `json:"seconds"`
	Selection  *registry.Selection `json:"selection,omitempty"`
	Outcomes   []runTenantRecord   `json:"outcomes,omitempty"`
}

type runTenantRecord struct {
	Tenant      string  `json:"tenant"`
	State       string  `json:"state"`
	FromVersion int64   `json:"from_version"`
	ToVersion   int64   `json:"to_version"`
	Attempts    int     `json:"attempts"`
	Seconds     float64 `json:"seconds"`
	SQLState    string  `json:"sqlstate,omitempty"`
	Place       string  `json:"place,omitempty"`
	Error       string  `json:"error,omitempty"`
	Statement   string  `json:"statement,omitempty"`
}

func runRecordOf(f *factory, r registry.Run) runRecord {
	rec := runRecord{
		Run: r.ID, Kind: r.Kind, State: r.State, Reason: r.Reason, Actor: r.Actor, Target: r.Target, Tenants: r.Tenants,
		Succeeded: r.Succeeded, Failed: r.Failed, NotStarted: r.NotStarted, StartedAt: r.StartedAt.UTC(),
		Seconds:   runDuration(f, r).Seconds(),
		Selection: r.Selection,
	}
	if r.FinishedAt != nil {
		at := r.FinishedAt.UTC()
		rec.FinishedAt = &at
	}
	return rec
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
	shown := tenants
	if !opts.all {
		shown = nil
		for _, t := range tenants {
			if migrate.State(t.State) == migrate.Failed || migrate.State(t.State) == migrate.NotStarted {
				shown = append(shown, t)
			}
		}
	}
	record := runRecordOf(f, run)
	for _, t := range tenants {
		record.Outcomes = append(record.Outcomes, runTenantRecord{
			Tenant: t.Slug, State: t.State, FromVersion: t.From, ToVersion: t.To, Attempts: t.Attempts,
			Seconds: t.Duration.Seconds(), SQLState: t.SQLState, Place: t.Place, Error: t.Message, Statement: t.SQL,
		})
	}
	if !p.IsTable() && p.Format != "csv" {
		return cli.PrintObject(p, cli.Object{Kind: "run", Name: strconv.FormatInt(run.ID, 10), Record: record})
	}
	if p.IsTable() && !p.NamesOnly() {
		fields := []cli.Field{
			{Name: "run", Value: cli.Either{Human: fmt.Sprintf("%d, %s to version %s", run.ID, run.Kind,
				fmt.Sprint(runTarget(run).Human)), Machine: run.ID}},
			{Name: "state", Value: runState(run)},
			{Name: "started", Value: run.StartedAt},
			{Name: "duration", Value: runDuration(f, run)},
			{Name: "by", Value: run.Actor},
			{Name: "tenants", Value: cli.Either{Human: fmt.Sprintf("%s: %s ok, %s failed, %s not done",
				cli.HumanCount(int64(run.Tenants)),
				cli.HumanCount(int64(run.Succeeded)), cli.HumanCount(int64(run.Failed)), cli.HumanCount(int64(run.NotStarted))),
				Machine: run.Tenants}},
		}
		if run.Reason != "" {
			fields = append(fields, cli.Field{Name: "reason", Value: run.Reason})
		}
		if err := cli.PrintObject(p, cli.Object{Fields: fields}); err != nil || len(shown) == 0 {
			return err
		}
		if p.Terminal {
			fmt.Fprintln(p.Out)
		}
	}
	if err := cli.PrintList(p, outcomeList(), shown); err != nil {
		return err
	}
	if run.Failed+run.NotStarted > 0 && run.Target >= 0 && !f.structured() {
		f.Note("\nnext: crmctl migrate retry %d", run.ID)
	}
	return nil
}

func getRun(ctx context.Context, f *factory, conn *pgx.Conn, id int64) (registry.Run, []registry.RunTenant, error) {
	run, tenants, err := f.registry().GetRun(ctx, conn, id)
	if errors.Is(err, registry.ErrNoRun) {
		return run, nil, cli.WithHint(cli.WithCode(err, cli.ExitFailure), "see", "crmctl migrate runs")
	}
	return run, tenants, err
}

func outcomeList() cli.List[registry.RunTenant] {
	return cli.List[registry.RunTenant]{
		Plural: "tenants",
		Columns: []cli.Column[registry.RunTenant]{
			{Name: "tenant", Value: func(t registry.RunTenant) any { return t.Slug }},
			{Name: "state", Value: func(t registry.RunTenant) any { return outcomeState(migrate.State(t.State)) }},
			{Name: "to_version", Title: "VERSION", Right: true, Value: func(t registry.RunTenant) any {
				return cli.Serial(t.To)
			}},
			{Name: "from_version", Title: "FROM", Wide: true, Right: true, Value: func(t registry.RunTenant) any {
				return cli.Serial(t.From)
			}},
			{Name: "attempts", Wide: true, Right: true, Value: func(t registry.RunTenant) any { return t.Attempts }},
			{Name: "seconds", Title: "TOOK", Wide: true, Right: true, Value: func(t registry.RunTenant) any {
				return t.Duration
			}},
			{Name: "sqlstate", Wide: true, Value: func(t registry.RunTenant) any { return t.SQLState }},
			{Name: "statement", Wide: true, Value: func(t registry.RunTenant) any { return oneLine(t.SQL) }},
			{Name: "error", Title: "WHY", Text: true, Value: func(t registry.RunTenant) any { return t.Message }},
		},
		Name: func(t registry.RunTenant) string { return t.Slug },
	}
}

func outcomeState(s migrate.State) any {
	switch s {
	case migrate.Failed:
		return cli.Styled{Value: string(s), Color: cli.Red}
	case migrate.NotStarted:
		return cli.Styled{Value: string(s), Color: cli.Yellow}
	}
	return string(s)
}
