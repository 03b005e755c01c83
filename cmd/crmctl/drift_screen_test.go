package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/catalog"
	"github.com/crmctl/crmctl/internal/cli"
)

func TestMigrateDriftOptions(t *testing.T) {
	t.Parallel()
	for args, want := range map[string]migrateDriftOptions{
		"drift":                                 {},
		"drift --fix-sql --concurrency 2":       {fixSQL: true, concurrency: 2},
		"drift --ignore comment,column-order":   {ignore: []string{"comment", "column-order"}},
		"drift --tenant a,b* --exclude c":       {selection: selection{tenants: []string{"a", "b*"}, exclude: []string{"c"}}},
		"drift --tenants-from - --ignore INDEX": {selection: selection{from: "-"}, ignore: []string{"INDEX"}},
	} {
		var got migrateDriftOptions
		newBench(t).parse(t, func(f *factory) *cobra.Command {
			return newMigrateDriftCmd(f, func(_ context.Context, _ *factory, o *migrateDriftOptions) error {
				got = *o
				return nil
			})
		}, strings.Fields(args)...)
		if !strings.Contains(args, "--concurrency") {
			got.concurrency = 0
		}
		got.lockTimeout = 0
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s: got %+v, want %+v", args, got, want)
		}
	}
}

func TestDriftScreen(t *testing.T) {
	t.Parallel()
	tenants := func(prefix string, n int) []catalog.Tenant {
		out := make([]catalog.Tenant, n)
		for i := range out {
			out[i].Slug = fmt.Sprintf("%s%03d", prefix, i+1)
		}
		return out
	}
	function := func(body string) string {
		return "CREATE OR REPLACE FUNCTION touch()\n RETURNS trigger\n LANGUAGE plpgsql\nAS $function$ begin\n" + body +
			"\nend $function$\n"
	}
	d := catalog.Drift{
		Tenants: 5000, Clean: 4983,
		Groups: []catalog.Group{
			{Version: 4, Tenants: tenants("t", 13), Differences: []catalog.Difference{
				{Change: catalog.Missing, Object: catalog.Object{Kind: catalog.KindIndex, Parent: "contacts",
					Name: "idx_contacts_phone"},
					Want: "CREATE INDEX idx_contacts_phone ON contacts USING btree (phone, a_column_with_a_long_name, " +
						"another_column_with_a_longer_name)"},
				{Change: catalog.Changed, Object: catalog.Object{Kind: catalog.KindColumn, Parent: "contacts", Name: "name"},
					Want: "text not null", Got: "text"},
			}},
			{Version: 3, Tenants: tenants("x", 1), Differences: []catalog.Difference{
				{Change: catalog.Extra, Object: catalog.Object{Kind: catalog.KindTable, Name: "evil\x1b[31m"}, Got: "table"},
				{Change: catalog.Changed, Object: catalog.Object{Kind: catalog.KindFunction, Name: "touch()"},
					Want: function("  new.x := 1;"), Got: function("  new.x := 2;\n  new.y := 2;")},
				{Change: catalog.Changed, Object: catalog.Object{Kind: catalog.KindConstraint, Parent: "contacts", Name: "long"},
					Want: "CHECK ((status = ANY (ARRAY['open'::text, 'pending'::text, 'closed'::text, 'one'::text])))",
					Got:  "CHECK ((status = ANY (ARRAY['open'::text, 'pending'::text, 'closed'::text, 'two'::text])))"},
			}},
		},
		Missing: tenants("gone", 1),
		Unread: []catalog.Unread{
			{Tenant: catalog.Tenant{Slug: "busy"}, Err: fmt.Errorf("x: %w", catalog.ErrLocked)},
			{Tenant: catalog.Tenant{Slug: "new"}, Err: errors.New("no migration has version 9; the newest is 4")},
		},
	}
	want := `
13 tenants at version 4: t001, t002, t003, t004, t005, t006, t007, t008, t009, t010 and 3 more
  missing    index idx_contacts_phone on contacts
             want   CREATE INDEX idx_contacts_phone ON contacts USING btree (phone, a_column_with_a…
  different  column contacts.name
             want   text not null
             found  text

1 tenant at version 3: x001
  extra      table evil\x1b[31m
             found  table
  different  function touch()
             want     new.x := 1;
             found    new.x := 2;
                      new.y := 2;
  different  constraint long on contacts
             want   ... t, 'closed'::text, 'one'::text])))
             found  ... t, 'closed'::text, 'two'::text])))

missing 1 schema: gone001
not read, locked: busy
not read, no migration has version 9; the newest is 4: new

5,000 tenants: 4,983 as the migrations make them, 14 differ in 2 ways, 1 schema missing, 2 not read
`
	var out bytes.Buffer
	p := &cli.Printer{Out: &out, Format: "table", Terminal: true, Width: 100, Unicode: true}
	s := driftScreen{p: p, w: bufio.NewWriter(&out), drift: d}
	s.print()
	_ = s.w.Flush()
	if got := "\n" + out.String(); got != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	for d, want := range map[*catalog.Drift]int{
		{Tenants: 1, Clean: 1}:                   cli.ExitOK,
		{}:                                       cli.ExitOK,
		{Groups: d.Groups, Unread: d.Unread}:     cli.ExitPending,
		{Missing: d.Missing}:                     cli.ExitPending,
		{Tenants: 3, Clean: 1, Unread: d.Unread}: cli.ExitPartial,
		{Tenants: 2, Unread: d.Unread}:           cli.ExitFailure,
	} {
		if got := driftCode(*d); got != want {
			t.Errorf("%s: exit %d, want %d", driftLine(*d), got, want)
		}
	}
}
