package backup_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// A backup is one moment: two tables that every transaction changes together agree
// in it, however busy the writers are.
func TestBackupIsOneMoment(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{"00001_a.sql": `create table a (id bigint);
		create table z (id bigint); create table middle (x text);`}))
	src := f.Create(t, plan, "acme")[0]
	in(t, f, src.Schema, `insert into middle select repeat('x', 500) from generate_series(1, 20000)`)
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	for range 2 {
		conn := f.Connect(t)
		writers.Go(func() {
			for ctx.Err() == nil {
				err := db.InTx(t.Context(), conn, db.Locals{Schema: src.Schema}, func(ctx context.Context, q db.Querier) error {
					_, err := q.Exec(ctx, "insert into a values (1)")
					if err == nil {
						_, err = q.Exec(ctx, "insert into z values (1)")
					}
					return err
				})
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	var last int64 = -1
	for range 5 {
		_, m := write(t, f, source(src))
		rows := map[string]int64{}
		for _, table := range m.Tables {
			rows[table.Name] = table.Rows
		}
		if rows["a"] != rows["z"] || rows["a"] <= last {
			t.Errorf("a has %d rows, z %d, before it were %d", rows["a"], rows["z"], last)
		}
		last = rows["a"]
	}
	stop()
	writers.Wait()
}

// A table that is truncated or rewritten between the snapshot and the lock would
// look empty to the snapshot: it is noticed, and read again.
func TestMovedTablesAreReadAgain(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]string{
		"truncated": "truncate contacts cascade; insert into contacts (email) values ('after@example.com')",
		"rewritten": "alter table contacts alter column name type varchar(500), alter column created_at type timestamp",
		"dropped":   "alter table contacts drop column name",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := fleettest.New(t)
			src := f.Create(t, fleettest.TenantPlan(t, 0), "acme")[0]
			in(t, f, src.Schema, `insert into contacts (email) select 'c' || g || '@example.com' from generate_series(1, 100) g`)
			// The change holds its lock while the backup begins, and commits while that
			// waits for it.
			other := f.Connect(t)
			for _, sql := range append([]string{"begin", "set local search_path = " + src.Schema.Quoted()},
				strings.Split(change, "; ")...) {
				if _, err := other.Exec(t.Context(), sql); err != nil {
					t.Fatal(err)
				}
			}
			committed := make(chan error, 1)
			go func() {
				time.Sleep(300 * time.Millisecond)
				_, err := other.Exec(context.Background(), "commit")
				committed <- err
			}()
			_, m := write(t, f, source(src))
			if err := <-committed; err != nil {
				t.Fatal(err)
			}
			want := int64(100)
			if name == "truncated" {
				want = 1
			}
			for _, table := range m.Tables {
				if table.Name == "contacts" && table.Rows != want {
					t.Errorf("%d rows, want %d", table.Rows, want)
				}
			}
		})
	}
}

