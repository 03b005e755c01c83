package tenant_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// TestTwins: over their whole life two names that agree in all the bytes
// that PostgreSQL keeps are two tenants with two schemas and two roles, and a move of
// one never is a move of the other.
func TestTwins(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	conn, o := f.Connect(t), tenant.MoveOptions{LockTimeout: time.Second}
	base := unique("twin")
	base += strings.Repeat("x", 63-len(base))
	var twins [2]registry.Tenant
	for i, end := range []string{"a", "b"} {
		made, err := tenant.Create(t.Context(), conn, tenant.Spec{Slug: base + end, Role: true}, options(t))
		if err != nil {
			t.Fatal(err)
		}
		dropAtEnd(t, f, made.Role)
		f.Exec(t, "insert into "+made.Schema.Quoted()+".contacts (name) values ('"+end+"')")
		twins[i] = made
	}
	moved, other := twins[1], twins[0]
	if moved.Schema == other.Schema || moved.Role == other.Role || len(moved.Role) > 63 {
		t.Fatalf("schemas %s, %s, roles %s, %s", moved.Schema, other.Schema, moved.Role, other.Role)
	}
	// whole wants the other twin as it was, whatever became of this one.
	whole := func(after string) {
		t.Helper()
		got, err := registry.Default().Get(t.Context(), conn, other.Slug)
		if err != nil || got.Status != registry.Active || got.Schema != other.Schema || got.Role != other.Role ||
			got.ID != other.ID {
			t.Errorf("after %s: %+v, %v", after, got, err)
		}
		if !can(t, f, other.Role, "select * from "+other.Schema.Quoted()+".contacts") {
			t.Errorf("after %s: the other's role is shut out", after)
		}
		if n := f.Int(t, "select count(*) from "+other.Schema.Quoted()+".contacts where name = 'a'"); n != 1 {
			t.Errorf("after %s: the other's data is gone", after)
		}
	}
	if _, err := tenant.Suspend(t.Context(), conn, moved.Slug, o); err != nil {
		t.Fatal(err)
	}
	whole("suspend")
	if can(t, f, moved.Role, "select * from "+moved.Schema.Quoted()+".contacts") {
		t.Error("the suspended twin's role is let in")
	}
	if _, err := tenant.Activate(t.Context(), conn, moved.Slug, o); err != nil {
		t.Fatal(err)
	}
	whole("activate")
	_, renamed, err := tenant.Rename(t.Context(), conn, moved.Slug, tenant.Renaming{Slug: base + "c", Schema: true}, o)
	if err != nil {
		t.Fatal(err)
	}
	dropAtEnd(t, f, renamed.Role)
	whole("rename")
	if renamed.Schema == moved.Schema || renamed.Schema == other.Schema {
		t.Errorf("renamed to %s", renamed.Schema)
	}
	if n := f.Int(t, "select count(*) from "+renamed.Schema.Quoted()+".contacts where name = 'b'"); n != 1 {
		t.Error("the renamed twin has lost its data")
	}
	purgeNow(t, f, renamed.Slug)
	whole("purge")
	if n := f.Int(t, fmt.Sprintf("select (select count(*) from pg_namespace where nspname = '%[1]s') + (select count(*) "+
		"from pg_roles where rolname = '%[1]s')", renamed.Schema)); n != 0 {
		t.Errorf("%d things of the purged twin stayed", n)
	}
	events := 0
	for entry, err := range registry.Default().History(t.Context(), conn, other.Slug, 0) {
		if err != nil {
			t.Fatal(err)
		}
		if entry.TenantID != other.ID {
			t.Errorf("the other's history tells of %s", entry.Tenant)
		}
		events++
	}
	if events != 1 {
		t.Errorf("%d entries in the other's history", events)
	}
}
