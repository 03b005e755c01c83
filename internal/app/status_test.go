package app_test

import (
	"errors"
	"testing"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
)

func TestStatus(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	dir := files(t, map[string]string{"00001_a.sql": "create table a (x int);", "00002_b.sql": "create table b (x int);"})
	a, _ := open(t, f, dir)
	for slug, to := range map[string]int64{"behind": 1, "gone": 2, "newest": 2, "restored": 2} {
		if _, err := a.CreateTenants(t.Context(), app.CreateOptions{Specs: specs(slug), To: to}); err != nil {
			t.Fatal(err)
		}
	}
	f.Exec(t, "drop schema tenant_gone cascade", "delete from tenant_restored.goose_db_version where version_id = 2")
	read := func(o app.StatusOptions) *app.Status {
		t.Helper()
		o.Selection = all(t)
		s, err := a.Status(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Tenants) != 4 || s.Plan.Head() != 2 || s.Newer != 0 {
			t.Fatalf("%+v", s)
		}
		return s
	}
	if s := read(app.StatusOptions{}); s.Behind != 1 || s.Wrong != 0 || len(s.Tenants[0].Pending) != 1 {
		t.Errorf("by the registry: %+v", s)
	}
	s := read(app.StatusOptions{Verify: true})
	if s.Behind != 2 || s.Wrong != 2 {
		t.Errorf("by the schemas: %d behind, %d wrong", s.Behind, s.Wrong)
	}
	if gone := s.Tenants[1]; !gone.Wrong() || !errors.Is(gone.Err, db.ErrWrongSchema) || len(gone.Pending) != 0 {
		t.Errorf("%+v", gone)
	}
	if r := s.Tenants[3]; !r.Wrong() || r.Version != 1 || r.Registered != 2 || len(r.Pending) != 1 || r.Err != nil {
		t.Errorf("%+v", r)
	}
}
