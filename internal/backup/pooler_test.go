//go:build unix

package backup_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/localpg"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// Behind PgBouncer in transaction mode backups, restores and clones share two server
// connections with a client that works in another schema, and each gets its own rows.
func TestThroughAPooler(t *testing.T) {
	t.Parallel()
	const n = 6
	direct := fleettest.New(t)
	pooled := &fleettest.Fleet{DSN: pgtest.Pooler(t, direct.DSN)}
	plan := fleettest.Plan(t, everything())
	tenants := pooled.Create(t, plan, append(fleettest.Names(n), "busy")...)
	busy := tenants[n]
	tenants = tenants[:n]
	sources := make([]backup.Source, n)
	want := make([]map[string]string, n)
	for i, src := range tenants {
		in(t, pooled, src.Schema, rows...)
		in(t, pooled, src.Schema, fmt.Sprintf("insert into zoo (txt) values ('only in %s')", src.Slug))
		sources[i], want[i] = source(src), hashes(t, direct, src.Schema)
	}
	stop, worked := make(chan struct{}), make(chan int, 1)
	go func() {
		done := 0
		defer func() { worked <- done }()
		conn, err := pooled.Dial(context.Background())
		if err != nil {
			t.Error(err)
			return
		}
		defer func() { _ = conn.Close(context.Background()) }()
		for {
			select {
			case <-stop:
				return
			default:
			}
			err := db.InTx(context.Background(), conn, db.Locals{Schema: busy.Schema},
				func(ctx context.Context, q db.Querier) error {
					_, err := q.Exec(ctx, "insert into zoo (txt) values ('busy')")
					return err
				})
			if err != nil {
				t.Error(err)
				return
			}
			done++
		}
	}()
	dir, err := backup.OpenDir(filepath.Join(t.TempDir(), "b"), true)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Close() }()
	written, results, err := dir.CreateMany(t.Context(), pooled.Dial, sources, backup.CreateOptions{
		WriteOptions: backup.WriteOptions{Limits: backup.Limits{LockTimeout: 10 * time.Second}}, Audit: audit("backup"),
	}, fleet.Options{Concurrency: 3})
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range results {
		if r.Err != nil {
			t.Fatal(r.Err)
		}
		if written[i].Unaudited || written[i].Manifest.Tenant.Slug != tenants[i].Slug {
			t.Errorf("written %+v", written[i])
		}
	}
	var wg sync.WaitGroup
	made := make([]*backup.Made, n)
	for i := range tenants {
		wg.Go(func() {
			conn, err := pooled.Dial(t.Context())
			if err != nil {
				t.Error(err)
				return
			}
			defer func() { _ = conn.Close(context.Background()) }()
			file, err := os.ReadFile(dir.Path(written[i].File))
			if err != nil {
				t.Error(err)
				return
			}
			made[i], err = backup.Restore(t.Context(), conn, bytes.NewReader(file),
				backup.RestoreOptions{NewTenant: newTenant(plan, "restore"), As: tenants[i].Slug + "-copy"})
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	close(stop)
	if done := <-worked; done < 3 {
		t.Errorf("the other client did %d transactions meanwhile: the test shows nothing", done)
	}
	for i, m := range made {
		if m == nil {
			continue
		}
		schema, err := db.RegisteredSchema(m.Tenant.Schema)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, want[i], hashes(t, direct, schema))
		wantEqual(t, want[i], hashes(t, direct, tenants[i].Schema))
	}
	cloned, err := clone(t, pooled, plan, tenants[0], backup.CloneOptions{Slug: "third"})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, want[0], hashes(t, direct, cloned))
	if got := direct.Int(t, "select count(*) from public.tenant_events where action = 'backup'"); got != n {
		t.Errorf("%d backups in the audit, want %d", got, n)
	}
	// What a transaction has set does not stay on the server's connections.
	for range 4 {
		var settings string
		pooled.Scan(t, []any{&settings}, "select concat_ws(' ', current_setting('search_path'), "+
			"current_setting('row_security'), current_setting('extra_float_digits'))")
		if settings != `"$user", public on 1` {
			t.Errorf("left on a connection: %s", settings)
		}
	}
}

// A server that only reads gives backups, of which it keeps no audit, and takes none.
func TestServersThatOnlyRead(t *testing.T) {
	t.Parallel()
	server, o := pgtest.Instance(t, nil)
	f := &fleettest.Fleet{DSN: server.DSN}
	f.Registry(t)
	plan := fleettest.Plan(t, everything())
	src := f.Create(t, plan, "acme")[0]
	in(t, f, src.Schema, rows...)
	want := hashes(t, f, src.Schema)

	inspect := func(what string, f *fleettest.Fleet) {
		t.Helper()
		dir, err := backup.OpenDir(filepath.Join(t.TempDir(), "b"), true)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = dir.Close() }()
		options := backup.CreateOptions{WriteOptions: backup.WriteOptions{Limits: backup.Limits{LockTimeout: time.Second}},
			Audit: audit("backup")}
		w, err := dir.Create(t.Context(), f.Connect(t), source(src), options)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		if !w.Unaudited || w.Manifest.LSN == "" || w.Manifest.LSN == "0/0" {
			t.Errorf("%s: written %+v, %+v", what, w, w.Manifest)
		}
		if _, err := dir.CreateRegistry(t.Context(), f.Connect(t), []string{"tenants", "tenant_events"}, 6,
			options); err != nil {
			t.Errorf("%s: the registry: %v", what, err)
		}
		file, err := os.ReadFile(dir.Path(w.File))
		if err != nil {
			t.Fatal(err)
		}
		conn := f.Connect(t)
		_, err = backup.Restore(t.Context(), conn, bytes.NewReader(file),
			backup.RestoreOptions{NewTenant: newTenant(plan, "restore"), As: "copy"})
		if db.SQLState(err) != db.CodeReadOnlyTransaction {
			t.Errorf("%s: a restore: %v, want 25006", what, err)
		}
		if _, err := clone(t, f, plan, src, backup.CloneOptions{Slug: "copy"}); db.SQLState(err) != db.CodeReadOnlyTransaction {
			t.Errorf("%s: a clone: %v, want 25006", what, err)
		}
		other := fleettest.New(t)
		made, err := backup.Restore(t.Context(), other.Connect(t), bytes.NewReader(file),
			backup.RestoreOptions{NewTenant: newTenant(plan, "restore")})
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		schema, err := db.RegisteredSchema(made.Tenant.Schema)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, want, hashes(t, other, schema))
	}
	inspect("read only", &fleettest.Fleet{DSN: f.DSN + "&default_transaction_read_only=on"})

	// The same server again, as a standby.
	if err := server.Stop(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(server.DataDir, "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	server, err := localpg.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	f = &fleettest.Fleet{DSN: server.DSN}
	if n := f.Int(t, "select count(*) where pg_is_in_recovery()"); n != 1 {
		t.Fatal("the server is no standby")
	}
	inspect("standby", f)
}
