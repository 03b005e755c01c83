package migrate_test

import (
	"fmt"
	"io/fs"
	"runtime"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/crmctl/crmctl/internal/migrate"
)

// histories are files of tenants that were migrated for years, and files full of rows.
func histories() map[string]func() fs.FS {
	return map[string]func() fs.FS{
		"5000Files": func() fs.FS {
			files := fstest.MapFS{}
			for i := 1; i <= 5000; i++ {
				sql := fmt.Sprintf("create table t%d (id bigint primary key, name text);\n", i)
				files[fmt.Sprintf("%05d_m.sql", i)] = &fstest.MapFile{Data: []byte("-- +goose Up\n" + sql)}
			}
			return files
		},
		"50MB": func() fs.FS {
			files := fstest.MapFS{"00001_words.sql": &fstest.MapFile{Data: []byte("-- +goose Up\ncreate table words (w " +
				"text);\n")}}
			row := "insert into words values ('" + strings.Repeat("x", 1000) + "');\n"
			text := []byte("-- +goose Up\n" + strings.Repeat(row, 1000000/len(row)))
			for i := 2; i <= 51; i++ {
				files[fmt.Sprintf("%05d_rows.sql", i)] = &fstest.MapFile{Data: text}
			}
			return files
		},
	}
}

// BenchmarkCompileLarge compiles such histories, and says what a plan keeps in memory: all
// tenants of a fleet share it.
func BenchmarkCompileLarge(b *testing.B) {
	for name, files := range histories() {
		b.Run(name, func(b *testing.B) {
			fsys := files()
			var plan *migrate.Plan
			var before, after runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&before)
			for b.Loop() {
				var err error
				if plan, err = migrate.Compile(b.Context(), fsys); err != nil {
					b.Fatal(err)
				}
			}
			runtime.GC()
			runtime.ReadMemStats(&after)
			b.ReportMetric(float64(int64(after.HeapAlloc)-int64(before.HeapAlloc))/1e6, "MB-kept")
			if plan.Head() == 0 {
				b.Fatal("the plan is empty")
			}
		})
	}
}
