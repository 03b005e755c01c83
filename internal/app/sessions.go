package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

// Sessions looks at the sessions of the database. The function returned reports whether a
// session is one of the selected tenants'; it is nil where all sessions are meant.
func (a *App) Sessions(ctx context.Context, s *Selection) (stats.Sessions, func(slug string) bool, error) {
	conn, err := a.Connect(ctx)
	if err != nil {
		return stats.Sessions{}, nil, err
	}
	defer closeConn(ctx, conn)
	return a.readSessions(ctx, conn, s)
}

func (a *App) readSessions(ctx context.Context, conn *pgx.Conn, s *Selection) (stats.Sessions, func(string) bool,
	error) {
	var chosen func(string) bool
	if s != nil && !s.Everything() {
		if _, _, err := a.slugsOf(ctx, conn, s); err != nil { // one that is not there
			return stats.Sessions{}, nil, err
		}
		chosen = s.Selects
	}
	found, err := stats.ReadSessions(ctx, conn, a.Registry)
	return found, chosen, err
}

// CleanOptions say which sessions are ended.
type CleanOptions struct {
	stats.PickOptions

	Selection *Selection // nil for all sessions, also those that are no tenant's
	DryRun    bool
	// Confirm is shown what will be ended; its error ends the call.
	Confirm func(ctx context.Context, picked []stats.Session, left []stats.NotPicked) error
}

// EndedSession is what became of a session.
type EndedSession struct {
	stats.Session

	Fate stats.Fate // "" where it was not tried: a dry run, or an error came before
	Err  error
}

// Cleaned is the result of CleanConnections.
type Cleaned struct {
	Look     stats.Sessions
	Sessions []EndedSession
	Left     []stats.NotPicked
}

// CleanConnections ends sessions, after a question, and writes into the audit of each
// tenant how many it was. Sessions that have changed meanwhile are left alone.
func (a *App) CleanConnections(ctx context.Context, o CleanOptions) (Cleaned, error) {
	var out Cleaned
	conn, err := a.change(ctx, o.DryRun)
	if err != nil {
		return out, err
	}
	defer closeConn(ctx, conn)
	if out.Look, o.Tenant, err = a.readSessions(ctx, conn, o.Selection); err != nil {
		return out, err
	}
	picked, left := out.Look.Pick(o.PickOptions)
	out.Left = left
	for _, s := range picked {
		out.Sessions = append(out.Sessions, EndedSession{Session: s})
	}
	if err := o.Confirm(ctx, picked, left); err != nil || o.DryRun || len(picked) == 0 {
		return out, err
	}
	for i := range out.Sessions {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
			break
		}
		one := &out.Sessions[i]
		if one.Fate, one.Err = stats.End(ctx, conn, one.Session, o.PickOptions); one.Err != nil && conn.IsClosed() {
			err = one.Err
			break
		}
	}
	return out, errors.Join(err, a.recordEnded(ctx, conn, out.Sessions))
}

// recordTimeout bounds the writing of the audit: sessions are ended when locks are held.
const recordTimeout = 5 * time.Second

// recordEnded writes an entry of the audit for each tenant whose sessions were ended, and
// one for those that are no tenant's.
func (a *App) recordEnded(ctx context.Context, conn *pgx.Conn, ended []EndedSession) error {
	pids := map[string][]int32{}
	var slugs []string
	for _, s := range ended {
		if s.Fate != stats.Ended && s.Fate != stats.Signalled {
			continue
		}
		if pids[s.Tenant] == nil {
			slugs = append(slugs, s.Tenant)
		}
		pids[s.Tenant] = append(pids[s.Tenant], s.PID)
	}
	if len(slugs) == 0 {
		return nil
	}
	slices.Sort(slugs)
	ctx = context.WithoutCancel(ctx)
	tenants, err := a.Registry.ByNames(ctx, conn, registry.Named{Slugs: slugs})
	if err != nil {
		return fmt.Errorf("sessions were ended, but the audit cannot be written: %w", err)
	}
	ids := map[string]string{}
	for _, t := range tenants {
		ids[t.Slug] = t.ID
	}
	l := db.Locals{LockTimeout: recordTimeout, StatementTimeout: recordTimeout, Follow: true}
	err = db.InTx(ctx, conn, l, func(ctx context.Context, q db.Querier) error {
		var p db.Pipeline
		for _, slug := range slugs {
			e := registry.Event{TenantID: ids[slug], Slug: slug, Action: registry.ActionDisconnect, Actor: a.Actor,
				Program: a.Program, Detail: map[string]any{"sessions": len(pids[slug]), "pids": pids[slug]}}
			if e.TenantID == "" {
				e.TenantID = uuid.Nil.String()
			}
			if slug == "" {
				e.Slug = "-"
			}
			if err := a.Registry.QueueEvent(&p, e); err != nil {
				return err
			}
		}
		return p.Run(ctx, q)
	})
	if err != nil {
		return fmt.Errorf("sessions were ended, but the audit cannot be written: %w", err)
	}
	return nil
}
