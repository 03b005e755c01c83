package migrate_test

import (
	"errors"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
)

func TestVerify(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	old, plan := plans(t, map[string]string{"1_a.sql": first, "2_b.sql": second, "3_c.sql": "create table c (x int);"})
	tenants := append(f.Create(t, old, fleettest.Names(250)...), f.Create(t, plan, "gone", "bare", "locked",
		"late", "ahead")...)
	at := func(slug string) int {
		for i, tn := range tenants {
			if tn.Slug == slug {
				return i
			}
		}
		t.Fatal(slug)
		return 0
	}
	f.Exec(t, "drop schema tenant_gone cascade", "drop table tenant_bare.goose_db_version",
		"delete from tenant_late.goose_db_version where version_id = 2",
		"insert into tenant_ahead.goose_db_version (version_id, is_applied) values (9, true)")
	holder := f.Connect(t)
	for _, sql := range []string{"begin", "lock table tenant_locked.goose_db_version"} {
		if _, err := holder.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	actual, err := plan.Verify(t.Context(), f.Connect(t), tenants, 50*time.Millisecond)
	if err != nil {
		t.Fatal(err)
	}
	for i, tn := range tenants[:250] {
		if actual[i].Version != 1 || actual[i].Err != nil || len(actual[i].Late) != 0 {
			t.Errorf("%s: %+v", tn.Slug, actual[i])
		}
	}
	if got := actual[at("gone")].Err; !errors.Is(got, db.ErrWrongSchema) {
		t.Errorf("gone: %v", got)
	}
	if got := actual[at("bare")].Err; !errors.Is(got, migrate.ErrNotManaged) {
		t.Errorf("bare: %v", got)
	}
	if got := actual[at("locked")].Err; db.SQLState(got) != db.CodeLockNotAvailable {
		t.Errorf("locked: %v", got)
	}
	if got := actual[at("late")]; got.Version != 3 || len(got.Late) != 1 || got.Late[0].File != "2_b.sql" {
		t.Errorf("late: %+v", got)
	}
	if got := actual[at("ahead")]; got.Version != 9 {
		t.Errorf("ahead: %+v", got)
	}
}
