package main

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

// tenantCell names the tenant of a session. What is in parentheses can be no tenant's
// name; programs have null.
func tenantCell(slug string, whose stats.Whose) any {
	if slug != "" {
		return slug
	}
	return cli.Either{Human: cli.Styled{Value: nobody(whose), Color: cli.Dim}, Machine: nil}
}

func nobody(whose stats.Whose) string { return "(" + string(whose) + ")" }

// secondsCell shows a length of time, nothing where there is none.
func secondsCell(d time.Duration) any {
	if d <= 0 {
		return cli.Either{Human: "", Machine: nil}
	}
	return d
}

// seconds returns a length of time with milliseconds.
func seconds(d time.Duration) float64 { return float64(d.Milliseconds()) / 1e3 }

// stateCell shows the state of a session in a word.
func stateCell(s stats.Session) any {
	machine := any(s.State)
	if s.State == "" {
		machine = nil
	}
	human := cli.Styled{Value: s.State}
	switch {
	case s.Hidden:
		human = cli.Styled{Value: "hidden", Color: cli.Dim}
	case s.State == "idle in transaction (aborted)":
		human = cli.Styled{Value: "in tx, failed", Color: cli.Yellow}
	case s.IsInTransaction():
		human = cli.Styled{Value: "idle in tx", Color: cli.Yellow}
	case s.IsRunning():
		human = cli.Styled{Value: "active"}
	case s.State == "":
		human = cli.Styled{Value: s.Kind}
	}
	return cli.Styled{Value: cli.Either{Human: human.Value, Machine: machine}, Color: human.Color}
}

// waitCell shows what a session waits for: a lock, or what the server calls it.
func waitCell(s stats.Session) any {
	switch {
	case s.Waits:
		return cli.Styled{Value: cli.Either{Human: "lock", Machine: "Lock:" + s.Wait}, Color: cli.Yellow}
	case s.WaitType == "" || s.WaitType == "Client":
		return cli.Either{Human: "", Machine: none(s.WaitType, s.Wait)}
	}
	return cli.Either{Human: s.Wait, Machine: s.WaitType + ":" + s.Wait}
}

func none(kind, event string) any {
	if kind == "" {
		return nil
	}
	return kind + ":" + event
}

// pidCell names a session: by its process, or a prepared transaction.
func pidCell(s stats.Session) any {
	if s.PID == 0 {
		return cli.Either{Human: "prepared", Machine: nil}
	}
	return cli.Serial(s.PID)
}

// gapLines say what a look at the sessions lacks.
func gapLines(s stats.Sessions) []string {
	var lines []string
	if s.Hidden > 0 {
		lines = append(lines, fmt.Sprintf("%s of other roles: what they do is hidden; grant pg_read_all_stats to this role",
			cli.Plural(s.Hidden, "session")))
	}
	if s.RegistryLocked {
		lines = append(lines, "the registry is locked: whose the sessions are is unknown")
	}
	if s.NotLookedUp > 0 {
		lines = append(lines, fmt.Sprintf("%s more for a lock, and not asked for whom", waiting(s.NotLookedUp)))
	}
	return lines
}

// gapFooter is what stands below a table on a terminal.
func gapFooter(s stats.Sessions) func() string { return footerOf(gapLines(s)) }

// footerOf returns lines as what stands below a table, nil where there are none.
func footerOf(lines []string) func() string {
	if len(lines) == 0 {
		return nil
	}
	return func() string { return strings.Join(lines, "\n") }
}

func waiting(n int) string {
	if n == 1 {
		return "1 session waits"
	}
	return cli.Plural(n, "session") + " wait"
}

// printSessions prints a list of sessions or of what they are counted by, and what it lacks
// where no footer says so. Where there is nothing to show that comes first: it may be why.
func printSessions[T any](f *factory, p *cli.Printer, l cli.List[T], rows []T, s stats.Sessions) error {
	gaps := gapLines(s)
	if len(rows) == 0 && len(gaps) > 0 {
		f.noteLines(gaps)
		l.Empty = "apart from that " + l.Empty
		gaps = nil
	}
	if err := cli.PrintList(p, l, rows); err != nil {
		return err
	}
	f.noteBelow(p, gaps)
	return nil
}

// noteBelow says what stands below a table on a terminal where there is no such table.
func (f *factory) noteBelow(p *cli.Printer, lines []string) {
	if !p.Terminal || !p.IsTable() {
		f.noteLines(lines)
	}
}

