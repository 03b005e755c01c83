package app

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenantsql"
)

// ExecOptions say which SQL is run over which tenants.
type ExecOptions struct {
	Selection *Selection
	Name      string // of the script, for its errors; "" where it has none
	SQL       string
	Write     bool // the statements may change data, and are committed
	Suspended bool // with Write, in suspended tenants too
	DryRun    bool // with Write, rolled back

	Concurrency      int                   // 0 goes by the machine and the server
	Attempts         int                   // at a tenant that is busy
	StopAfter        func(tenants int) int // failures that end a run over so many; nil for none
	LockTimeout      time.Duration         // wait for each lock
	StatementTimeout time.Duration         // run of each statement
	Unwatched        bool                  // App.Watch is not told: the rows are progress enough
	Confirm          func(ExecPlan) error  // asked before anything is committed; nil agrees
	Show             tenantsql.Show        // is given the rows; nil drops them
}

// ExecPlan is what a run is about to do.
type ExecPlan struct {
	Tenants []registry.Tenant
	Script  []db.Statement
}

// ExecResult is what became of a run over tenants.
type ExecResult struct {
	*tenantsql.Report

	Elapsed time.Duration
}

// InvalidRows names rows of the registry that are left alone because they are not valid.
type InvalidRows struct{ Rows []registry.InvalidRow }

func (InvalidRows) notice() {}

// ScriptError says that a text is no script of SQL.
type ScriptError struct{ Err error }

func (e *ScriptError) Error() string { return e.Err.Error() }
func (e *ScriptError) Unwrap() error { return e.Err }

// SuspendedError says that some of the tenants that were to be changed are suspended.
// Neither to write to them nor to pass them by goes without saying.
type SuspendedError struct {
	Slugs   []string
	Tenants int // that were chosen, these included
}

func (e *SuspendedError) Error() string {
	if e.Tenants == 1 {
		return (&registry.StateError{Slug: e.Slugs[0], State: registry.Suspended}).Error()
	}
	return fmt.Sprintf("%d of %d tenants are suspended", len(e.Slugs), e.Tenants)
}

// readTimeout is how long a statement that only reads may run where nobody has said it.
const readTimeout = 30 * time.Second

// Exec runs SQL over tenants, each in a transaction with its schema as the search path.
// The error says that the run could not begin, or that of Show.
func (a *App) Exec(ctx context.Context, o ExecOptions) (*ExecResult, error) {
	script, err := readScript(o.Name, o.SQL)
	if err != nil {
		return nil, err
	}
	if o.Write {
		if err := a.Changing(ctx, o.DryRun); err != nil {
			return nil, err
		}
	}
	conn, err := a.Connect(ctx)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	if o.Write {
		if err := a.TakeIn(ctx, conn, o.Selection.Selects, o.DryRun); err != nil {
			return nil, err
		}
	}
	tenants, invalid, err := a.Tenants(ctx, conn, o.Selection, registry.Active, registry.Suspended)
	if err != nil {
		return nil, err
	}
	if len(invalid) > 0 {
		a.Notify(InvalidRows{invalid})
	}
	if o.Write && !o.Suspended {
		if err := refuseSuspended(tenants); err != nil {
			return nil, err
		}
	}
	run := a.execOptions(o, len(tenants))
	if run.Path, err = a.TenantPath(ctx, conn, script); err != nil {
		return nil, err
	}
	if o.Write && !o.DryRun && len(tenants) > 0 && o.Confirm != nil {
		if err := o.Confirm(ExecPlan{tenants, script}); err != nil {
			return nil, err
		}
	}
	return a.exec(ctx, conn, tenants, script, run, o)
}

func (a *App) exec(ctx context.Context, conn *pgx.Conn, tenants []registry.Tenant, script []db.Statement,
	run tenantsql.Options, o ExecOptions) (*ExecResult, error) {
	begun := a.Now()
	if !o.Unwatched {
		names := make([]string, len(tenants))
		for i, t := range tenants {
			names[i] = t.Slug
		}
		observer, end := a.Watch("exec", names)
		defer end()
		run.Fleet.Observer = observer
	}
	show := o.Show
	if show == nil {
		show = func([]tenantsql.Column, iter.Seq2[tenantsql.Row, error]) error { return nil }
	}
	report, err := tenantsql.Run(ctx, fleet.Reuse(conn, a.Connect), tenants, script, run, show)
	if err != nil {
		return nil, err
	}
	return &ExecResult{Report: report, Elapsed: a.Now().Sub(begun)}, nil
}

// readScript reads the SQL; it does not connect.
func readScript(name, text string) ([]db.Statement, error) {
	if !utf8.ValidString(text) || strings.ContainsRune(text, 0) {
		return nil, &ScriptError{errors.New("the SQL is not text in UTF-8")}
	}
	script, err := migrate.Script(name, text)
	switch {
	case err != nil:
		return nil, &ScriptError{err}
	case len(script) == 0:
		return nil, &ScriptError{errors.New("there is no SQL statement in it")}
	}
	return script, nil
}

func refuseSuspended(tenants []registry.Tenant) error {
	var shut []string
	for _, t := range tenants {
		if t.Status == registry.Suspended {
			shut = append(shut, t.Slug)
		}
	}
	if len(shut) == 0 {
		return nil
	}
	return &SuspendedError{Slugs: shut, Tenants: len(tenants)}
}

// execOptions returns what the library takes for a run over n tenants.
func (a *App) execOptions(o ExecOptions, n int) tenantsql.Options {
	out := tenantsql.Options{
		Trusted:     a.Config.TrustedOwners,
		OwnRole:     a.ownRole(),
		LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout, Write: o.Write, DryRun: o.DryRun,
		// One that is suspended meanwhile is written to all the same: what mends a fleet
		// must not pass it by because of a moment.
		Registry: a.Registry, Hold: a.Registry.QueueHoldUndeleted, Audit: a.execAudit(o.SQL),
		Committed: func(ctx context.Context, q db.Querier, e tenantsql.Event) (bool, error) {
			return a.Registry.Ran(ctx, q, e.Tenant.ID, registry.ActionExec, e.Token)
		},
		Fleet: fleet.Options{Concurrency: o.Concurrency, Attempts: o.Attempts},
	}
	if o.StopAfter != nil {
		out.Fleet.StopAfter = o.StopAfter(n)
	}
	if !o.Write && a.Config.Setting(config.KeyStatementTimeout).Origin == "default" {
		out.StatementTimeout = readTimeout
	}
	if o.Write {
		out.Fleet.Drain = a.Drain()
	}
	return out
}

// execAudit returns what adds the audit row of a change: the statements' SHA-256 and
// how they begin, since they may hold what the audit should not.
func (a *App) execAudit(text string) func(*db.Pipeline, tenantsql.Event) error {
	const most = 200 // characters
	sum := sha256.Sum256([]byte(text))
	beginning := text
	if runes := []rune(text); len(runes) > most {
		beginning = string(runes[:most])
	}
	return func(p *db.Pipeline, e tenantsql.Event) error {
		return a.Registry.QueueEvent(p, registry.Event{
			TenantID: e.Tenant.ID, Slug: e.Tenant.Slug, Action: registry.ActionExec, Actor: a.Actor, Program: a.Program,
			Detail: map[string]any{
				"sha256": hex.EncodeToString(sum[:]), "statement": beginning, "rows": e.Affected, "run": e.Token,
			},
		})
	}
}
