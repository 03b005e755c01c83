package main

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/spf13/cobra"
)

func TestAdoptOptions(t *testing.T) {
	t.Parallel()
	base := migrateAdoptOptions{from: "goose", stripPrefix: "tenant_", lockTimeout: 2 * time.Second}
	for _, tt := range []struct {
		env  string
		args []string
		want func(*migrateAdoptOptions)
	}{
		{args: []string{"--schema", "a,b=c,tenant_*"}, want: func(o *migrateAdoptOptions) {
			o.schemas = []string{"a", "b=c", "tenant_*"}
		}},
		{env: "CRMCTL_DRY_RUN=1", args: []string{"--from-file", "-", "--exclude", "x", "--strip-prefix", ""},
			want: func(o *migrateAdoptOptions) {
				o.fromFile, o.exclude, o.stripPrefix, o.dryRun = "-", []string{"x"}, "", true
			}},
		{args: []string{"--schema", "a", "--from", "knex", "--map", "m.yaml", "--knex-table", "kt", "--concurrency", "8",
			"--lock-timeout", "1s"}, want: func(o *migrateAdoptOptions) {
			o.schemas, o.from, o.mapFile, o.table, o.concurrency, o.lockTimeout = []string{"a"}, "knex", "m.yaml", "kt",
				8, time.Second
		}},
		{args: []string{"--schema", "a", "--from", "knex", "--up-to", "4"}, want: func(o *migrateAdoptOptions) {
			o.schemas, o.from, o.upTo = []string{"a"}, "knex", 4
		}},
	} {
		want := base
		tt.want(&want)
		var got migrateAdoptOptions
		newBench(t).setenv(tt.env).parse(t, func(f *factory) *cobra.Command {
			return newMigrateAdoptCmd(f, func(_ context.Context, _ *factory, o *migrateAdoptOptions) error {
				got = *o
				return nil
			})
		}, append([]string{"adopt"}, tt.args...)...)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(migrateAdoptOptions{})); diff != "" {
			t.Errorf("%s %v: %s", tt.env, tt.args, diff)
		}
	}
}
