package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/migrate"
)

// migrateRunsOptions are the options of `crmctl migrate runs`.
type migrateRunsOptions struct {
	limit int
}

func newMigrateRunsCmd(f *factory, runF func(context.Context, *factory, *migrateRunsOptions) error) *cobra.Command {
	opts := &migrateRunsOptions{}
	if runF == nil {
		runF = runMigrateRuns
	}
	cmd := &cobra.Command{
		Use:   "runs",
		Short: "the runs over the fleet, the newest first",
		Long: `List the runs over the fleet: who ran what when, and how it ended. A run that was killed is
recognised and closed as such.`,
		Example: "crmctl migrate runs\ncrmctl migrate runs show 42",
		Args:    groupArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if opts.limit < 1 {
				return usagef("--limit %d: want 1 or more", opts.limit)
			}
			return runF(cmd.Context(), f, opts)
		},
	}
	cmd.Flags().IntVar(&opts.limit, "limit", 20, "show the newest `N` runs")
	cmd.AddCommand(newMigrateRunsShowCmd(f, nil))
	readOnly(cmd)
	documentExits(cmd, exitUnreachable)
	return cmd
}

func runMigrateRuns(ctx context.Context, f *factory, opts *migrateRunsOptions) error {
	p, conn, err := f.open(ctx)
	if err != nil {
		return err
	}
	defer closeConn(ctx, conn)
	runs, err := migrate.Runs(ctx, conn, opts.limit)
	if err != nil {
		return f.placed(err)
	}
	return printList(p, list[migrate.RunRecord]{
		plural: "runs",
		columns: []column[migrate.RunRecord]{
			{name: "run", right: true, value: func(r migrate.RunRecord) any { return r.ID }},
			{name: "kind", value: func(r migrate.RunRecord) any { return string(r.Kind) }},
			{name: "state", value: runState},
			{name: "version", right: true, value: func(r migrate.RunRecord) any { return runTarget(r) }},
			{name: "tenants", right: true, value: func(r migrate.RunRecord) any { return r.Tenants }},
			{name: "ok", right: true, value: func(r migrate.RunRecord) any { return r.Succeeded }},
			{name: "failed", right: true, value: func(r migrate.RunRecord) any { return styledIf(r.Failed > 0, r.Failed, red) }},
			{name: "not_started", title: "NOT DONE", right: true, value: func(r migrate.RunRecord) any { return styledIf(r.NotStarted > 0, r.NotStarted, yellow) }},
			{name: "started_at", title: "STARTED", value: func(r migrate.RunRecord) any { return r.StartedAt }},
			{name: "duration", value: func(r migrate.RunRecord) any { return runDuration(f, r) }},
			{name: "actor", title: "BY", value: func(r migrate.RunRecord) any { return r.Actor }},
			{name: "reason", wide: true, value: func(r migrate.RunRecord) any { return r.Reason }},
		},
		name:   func(r migrate.RunRecord) string { return strconv.FormatInt(r.ID, 10) },
		record: func(r migrate.RunRecord) any { return runRecordOf(f, r) },
		empty:  "no runs yet",
	}, runs)
}

// runTarget shows the version a run aimed at.
func runTarget(r migrate.RunRecord) either {
	if r.Target < 0 {
		return either{"its own", r.Target}
	}
	return either{r.Target, r.Target}
}

func styledIf(on bool, v any, c color) any {
	if on {
		return styled{v, c}
	}
	return v
}

func runState(r migrate.RunRecord) any {
	switch {
	case r.State == "killed", r.State == "stopped":
		return styled{r.State, red}
	case r.State == "finished" && r.Failed > 0:
		return styled{r.State, yellow}
	case r.State == "finished":
		return styled{r.State, green}
	}
	return r.State
}

func runDuration(f *factory, r migrate.RunRecord) time.Duration {
	end := f.now()
	if r.FinishedAt != nil {
		end = *r.FinishedAt
	}
	return max(0, end.Sub(r.StartedAt)).Round(time.Millisecond)
}