// A lock that somebody holds on is waited for no longer than lock_timeout.
func TestLockedTablesAreNotWaitedFor(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	src := f.Create(t, fleettest.TenantPlan(t, 0), "acme")[0]
	other := f.Connect(t)
	for _, sql := range []string{"begin", "lock table " + src.Schema.Quoted() + ".contacts"} {
		if _, err := other.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	var out bytes.Buffer
	_, err := backup.Write(t.Context(), f.Connect(t), source(src), &out,
		backup.WriteOptions{Limits: backup.Limits{LockTimeout: 100 * time.Millisecond}})
	if db.SQLState(err) != db.CodeLockNotAvailable || !db.Retryable(err) {
		t.Errorf("error %v, want 55P03", err)
	}
}

// The schema of a registered tenant is gone: that is said, and nothing is written.
func TestMissingSchema(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	src := f.Create(t, fleettest.TenantPlan(t, 0), "acme")[0]
	f.Exec(t, "drop schema "+src.Schema.Quoted()+" cascade")
	var out bytes.Buffer
	_, err := backup.Write(t.Context(), f.Connect(t), source(src), &out, backup.WriteOptions{})
	if !errors.Is(err, db.ErrWrongSchema) || out.Len() != 0 {
		t.Errorf("error %v, %d bytes", err, out.Len())
	}
}

// A role that owns the schemas and is no superuser can do all of it.
func TestWithoutSuperuser(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	role := strings.ToLower("backup_" + t.Name()[4:])
	var database string
	f.Scan(t, []any{&database}, "select current_database()")
	f.Exec(t, fmt.Sprintf("drop role if exists %s", role), fmt.Sprintf("create role %s login", role),
		fmt.Sprintf("grant create on database %s to %s", pgx.Identifier{database}.Sanitize(), role),
		fmt.Sprintf("grant usage on schema public to %s", role),
		fmt.Sprintf("grant select, insert, update, delete on all tables in schema public to %s", role))
	t.Cleanup(func() { f.Exec(t, "drop owned by "+role+" cascade", "drop role "+role) })
	u, err := url.Parse(f.DSN)
	if err != nil {
		t.Skip("the server's connection string is no URL")
	}
	u.User = url.User(role)
	mine := &fleettest.Fleet{DSN: u.String()}
	plan := fleettest.Plan(t, everything())
	src := mine.Create(t, plan, "acme")[0]
	in(t, mine, src.Schema, rows...)
	before := hashes(t, mine, src.Schema)
	file, _ := write(t, mine, source(src))
	made, err := backup.Restore(t.Context(), mine.Connect(t), bytes.NewReader(file),
		backup.RestoreOptions{NewTenant: newTenant(plan, "restore"), As: "copy"})
	if err != nil {
		t.Fatal(err)
	}
	schema, err := db.RegisteredSchema(made.Tenant.Schema)
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, before, hashes(t, mine, schema))
	cloned, err := clone(t, mine, plan, src, backup.CloneOptions{Slug: "third"})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, before, hashes(t, mine, cloned))

	// Somebody else's table is an error that names it, not a table left out.
	f.Exec(t, "create table "+src.Schema.Quoted()+".foreign_one (x int)")
	var out bytes.Buffer
	_, err = backup.Write(t.Context(), mine.Connect(t), source(src), &out, backup.WriteOptions{})
	if db.SQLState(err) != db.CodeInsufficientPrivilege || !strings.Contains(err.Error(), "foreign_one") || out.Len() > 0 {
		t.Errorf("error %v, want 42501", err)
	}
}

// Rows that a policy hides are an error, not rows left out.
func TestHiddenRows(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	src := f.Create(t, fleettest.TenantPlan(t, 0), "acme")[0]
	role := "backup_hidden"
	f.Exec(t, "drop role if exists "+role, "create role "+role+" login", "grant usage on schema public, "+
		src.Schema.Quoted()+" to "+role,
		"grant select on all tables in schema public, "+src.Schema.Quoted()+" to "+role,
		"alter table "+src.Schema.Quoted()+".contacts enable row level security",
		"create policy a_few on "+src.Schema.Quoted()+".contacts using (email like 'a%')")
	t.Cleanup(func() { f.Exec(t, "drop owned by "+role+" cascade", "drop role "+role) })
	in(t, f, src.Schema, `insert into contacts (email) values ('a@example.com'), ('b@example.com')`)
	u, err := url.Parse(f.DSN)
	if err != nil {
		t.Skip("the server's connection string is no URL")
	}
	u.User = url.User(role)
	mine := &fleettest.Fleet{DSN: u.String()}
	var out bytes.Buffer
	if _, err := backup.Write(t.Context(), mine.Connect(t), source(src), &out,
		backup.WriteOptions{}); db.SQLState(err) != db.CodeInsufficientPrivilege {
		t.Errorf("error %v, want 42501", err)
	}
}
