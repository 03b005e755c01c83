package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

// TestFlagsNameTheirValue: the help calls what a flag takes by a name of its own, such as
// FILE, and not by the type that it has in the program.
func TestFlagsNameTheirValue(t *testing.T) {
	t.Parallel()
	walk(tree(t), func(cmd *cobra.Command) {
		cmd.LocalFlags().VisitAll(func(flag *pflag.Flag) {
			if name, _ := pflag.UnquoteUsage(flag); !flag.Hidden && name != strings.ToUpper(name) {
				t.Errorf("%s --%s takes a %q", cmd.CommandPath(), flag.Name, name)
			}
		})
	})
}

// TestTenantFooter: the line below a list counts the tenants that the list leaves out too.
func TestTenantFooter(t *testing.T) {
	t.Parallel()
	rows := make([]listedTenant, 3)
	for i, version := range []int64{4, 2, 3} {
		rows[i].Tenant = registry.Tenant{Version: version, Status: registry.Active}
	}
	for _, tt := range []struct {
		shown int
		head  int64
		want  string
	}{
		{3, 4, "3 tenants, 2 behind version 4 (*)"},
		{1, 4, "3 tenants, 1 shown, 2 behind version 4 (*)"},
		{2, 2, "3 tenants, 2 shown, newest version 2"},
	} {
		if got := tenantFooter(rows, tt.shown, tt.head); got != tt.want {
			t.Errorf("%d shown, newest %d: %q, want %q", tt.shown, tt.head, got, tt.want)
		}
	}
}

// TestStoppedRunFitsTheTerminal: why a run has stopped is broken at a blank, in colour too.
func TestStoppedRunFitsTheTerminal(t *testing.T) {
	t.Parallel()
	reason := errors.New(`00028_bad.sql:3: relation "categories_of_products" does not exist (42P01)`)
	for _, colour := range []bool{false, true} {
		var out bytes.Buffer
		p := &cli.Printer{Out: &out, Format: "table", Terminal: true, Width: 80, Painter: cli.Painter{On: colour}}
		report := &migrate.Report{RunID: 1, Outcomes: make([]migrate.Outcome, 2),
			Stopped: fmt.Errorf("%w: %s: %w", migrate.ErrCanary, "acme-corp", reason)}
		if err := printSummary(p, report, &runReport{NotStarted: 399}); err != nil {
			t.Fatal(err)
		}
		text := strings.NewReplacer("\x1b[33m", "", "\x1b[32m", "", "\x1b[0m", "").Replace(out.String())
		for line := range strings.SplitSeq(text, "\n") {
			if len(line) > p.Width {
				t.Errorf("colour %v: %d columns: %q", colour, len(line), line)
			}
		}
		if got := strings.Join(strings.Fields(text), " "); !strings.Contains(got, "acme-corp: "+reason.Error()) {
			t.Errorf("colour %v: the reason is not whole:\n%s", colour, text)
		}
	}
}

// TestFailureText: the place of a failure is told once.
func TestFailureText(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ place, message, want string }{
		{"00002_b.sql:2", "00002_b.sql:2: no such column", "00002_b.sql:2: no such column"},
		{"00002_b.sql:2", "no such column", "00002_b.sql:2 no such column"},
		{"", "no such column", "no such column"},
	} {
		if got := failureText(tt.place, tt.message); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
