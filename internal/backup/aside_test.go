package backup_test

import (
	"bytes"
	"context"
	"errors"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// TestRestoreOverADeletedTenant: the deleted one keeps its data, its role and its way
// back under another name, in the transaction that makes the other; where that fails
// nothing has changed.
func TestRestoreOverADeletedTenant(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.TenantPlan(t, 0)
	src := roled(t, f, plan)
	in(t, f, src.Schema, `insert into contacts (name) values ('saved')`)
	file, _ := write(t, f, backup.Source{ID: src.ID, Slug: src.Slug, Schema: src.Schema})
	in(t, f, src.Schema, `insert into contacts (name) values ('later')`)
	move := tenant.MoveOptions{Actor: "test", LockTimeout: 5 * time.Second}
	// Its own code does not run as ours: the path of the statements is not its schema.
	in(t, f, src.Schema, `create table t (n int)`,
		`create function unnest(text[]) returns setof text language sql as 'select ''planted'' from t where 1/0 > 0'`)
	if _, err := tenant.Delete(t.Context(), f.Connect(t), src.Slug, time.Hour, move); err != nil {
		t.Fatal(err)
	}
	restore := func(file []byte) (*backup.Made, error) {
		o := backup.RestoreOptions{NewTenant: newTenant(plan, registry.ActionRestore)}
		o.SetAside = func(ctx context.Context, q db.Querier, slug string, schema db.Schema) (string, error) {
			t, err := tenant.SetAside(ctx, q, slug, schema, move)
			return t.Slug, err
		}
		return backup.Restore(t.Context(), f.Connect(t), bytes.NewReader(file), o)
	}
	before, err := registry.Default().Get(t.Context(), f.Connect(t), src.Slug)
	if err != nil {
		t.Fatal(err)
	}
	bad := bytes.Clone(file)
	bad[len(bad)-60] ^= 1 // the end, which is read last
	if _, err := restore(bad); !errors.Is(err, backup.ErrCorrupt) {
		t.Fatalf("a damaged file: %v", err)
	}
	if after, err := registry.Default().Get(t.Context(), f.Connect(t), src.Slug); err != nil || after.ID != before.ID ||
		after.Schema != before.Schema || after.Role != before.Role {
		t.Fatalf("a restore that failed has left %+v, %v", after, err)
	}

	made, err := restore(file)
	if err != nil {
		t.Fatal(err)
	}
	now, err := registry.Default().Get(t.Context(), f.Connect(t), src.Slug)
	if err != nil || now.Status != registry.Active || now.ID == before.ID || now.Schema != before.Schema ||
		now.Role != before.Role {
		t.Errorf("the restored tenant is %+v, %v", now, err)
	}
	kept, err := registry.Default().Get(t.Context(), f.Connect(t), made.SetAside)
	if err != nil || kept.ID != before.ID || kept.Status != registry.Deleted ||
		!kept.PurgeAfter.Equal(*before.PurgeAfter) ||
		kept.Schema == before.Schema || kept.Role != kept.Schema.String() {
		t.Errorf("the deleted tenant is %+v, %v", kept, err)
	}
	if n := f.Int(t, "select count(*) from "+now.Schema.Quoted()+".contacts where name = 'later'"); n != 0 {
		t.Error("the restored tenant has what was written after the backup")
	}
	for role, want := range map[string]string{now.Role: "", kept.Role: db.CodeInsufficientPrivilege} {
		schema := now.Schema
		if role == kept.Role {
			schema = kept.Schema
		}
		if got := refused(t, f, role, "select from "+schema.Quoted()+".contacts"); got != want {
			t.Errorf("%s in %s: %q, want %q", role, schema, got, want)
		}
	}
	if got := refused(t, f, kept.Role, "select from "+now.Schema.Quoted()+
		".contacts"); got != db.CodeInsufficientPrivilege {
		t.Errorf("the role of the deleted tenant in the restored one: %q", got)
	}
	if _, err := tenant.Undelete(t.Context(), f.Connect(t), kept.Slug, move); err != nil {
		t.Error(err)
	}
	if n := f.Int(t, "select count(*) from "+kept.Schema.Quoted()+".contacts where name = 'later'"); n != 1 {
		t.Error("the deleted tenant has lost a row")
	}

	// An active tenant makes no room, and one that is being purged neither.
	if _, err := restore(file); !errors.Is(err, registry.ErrExists) {
		t.Errorf("over an active one: %v", err)
	}
	f.Exec(t, "update public.tenants set status = 'deleted', deleted_at = now(), purge_after = now(), purge_started_at "+
		"= now() where slug = '"+now.Slug+"'")
	if _, err := restore(file); !errors.Is(err, registry.ErrState) {
		t.Errorf("over one that is being purged: %v", err)
	}
}
