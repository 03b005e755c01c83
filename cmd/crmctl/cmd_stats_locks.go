package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/stats"
)

func newStatsLocksCmd(f *factory) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "locks",
		Short: "who waits for whom, as a tree, and what ends it",
		Long: `Show the sessions that wait for a lock, each below the one that it waits for: at the top of a tree is
who is in the way of all below it. An ALTER that waits for a reader makes everybody wait who comes
later; they stand below the ALTER. Prepared transactions count too. The lines at the end are the
commands that end what is at the top.

` + howKnown + ` Of each session that waits
(of the first 500) the server is asked once who is in its way.`,
		Example: `crmctl stats locks
crmctl stats locks -o json
crmctl connections clean --kill 8123`,
		Args: cli.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runStatsLocks(cmd.Context(), f)
		},
	}
	readOnly(cmd)
	cli.DocumentExits(cmd, cli.ExitUnreachable)
	return cmd
}

func runStatsLocks(ctx context.Context, f *factory) error {
	p, found, err := (&statsSessionsOptions{}).look(ctx, f)
	if err != nil {
		return err
	}
	nodes := found.LockTree()
	if err := printSessions(f, p, locksList(p, found), nodes, found); err != nil {
		return err
	}
	if p.IsTable() {
		noteEnds(f, nodes)
	}
	return nil
}

// noteEnds says what ends the waiting: the commands for the first trees, and for the first
// of each that only waits and makes others wait, such as an ALTER behind a reader.
func noteEnds(f *factory, nodes []stats.LockNode) {
	const most = 3
	roots, queued := 0, false
	for _, n := range nodes {
		switch {
		case n.IsRoot() && roots == most:
			return
		case n.IsRoot():
			roots, queued = roots+1, false
			f.Note("next: %s        %s", cli.Visible(endCommand(n.Session)), waiting(n.Behind))
		case n.Behind > 0 && !queued:
			queued = true
			f.Note("or:   %s        %s", cli.Visible(endCommand(n.Session)), waiting(n.Behind))
		}
	}
}

// endCommand returns what ends a session: a command, or SQL where it is none that the
// program ends.
func endCommand(s stats.Session) string {
	switch {
	case s.PID == 0 && s.GID == "":
		return "crmctl doctor --check prepared"
	case s.PID == 0:
		return "rollback prepared " + db.Literal(s.GID)
	case s.Kind != "" && s.Kind != "client backend", s.Database != "":
		return fmt.Sprintf("select pg_cancel_backend(%d)", s.PID)
	case s.Superuser:
		return fmt.Sprintf("crmctl connections clean --kill %d --superusers", s.PID)
	}
	return fmt.Sprintf("crmctl connections clean --kill %d", s.PID)
}

// branch draws the lines before a session of a tree.
func branch(n stats.LockNode, unicode bool) string {
	if n.Depth == 0 {
		return ""
	}
	bar, fork, last := "|  ", "|- ", "`- "
	if unicode {
		bar, fork, last = "│  ", "├─ ", "└─ "
	}
	var b strings.Builder
	for _, more := range n.Parents[:n.Depth-1] {
		b.WriteString(map[bool]string{true: bar, false: "   "}[more])
	}
	b.WriteString(map[bool]string{true: last, false: fork}[n.Last])
	return b.String()
}

// locksSummary stands beside the tree in JSON and YAML.
type locksSummary struct {
	Waiting        int  `json:"waiting"`
	Hidden         int  `json:"hidden"`
	NotLookedUp    int  `json:"not_looked_up"`
	RegistryLocked bool `json:"registry_locked"`
}

// blockerIDs returns the processes in the way, and the names of prepared transactions.
func blockerIDs(list []stats.Blocker) []any {
	out := []any{}
	for _, b := range list {
		if b.PID == 0 {
			out = append(out, b.GID)
			continue
		}
		out = append(out, b.PID)
	}
	return out
}

func summarizeLocks(found stats.Sessions) locksSummary {
	out := locksSummary{Hidden: found.Hidden, NotLookedUp: found.NotLookedUp, RegistryLocked: found.RegistryLocked}
	for _, s := range found.Sessions {
		if s.Waits {
			out.Waiting++
		}
	}
	return out
}

func locksList(p *cli.Printer, found stats.Sessions) cli.List[stats.LockNode] {
	type row = stats.LockNode
	columns := []cli.Column[row]{
		{Name: "pid", Value: func(n row) any {
			name := cli.ID(int(n.PID))
			if n.PID == 0 {
				name = "prepared"
			}
			return cli.Either{Human: branch(n, p.Unicode) + name, Machine: pidOrNull(n.PID)}
		}},
		{Name: "tenant", Value: func(n row) any { return tenantCell(n.Tenant, n.Whose) }},
		{Name: "waiting_seconds", Title: "WAITS", Right: true, Value: func(n row) any { return secondsCell(n.Waited) }},
		{Name: "behind", Title: "BLOCKS", Right: true, Value: func(n row) any {
			if n.Behind == 0 {
				return cli.Either{Human: "", Machine: 0}
			}
			return n.Behind
		}},
		{Name: "wants", Title: "IS / WANTS", Value: func(n row) any {
			if n.Waits {
				return cli.Either{Human: shortWants(n.Session), Machine: n.Wants}
			}
			return cli.Styled{Value: cli.Either{Human: standing(n.Session), Machine: nil}, Color: cli.Yellow}
		}},
		{Name: "query", Title: "STATEMENT", Value: func(n row) any {
			if n.PID == 0 {
				return cli.Either{Human: n.GID, Machine: nil}
			}
			return n.Query
		}},
		{Name: "state", Document: true, Value: func(n row) any { return stateCell(n.Session) }},
		{Name: "prepared", Document: true, Optional: true, Value: func(n row) any { return n.GID }},
		{Name: "depth", Document: true, Value: func(n row) any { return n.Depth }},
		{Name: "blocked_by", Document: true, Value: func(n row) any { return blockerIDs(n.Blockers) }},
		{Name: "command", Document: true, Value: func(n row) any {
			if n.Behind == 0 {
				return nil
			}
			return endCommand(n.Session)
		}},
	}
	return cli.List[row]{
		Plural:  "locks",
		Columns: append(columns, sessionColumns(func(n row) stats.Session { return n.Session })...),
		Name:    func(n row) string { return cli.ID(int(n.PID)) },
		Summary: func() any { return summarizeLocks(found) },
		Empty:   "nobody waits for a lock",
		Footer:  gapFooter(found),
	}
}

func pidOrNull(pid int32) any {
	if pid == 0 {
		return nil
	}
	return cli.Serial(pid)
}

// shortWants returns "contacts (AccessExclusive)": the schema is the tenant's.
func shortWants(s stats.Session) string {
	mode, on, _ := strings.Cut(s.Wants, " on ")
	mode = strings.TrimSuffix(mode, "Lock")
	if strings.HasPrefix(on, "the end of a transaction") {
		return "row"
	}
	return on[strings.LastIndexByte(on, '.')+1:] + " (" + mode + ")"
}

// standing returns what a session that waits for nobody is, and since when:
// "idle in tx 14m00s".
func standing(s stats.Session) string {
	text := s.State
	switch {
	case s.PID == 0:
		text = "prepared"
	case s.Hidden:
		text = "hidden"
	case s.IsInTransaction():
		text = "idle in tx"
	case s.State == "" && s.Kind == "":
		text = "has ended"
	case s.State == "":
		text = s.Kind
	}
	if s.InTransaction > 0 {
		text += " " + cli.HumanDuration(s.InTransaction)
	}
	return text
}