// runRecord is a run in JSON and YAML.
type runRecord struct {
	Run        int64             `json:"run"`
	Kind       string            `json:"kind"`
	State      string            `json:"state"`
	Reason     string            `json:"reason,omitempty"`
	Actor      string            `json:"actor"`
	Target     int64             `json:"target_version"`
	Tenants    int               `json:"tenants"`
	Succeeded  int               `json:"succeeded"`
	Failed     int               `json:"failed"`
	NotStarted int               `json:"not_started"`
	StartedAt  time.Time         `json:"started_at"`
	FinishedAt *time.Time        `json:"finished_at"`
	Seconds    float64           `json:"seconds"`
	Selection  map[string]any    `json:"selection,omitempty"`
	Outcomes   []runTenantRecord `json:"outcomes,omitempty"`
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

func runRecordOf(f *factory, r migrate.RunRecord) runRecord {
	rec := runRecord{
		Run: r.ID, Kind: string(r.Kind), State: r.State, Reason: r.Reason, Actor: r.Actor, Target: r.Target, Tenants: r.Tenants,
		Succeeded: r.Succeeded, Failed: r.Failed, NotStarted: r.NotStarted, StartedAt: r.StartedAt.UTC(), Seconds: runDuration(f, r).Seconds(),
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

func newMigrateRunsShowCmd(f *factory, runF func(context.Context, *factory, *migrateRunsShowOptions) error) *cobra.Command {
	opts := &migrateRunsShowOptions{}
	if runF == nil {
		runF = runMigrateRunsShow
	}
	cmd := &cobra.Command{
		Use:     "show RUN",
		Short:   "what became of each tenant of a run",
		Example: "crmctl migrate runs show 42\ncrmctl migrate runs show 42 --all -o csv",
		Args:    exactArgs("RUN"),
		RunE: func(cmd *cobra.Command, args []string) (err error) {
			if opts.id, err = runID(args[0]); err != nil {
				return err
			}
			return runF(cmd.Context(), f, opts)
		},
	}
	cmd.Flags().BoolVar(&opts.all, "all", false, "list every tenant, not only those that failed or were not done")
	readOnly(cmd)
	documentExits(cmd, exitUnreachable)
	return cmd
}

func runID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil || id < 1 {
		return 0, usagef("%q is not the number of a run: see crmctl migrate runs", text)
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
			if t.State == migrate.Failed || t.State == migrate.NotStarted {
				shown = append(shown, t)
			}
		}
	}
	record := runRecordOf(f, run)
	for _, t := range tenants {
		record.Outcomes = append(record.Outcomes, runTenantRecord{
			Tenant: t.Slug, State: string(t.State), FromVersion: t.From, ToVersion: t.To, Attempts: t.Attempts,
			Seconds: t.Duration.Seconds(), SQLState: t.SQLState, Place: t.Place, Error: t.Message, Statement: t.SQL,
		})
	}
	if !p.isTable() && p.format != "csv" {
		return printObject(p, object{kind: "run", name: strconv.FormatInt(run.ID, 10), record: record})
	}
	if p.isTable() && !p.namesOnly() {
		fields := []field{
			{name: "run", value: either{fmt.Sprintf("%d, %s to version %s", run.ID, run.Kind, fmt.Sprint(runTarget(run).human)), run.ID}},
			{name: "state", value: runState(run)},
			{name: "started", value: run.StartedAt},
			{name: "duration", value: runDuration(f, run)},
			{name: "by", value: run.Actor},
			{name: "tenants", value: either{fmt.Sprintf("%s: %s ok, %s failed, %s not done", humanCount(int64(run.Tenants)),
				humanCount(int64(run.Succeeded)), humanCount(int64(run.Failed)), humanCount(int64(run.NotStarted))), run.Tenants}},
		}
		if run.Reason != "" {
			fields = append(fields, field{name: "reason", value: run.Reason})
		}
		if err := printObject(p, object{fields: fields}); err != nil || len(shown) == 0 {
			return err
		}
		if p.terminal {
			fmt.Fprintln(p.out)
		}
	}
	if err := printList(p, outcomeList(), shown); err != nil {
		return err
	}
	if run.Failed+run.NotStarted > 0 && run.Target >= 0 {
		f.note("\nnext: crmctl migrate retry %d", run.ID)
	}
	return nil
}

func getRun(ctx context.Context, f *factory, conn *pgx.Conn, id int64) (migrate.RunRecord, []migrate.RunTenant, error) {
	run, tenants, err := migrate.GetRun(ctx, conn, id)
	if errors.Is(err, migrate.ErrNoRun) {
		return run, nil, withHint(withCode(err, exitFailure), "see", "crmctl migrate runs")
	}
	return run, tenants, f.placed(err)
}

func outcomeList() list[migrate.RunTenant] {
	return list[migrate.RunTenant]{
		plural: "tenants",
		columns: []column[migrate.RunTenant]{
			{name: "tenant", value: func(t migrate.RunTenant) any { return t.Slug }},
			{name: "state", value: func(t migrate.RunTenant) any { return outcomeState(t.State) }},
			{name: "version", right: true, value: func(t migrate.RunTenant) any { return t.To }},
			{name: "from_version", title: "FROM", wide: true, right: true, value: func(t migrate.RunTenant) any { return t.From }},
			{name: "attempts", wide: true, right: true, value: func(t migrate.RunTenant) any { return t.Attempts }},
			{name: "duration", wide: true, right: true, value: func(t migrate.RunTenant) any { return t.Duration }},
			{name: "sqlstate", wide: true, value: func(t migrate.RunTenant) any { return t.SQLState }},
			{name: "statement", wide: true, value: func(t migrate.RunTenant) any { return oneLine(t.SQL) }},
			{name: "why", value: func(t migrate.RunTenant) any { return t.Message }},
		},
		name: func(t migrate.RunTenant) string { return t.Slug },
	}
}

func outcomeState(s migrate.State) any {
	switch s {
	case migrate.Failed:
		return styled{string(s), red}
	case migrate.NotStarted:
		return styled{string(s), yellow}
	}
	return string(s)
}