// sessionColumns are what every list of sessions has.
func sessionColumns[T any](of func(T) stats.Session) []cli.Column[T] {
	text := func(value func(stats.Session) string) func(T) any {
		return func(row T) any { return value(of(row)) }
	}
	return []cli.Column[T]{
		{Name: "whose", Title: "KNOWN BY", Wide: true, Value: text(func(s stats.Session) string { return string(s.Whose) })},
		{Name: "role", Wide: true, Value: text(func(s stats.Session) string { return s.User })},
		{Name: "application", Wide: true, Value: text(func(s stats.Session) string { return s.Application })},
		{Name: "client", Wide: true, Value: text(func(s stats.Session) string { return s.Client })},
		{Name: "transaction_seconds", Document: true, Value: func(row T) any { return secondsCell(of(row).InTransaction) }},
		{Name: "connected_seconds", Document: true, Value: func(row T) any { return secondsCell(of(row).Started) }},
		{Name: "superuser", Document: true, Value: func(row T) any { return of(row).Superuser }},
		{Name: "hidden", Document: true, Value: func(row T) any { return of(row).Hidden }},
	}
}

// connectionsSummary stands beside the connections in JSON and YAML.
type connectionsSummary struct {
	At             time.Time `json:"at"`
	Connections    int       `json:"connections"`
	Server         int       `json:"server_connections"`
	Most           int       `json:"max_connections"`
	Limit          int       `json:"database_limit"`
	Left           int       `json:"room"`
	Waiting        int       `json:"waiting"`
	Hidden         int       `json:"hidden"`
	Longest        float64   `json:"longest_transaction_seconds"`
	RegistryLocked bool      `json:"registry_locked"`
}

func connectionsList(s stats.Sessions, rows []stats.TenantConnections) cli.List[stats.TenantConnections] {
	count := func(value func(stats.TenantConnections) int) func(stats.TenantConnections) any {
		return func(c stats.TenantConnections) any {
			n := value(c)
			if n == 0 {
				return cli.Either{Human: "", Machine: 0}
			}
			return n
		}
	}
	length := func(value func(stats.TenantConnections) time.Duration) func(stats.TenantConnections) any {
		return func(c stats.TenantConnections) any { return secondsCell(value(c)) }
	}
	type row = stats.TenantConnections
	return cli.List[row]{
		Plural: "connections",
		Columns: []cli.Column[row]{
			{Name: "tenant", Value: func(c row) any { return tenantCell(c.Tenant, c.Whose) }},
			{Name: "connections", Title: "ALL", Right: true, Value: count(func(c row) int { return c.Connections })},
			{Name: "active", Right: true, Value: count(func(c row) int { return c.Active })},
			{Name: "idle", Right: true, Value: count(func(c row) int { return c.Idle })},
			{Name: "idle_in_transaction", Title: "IN TX", Right: true, Value: count(func(c row) int { return c.InTransaction })},
			{Name: "waiting", Title: "WAIT", Right: true, Value: count(func(c row) int { return c.Waiting })},
			{Name: "hidden", Right: true, Document: s.Hidden == 0, Value: count(func(c row) int { return c.Hidden })},
			{Name: "longest_transaction_seconds", Title: "LONGEST TX", Right: true,
				Value: length(func(c row) time.Duration { return c.LongestTransaction })},
			{Name: "longest_idle_seconds", Title: "IDLE FOR", Right: true,
				Value: length(func(c row) time.Duration { return c.LongestIdle })},
			{Name: "oldest_seconds", Title: "OLDEST", Right: true, Spare: true,
				Value: length(func(c row) time.Duration { return c.Oldest })},
			{Name: "whose", Title: "KNOWN BY", Wide: true, Value: func(c row) any { return string(c.Whose) }},
		},
		Name:    func(c row) string { return cmp.Or(c.Tenant, nobody(c.Whose)) },
		Summary: func() any { return summarizeConnections(s, rows) },
		Empty:   "no other connections",
		Footer:  func() string { return strings.Join(append([]string{roomLine(s)}, gapLines(s)...), "\n") },
	}
}

func summarizeConnections(s stats.Sessions, rows []stats.TenantConnections) connectionsSummary {
	out := connectionsSummary{At: s.At.UTC(), Server: s.Room.Used, Most: s.Room.Most, Limit: s.Room.Limit,
		Left: s.Room.Left(), Hidden: s.Hidden, RegistryLocked: s.RegistryLocked}
	for _, r := range rows {
		out.Connections += r.Connections
		out.Waiting += r.Waiting
		out.Longest = max(out.Longest, seconds(r.LongestTransaction))
	}
	return out
}

// roomLine returns "85 of 97 connections of the server are in use, 80 of them here: 12
// more have room".
func roomLine(s stats.Sessions) string {
	line := fmt.Sprintf("%d of %d connections of the server are in use, %d of them here: room for %d more", s.Room.Used,
		s.Room.Most, s.Room.Database, s.Room.Left())
	if s.Room.Limit > 0 {
		line += fmt.Sprintf(" (this database may have %d)", s.Room.Limit)
	}
	return line
}
