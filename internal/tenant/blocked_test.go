package tenant_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// TestPurgeOfALockedTenant saves it once, not once an attempt, and names the session
// that is in the way; what that one writes before it ends is saved, too.
func TestPurgeOfALockedTenant(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	f.Exec(t, deleteAll)
	other := f.Connect(t)
	for _, sql := range []string{"set application_name = 'report'", "begin",
		"insert into tenant_acme.contacts (name) values ('Ada')"} {
		if _, err := other.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	pid := other.PgConn().PID()
	o := purgeOptions()
	o.LockTimeout = 50 * time.Millisecond
	var saved []int64 // rows, as a backup would see them
	o.Before = func(context.Context, registry.Tenant) error {
		saved = append(saved, f.Int(t, "select count(*) from tenant_acme.contacts"))
		return nil
	}
	run := fleet.Options{Attempts: 4, Backoff: func(int) time.Duration { return 10 * time.Millisecond }}
	_, results, _ := tenant.PurgeMany(t.Context(), f.Dial, due(t, f), o, run)
	blocked, ok := errors.AsType[*db.BlockedError](results[0].Err)
	if !ok || db.SQLState(blocked) != db.CodeLockNotAvailable {
		t.Fatalf("%v, want a *BlockedError", results[0].Err)
	}
	if b := blocked.Blockers[0]; b.PID != int32(pid) || b.Application != "report" || b.State != "idle in transaction" {
		t.Errorf("in the way: %+v, want pid %d", b, pid)
	}
	if text := blocked.Error(); !strings.Contains(text, `tenant "acme"`) ||
		!strings.Contains(text, fmt.Sprintf("in the way: pid %d (", pid)) {
		t.Errorf("%s names neither the tenant nor who is in the way", text)
	}
	if len(saved) != 1 {
		t.Errorf("saved %d times in %d attempts", len(saved), results[0].Attempts)
	}

	// The other one commits between two attempts.
	first := saved[0]
	saved = nil
	attempts := 0
	run.Backoff = func(int) time.Duration {
		if attempts++; attempts == 2 {
			if _, err := other.Exec(context.WithoutCancel(t.Context()), "commit"); err != nil {
				t.Error(err)
			}
		}
		return 10 * time.Millisecond
	}
	if _, results, _ := tenant.PurgeMany(t.Context(), f.Dial, due(t, f), o, run); results[0].Err != nil {
		t.Fatal(results[0].Err)
	}
	if len(saved) != 2 || saved[1] != first+1 {
		t.Errorf("saved with %v rows, want %d and then %d", saved, first, first+1)
	}
}
