package main

import (
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// outcomeRow is what became of a tenant in a run, as the ledger has it, and as the run
// itself tells it.
type outcomeRow struct {
	registry.RunTenant

	canary   bool
	answer   migrate.Answer
	blockers []migrate.Blocker
}

func (o outcomeRow) name() string { return o.Slug }

// outcomeRowOf returns the row of a run that has just ended.
func outcomeRowOf(o migrate.Outcome) outcomeRow {
	row := outcomeRow{
		RunTenant: registry.RunTenant{
			Slug: o.Tenant.Slug, Schema: o.Tenant.Schema.String(), State: string(o.State),
			From: o.From, To: o.To, Attempts: o.Attempts, Duration: o.Duration,
		},
		blockers: o.Blockers, answer: o.Answer,
	}
	if o.Err != nil {
		row.Message, row.SQLState = why(o), db.SQLState(o.Err)
		if statement, ok := asStatement(o.Err); ok {
			row.Place = statement.Place()
		}
	}
	return row
}

// outcomeList shows outcomes; those of one kind are one row on a terminal.
func outcomeList(columns []cli.Column[outcomeRow]) cli.List[outcomeRow] {
	return cli.List[outcomeRow]{Columns: columns, Name: outcomeRow.name, Alike: &cli.Alike[outcomeRow]{
		Noun: "tenant", Own: func(o outcomeRow) []cli.OwnWord { return ownWords(o.Slug, o.Schema) },
	}}
}

// outcomeColumns are the columns of outcomes, in the report of a run, its events and the
// ledger.
func outcomeColumns() []cli.Column[outcomeRow] {
	return []cli.Column[outcomeRow]{
		{Name: "tenant", Value: func(o outcomeRow) any { return o.Slug }},
		{Name: "state", Value: func(o outcomeRow) any { return outcomeState(migrate.State(o.State)) }},
		{Name: "from_version", Title: "FROM", Wide: true, Right: true, Value: func(o outcomeRow) any {
			return cli.Serial(o.From)
		}},
		{Name: "to_version", Title: "VERSION", Right: true, Value: func(o outcomeRow) any { return cli.Serial(o.To) }},
		{Name: "attempts", Wide: true, Right: true, Value: func(o outcomeRow) any { return o.Attempts }},
		{Name: "seconds", Title: "TOOK", Wide: true, Right: true, Value: func(o outcomeRow) any { return o.Duration }},
		{Name: "canary", Document: true, Optional: true, Value: func(o outcomeRow) any { return o.canary }},
		{Name: "lost_answer", Document: true, Optional: true, Value: func(o outcomeRow) any { return string(o.answer) }},
		{Name: "sqlstate", Wide: true, Optional: true, Value: func(o outcomeRow) any { return o.SQLState }},
		{Name: "place", Wide: true, Optional: true, Value: func(o outcomeRow) any { return o.Place }},
		{Name: "statement", Wide: true, Optional: true, Value: func(o outcomeRow) any {
			return cli.Either{Human: oneLine(o.SQL), Machine: o.SQL}
		}},
		{Name: "error", Title: "WHY", Text: true, Optional: true, Value: func(o outcomeRow) any { return o.Message }},
		{Name: "blockers", Document: true, Optional: true, Value: func(o outcomeRow) any { return o.blockers }},
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
