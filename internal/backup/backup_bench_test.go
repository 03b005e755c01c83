package backup_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// BenchmarkBackup compares a backup with plain COPY of the same tables on the same
// connection, in the same run: of an empty tenant, which is what the catalog costs,
// and of one with some 10 MB. The other tenants of the fleet are there to show that
// they cost nothing.
func BenchmarkBackup(b *testing.B) {
	f := fleettest.New(b)
	names := append(fleettest.Names(100), "empty", "large")
	tenants := f.Create(b, fleettest.TenantPlan(b, 0), names...)
	empty, large := tenants[len(tenants)-2], tenants[len(tenants)-1]
	conn := f.Connect(b)
	err := db.InTx(b.Context(), conn, db.Locals{Schema: large.Schema}, func(ctx context.Context, q db.Querier) error {
		_, err := q.Exec(ctx, `insert into contacts (email, name, phone, metadata)
			select md5(g::text) || '@example.com', 'Person ' || md5(g::text), '+49' || g, jsonb_build_object('city',
				md5(g::text)) from generate_series(1, 55000) g`)
		return err
	})
	if err != nil {
		b.Fatal(err)
	}
	f.Exec(b, "vacuum analyze")
	for name, src := range map[string]backup.Source{"empty": source(empty), "large": source(large)} {
		var size int64
		b.Run(name+"/plain-copy", func(b *testing.B) {
			for b.Loop() {
				size = 0
				err := db.InTx(b.Context(), conn, db.Locals{Schema: src.Schema}, func(ctx context.Context, _ db.Querier) error {
					for _, table := range []string{"contacts", "conversations", "messages", "goose_db_version"} {
						if _, err := conn.PgConn().CopyTo(ctx, &sized{&size}, "copy "+table+" to stdout"); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(size)
		})
		b.Run(name+"/write", func(b *testing.B) {
			for b.Loop() {
				if _, err := backup.Write(b.Context(), conn, src, io.Discard, backup.WriteOptions{}); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(size)
		})
		b.Run(name+"/create", func(b *testing.B) {
			dir, err := backup.OpenDir(b.TempDir(), false)
			if err != nil {
				b.Fatal(err)
			}
			defer dir.Close()
			n := 0
			for b.Loop() {
				n++
				as := src
				as.Slug = fmt.Sprintf("%s-%d", src.Slug, n)
				if _, err := dir.Create(b.Context(), conn, as, backup.CreateOptions{Audit: audit("backup")}); err != nil {
					b.Fatal(err)
				}
			}
			b.SetBytes(size)
		})
	}
	var file bytes.Buffer
	if _, err := backup.Write(b.Context(), conn, source(large), &file, backup.WriteOptions{}); err != nil {
		b.Fatal(err)
	}
	b.Run("large/verify", func(b *testing.B) {
		for b.Loop() {
			if _, err := backup.Verify(bytes.NewReader(file.Bytes()), nil); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("large/restore", func(b *testing.B) {
		plan := fleettest.TenantPlan(b, 0)
		for n := 0; b.Loop(); n++ {
			o := backup.RestoreOptions{NewTenant: newTenant(plan, "restore"), As: fmt.Sprintf("copy-%d-%d", n,
				time.Now().UnixNano())}
			if _, err := backup.Restore(b.Context(), conn, bytes.NewReader(file.Bytes()), o); err != nil {
				b.Fatal(err)
			}
		}
	})
}

type sized struct{ n *int64 }

func (s *sized) Write(p []byte) (int, error) {
	*s.n += int64(len(p))
	return len(p), nil
}
