package app

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/sqltext"
	"github.com/crmctl/crmctl/internal/stats"
	"github.com/crmctl/crmctl/internal/tenantsql"
)

// ExplainOptions say which statement is explained, and for whom.
type ExplainOptions struct {
	Selection *Selection
	SQL       string // one statement; with $1 and so on it gets a plan for any values
	// Analyze runs the statement, which may only read, and measures.
	Analyze          bool
	Concurrency      int           // 0 goes by the machine and the server
	StatementTimeout time.Duration // of each tenant, as in ExecOptions
	Unwatched        bool          // App.Watch is not told
	Skip             func([]registry.InvalidRow)
}

// Explained is how tenants run a statement.
type Explained struct {
	*ExecResult

	At      time.Time
	Groups  []stats.PlanGroup // of plans with the same shape, the one of most tenants first
	Generic bool              // the plans are for any values of the parameters
}

// explainLock bounds the wait for a table that somebody works on.
const explainLock = 500 * time.Millisecond

// Explain shows how tenants run a statement: each in a read-only transaction that is
// rolled back, with its schema as the search path, as a role that may read there.
func (a *App) Explain(ctx context.Context, o ExplainOptions) (*Explained, error) {
	sql, generic, err := explainable(o.SQL, o.Analyze)
	if err != nil {
		return nil, &ScriptError{err}
	}
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	tenants, invalid, err := a.Tenants(ctx, conn, o.Selection, registry.Active, registry.Suspended)
	o.Skip(invalid)
	if err != nil {
		return nil, err
	}
	script := explainScript(sql, o.Analyze, generic)
	run := a.execOptions(ExecOptions{Concurrency: o.Concurrency, LockTimeout: explainLock,
		StatementTimeout: o.StatementTimeout}, len(tenants))
	if run.Path, err = a.TenantPath(ctx, conn, []db.Statement{{SQL: sql}}); err != nil {
		return nil, err
	}
	var plans stats.Plans
	done, err := a.exec(ctx, conn, tenants, script, run, ExecOptions{SQL: sql, Unwatched: o.Unwatched || len(tenants) == 1,
		Show: func(_ []tenantsql.Column, rows iter.Seq2[tenantsql.Row, error]) error { return takePlans(&plans, rows) }})
	if err != nil {
		return nil, err
	}
	out := &Explained{ExecResult: done, Generic: generic}
	return out, a.judgePlans(ctx, conn, tenants, plans, out)
}

// judgePlans adds the groups of plans, with what decides about them.
func (a *App) judgePlans(ctx context.Context, conn *pgx.Conn, tenants []registry.Tenant, plans stats.Plans,
	out *Explained) error {
	if conn.IsClosed() { // a statement may have left something in its session
		var err error
		if conn, err = a.Connect(ctx); err != nil {
			return err
		}
		defer closeConn(ctx, conn)
	}
	slugs := make([]string, len(tenants))
	for i, t := range tenants {
		slugs[i] = t.Slug
	}
	facts, err := stats.ReadFacts(ctx, conn, stats.Selected{Registry: a.Registry, Slugs: slugs}, plans.Relations())
	if err != nil {
		return a.noRegistry(err)
	}
	out.At, out.Groups = facts.At, plans.Groups(facts)
	return nil
}

func takePlans(plans *stats.Plans, rows iter.Seq2[tenantsql.Row, error]) error {
	for row, err := range rows {
		if err != nil {
			return err
		}
		plan, err := stats.ParsePlan(row.Values[0].Text)
		if err != nil {
			return err
		}
		plans.Add(stats.TenantPlan{Slug: row.Tenant.Slug, Schema: row.Tenant.Schema.String(), Plan: plan})
	}
	return nil
}

// explainable returns the statement that is explained, and whether it has parameters.
func explainable(text string, analyze bool) (sql string, generic bool, err error) {
	commands := sqltext.Split(text)
	switch {
	case len(commands) == 0:
		return "", false, errors.New("there is no SQL statement in it")
	case len(commands) > 1:
		return "", false, fmt.Errorf("one statement is explained, and these are %d", len(commands))
	}
	sql = strings.TrimSuffix(strings.TrimSpace(commands[0].Text), ";")
	first := sqltext.Leading(sql, 1)[0]
	reads := slices.Contains([]string{"select", "with", "values", "table"}, first)
	switch {
	case first == "explain":
		return "", false, errors.New("give the statement itself, without EXPLAIN")
	case !reads && !slices.Contains([]string{"insert", "update", "delete", "merge"}, first):
		return "", false, fmt.Errorf("%s has no plan: SELECT, WITH, VALUES, TABLE, INSERT, UPDATE, DELETE and MERGE have",
			strings.ToUpper(first))
	case analyze && !reads:
		return "", false, fmt.Errorf("%s is not run to be measured: only what reads is", strings.ToUpper(first))
	}
	const most = 65_535 // of the protocol
	switch params := parameters(sql); {
	case params > most:
		return "", true, fmt.Errorf("$%d: a statement has no more than %d parameters", params, most)
	case params > 0 && analyze:
		return "", true, errors.New("a statement with parameters cannot be run: write their values into it")
	default:
		return sql, params > 0, nil
	}
}

// parameters returns the number of the last parameter of a statement, 0 for none.
func parameters(sql string) int {
	last := 0
	for _, t := range sqltext.Tokens(sql) {
		if number, is := strings.CutPrefix(t.Text, "$"); is && t.Kind == sqltext.Symbol {
			n, err := strconv.Atoi(number)
			if errors.Is(err, strconv.ErrRange) {
				n = math.MaxInt
			}
			last = max(last, n)
		}
	}
	return last
}

// explainScript returns the statements that explain one. A plan for any parameters is that
// of a prepared statement, whose session serves nobody else afterwards: EXPLAIN
// (GENERIC_PLAN), which PostgreSQL has since 16, wants values in the protocol that
// pipelines are sent by.
func explainScript(sql string, analyze, generic bool) []db.Statement {
	options := "format json"
	switch {
	case analyze:
		options += ", analyze, buffers"
	case generic:
		const name = "crmctl_explained"
		nulls := strings.TrimSuffix(strings.Repeat("null, ", parameters(sql)), ", ")
		return []db.Statement{
			{SQL: "select pg_catalog.set_config('plan_cache_mode', 'force_generic_plan', true)"},
			{SQL: "prepare " + name + " as " + sql, Traces: true},
			{SQL: "explain (format json) execute " + name + " (" + nulls + ")"},
		}
	}
	return []db.Statement{{SQL: "explain (" + options + ") " + sql}}
}
