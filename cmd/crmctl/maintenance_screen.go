package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/maintain"
	"github.com/crmctl/crmctl/internal/registry"
)

// maintenanceScreen says what became of a run of `crmctl maintenance`.
type maintenanceScreen struct {
	f    *factory
	p    *cli.Printer
	o    *maintenanceOptions
	done app.MaintainResult
}

// did returns what was done: "vacuumed".
func (s maintenanceScreen) did() string {
	return map[maintain.Action]string{maintain.Vacuum: "vacuumed", maintain.Analyze: "analyzed",
		maintain.Reindex: "reindexed"}[s.o.action]
}

// hint adds the next step to the error of a run that did not begin.
func (s maintenanceScreen) hint(err error) error {
	switch {
	case errors.Is(err, app.ErrNoRunToResume):
		return cli.WithHint(err, "see", "crmctl migrate runs")
	case errors.Is(err, app.ErrRunGoesOn):
		return cli.WithCode(err, cli.ExitLocked)
	}
	return err
}

// explain adds the next step to the error of a tenant.
func (s maintenanceScreen) explain(err error) error {
	if errors.Is(err, maintain.ErrPooled) {
		return cli.WithHint(err, "name a connection past it", "direct_database_url in crmctl.yaml")
	}
	return err
}

// plan prints what a dry run would do, or that there is nothing to do.
func (s maintenanceScreen) plan() error {
	s.noteResumed()
	if err := cli.PrintList(s.p, cli.List[maintain.Item]{
		Plural: "tenants",
		Columns: []cli.Column[maintain.Item]{
			{Name: "tenant", Value: func(i maintain.Item) any { return i.Tenant.Slug }},
			{Name: "tables", Title: "TABLES", Value: func(i maintain.Item) any {
				var names []string
				for _, t := range i.Tables {
					names = append(names, t.Name)
				}
				return cli.Either{Human: strings.Join(names, ", "), Machine: strings.Join(names, ","), Document: names}
			}},
		},
		Name:  func(i maintain.Item) string { return i.Tenant.Slug },
		Empty: "no table to be " + s.did(),
	}, s.done.Items); err != nil {
		return err
	}
	if len(s.done.Items) > 0 {
		s.f.Note("%s would be %s", cli.Plural(len(s.done.Items), "tenant"), s.did())
	}
	return nil
}

func (s maintenanceScreen) noteResumed() {
	if s.done.Resumed > 0 {
		s.f.Note("resume    run %d, which has done %s", s.done.Resumed, cli.Plural(s.done.Before, "tenant"))
	}
}

// print prints what became of each tenant; of many, on a terminal, those that are not done, or
// of which there is something to say.
func (s maintenanceScreen) print() error {
	s.noteResumed()
	rows := s.done.Outcomes
	if s.p.Terminal && s.p.IsTable() && len(rows) > manyTenants {
		rows = slices.DeleteFunc(slices.Clone(rows), func(o maintain.Outcome) bool {
			return o.State == fleet.Done && len(o.Warnings)+len(o.Dropped) == 0
		})
	}
	if len(rows) == 0 {
		return nil
	}
	alike := alikeTenants(func(o maintain.Outcome) registry.Tenant { return o.Tenant })
	alike.Of = func(o maintain.Outcome) bool { return o.State != fleet.Done }
	alike.Blank = []string{"tables", "seconds"}
	alike.Each = func() string {
		return fmt.Sprintf("crmctl migrate runs show %d%s -o wide", s.done.RunID, s.f.sameTarget())
	}
	return cli.PrintList(s.p, cli.List[maintain.Outcome]{
		Plural: "tenants",
		Columns: []cli.Column[maintain.Outcome]{
			{Name: "result", Value: func(o maintain.Outcome) any {
				switch o.State {
				case fleet.Failed:
					return cli.Styled{Value: "failed", Color: cli.Red}
				case fleet.NotStarted:
					return cli.Styled{Value: "not started", Color: cli.Yellow}
				}
				return s.did()
			}},
			{Name: "tenant", Value: func(o maintain.Outcome) any { return o.Tenant.Slug }},
			{Name: "tables", Right: true, Value: func(o maintain.Outcome) any { return o.Tables }},
			{Name: "seconds", Title: "TIME", Right: true, Value: func(o maintain.Outcome) any { return o.Duration }},
			{Name: "attempts", Wide: true, Right: true, Value: func(o maintain.Outcome) any { return o.Attempts }},
			{Name: "gone_tables", Document: true, Value: func(o maintain.Outcome) any { return o.Gone }},
			{Name: "dropped_indexes", Document: true, Value: func(o maintain.Outcome) any { return notNil(o.Dropped) }},
			{Name: "warnings", Document: true, Value: func(o maintain.Outcome) any { return notNil(o.Warnings) }},
			{Name: "sqlstate", Document: true, Optional: true, Value: func(o maintain.Outcome) any {
				return db.SQLState(o.Err)
			}},
			{Name: "error", Title: "WHY", Text: true, Optional: true, Value: s.why},
		},
		Name:  func(o maintain.Outcome) string { return o.Tenant.Slug },
		Alike: alike,
	}, rows)
}

func notNil(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// why returns the error of a tenant; people also read what the server has warned of.
func (s maintenanceScreen) why(o maintain.Outcome) any {
	text := ""
	if o.Err != nil {
		text = s.f.redact(textOf(o.Err))
	}
	var also []string
	if len(o.Dropped) > 0 {
		also = append(also, "dropped invalid "+strings.Join(o.Dropped, ", "))
	}
	if len(o.Warnings) > 0 {
		also = append(also, "warning: "+o.Warnings[0])
		if more := len(o.Warnings) - 1; more > 0 {
			also = append(also, fmt.Sprintf("and %d more", more))
		}
	}
	human := append([]string{}, also...)
	if text != "" {
		human = append([]string{text}, also...)
	}
	return cli.Either{Human: strings.Join(human, "; "), Machine: text, Document: text}
}

// end says how it ended, and returns the error with the exit code.
func (s maintenanceScreen) end() error {
	sum := s.done.Summary()
	s.f.Note("%s (run %d)", s.did()+" "+runLine(sum, s.done.Elapsed), s.done.RunID)
	told := !s.f.structured()
	return s.f.end(runEnd{Summary: sum, did: s.did(), more: []string{"--resume"}, threshold: true, alone: s.explain,
		unsaid: !told})
}
