package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// A tenant that is under way for more than a minute gets a line with the session
// it waits for, and another a minute later, not one a second.
func TestStuckTenantIsNamed(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	f := b.factory(t)
	p, err := f.printer()
	if err != nil {
		t.Fatal(err)
	}
	w := newRunWatch(f, p, 2)
	waiting := migrate.TenantWaiting{Tenant: registry.Tenant{Slug: "globex"}, Blockers: []migrate.Blocker{{
		PID: 8123, Application: "web", State: "idle in transaction", Since: 3 * time.Minute,
		Query: "update contacts\n set name = 'x'",
	}}}
	for second := range 150 {
		waiting.For = time.Duration(second) * time.Second
		w.observe(waiting)
	}
	w.bar.Finish()
	got := b.err.String()
	if n := strings.Count(got, "tenant=globex under way for"); n != 2 {
		t.Errorf("%d lines, want 2:\n%s", n, got)
	}
	if !strings.Contains(got, `waits for pid 8123 (app "web", idle in transaction 3m00s): update contacts set name = 'x'`) {
		t.Errorf("stderr %s", got)
	}
}

func TestWhyNamesTheSessionInTheWay(t *testing.T) {
	t.Parallel()
	refused := &db.StatementError{
		Statement: db.Statement{SQL: "alter table a add x int", File: "00005_x.sql", Line: 3},
		Err:       &pgconn.PgError{Code: db.CodeLockNotAvailable, Message: "canceling statement due to lock timeout"},
	}
	o := migrate.Outcome{Err: refused, Attempts: 5}
	if got := why(o); got != "00005_x.sql:3: canceling statement due to lock timeout (55P03)" {
		t.Errorf("without a session: %s", got)
	}
	o.Blockers = []migrate.Blocker{{PID: 9120, Application: "report", State: "idle in transaction",
		Since: 14 * time.Minute}}
	if got := why(o); got != `00005_x.sql:3  lock not granted in 5 attempts: pid 9120 (app "report", idle in transaction 14m00s) (55P03)` {
		t.Errorf("with a session: %s", got)
	}
	o.Err = errors.New("something else")
	if got := why(o); got != "something else" {
		t.Errorf("another error: %s", got)
	}
}

// Progress counts what is done: not a tenant that the end of the run cut short, and once
// one whose commit the server has lost.
func TestProgressCountsWhatIsDone(t *testing.T) {
	t.Parallel()
	b := newBench(t)
	f := b.factory(t)
	p, err := f.printer()
	if err != nil {
		t.Fatal(err)
	}
	w := newRunWatch(f, p, 4)
	ended := func(slug string, state migrate.State) {
		w.observe(migrate.TenantFinished{Outcome: migrate.Outcome{Tenant: registry.Tenant{Slug: slug}, State: state,
			Err: errors.New("why")}})
	}
	for _, step := range []struct {
		slug  string
		state migrate.State
		want  string
	}{
		{"a", migrate.Migrated, "ok=1 failed=0 retrying=0"},
		{"b", migrate.NotStarted, "ok=1 failed=0 retrying=0"},
		{"c", migrate.Failed, "ok=1 failed=1 retrying=0"},
		{"a", migrate.Migrated, "ok=1 failed=1 retrying=0"},
		{"a", migrate.Failed, "ok=0 failed=2 retrying=0"},
		{"d", migrate.Current, "ok=1 failed=2 retrying=0"},
	} {
		ended(step.slug, step.state)
		if got := w.fields(); got != step.want {
			t.Errorf("after %s %s: %s, want %s", step.slug, step.state, got, step.want)
		}
	}
	w.bar.Finish()
}
