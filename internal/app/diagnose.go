package app

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/doctor"
	"github.com/crmctl/crmctl/internal/stats"
)

// What a diagnosis looks at beside the classes of the doctor.
const (
	CheckRoom          = "connections"
	CheckBlocked       = "blocked"
	CheckInTransaction = "idle-in-transaction"
	CheckLongRunning   = "long-running"
)

// Diagnosed is the result of a check.
type Diagnosed struct {
	Name string // one of the above, or a class of the doctor
	// OK tells that nothing is wrong, Unknown that it could not be looked at.
	OK, Unknown bool
	What        string // "4 sessions wait for a lock, the longest 2m16s"
	// Findings are those of the doctor, none for the other checks.
	Findings []doctor.Finding
}

const (
	// LongOpen is how long a transaction may be idle, and a statement run.
	LongOpen = 5 * time.Minute
	// longBlocked is how long one may wait for a lock.
	longBlocked = time.Second
	// scarce is the part of the connections, in percent, that should be left.
	scarce = 20
)

// quickClasses are the checks of the doctor whose cost is a query each, whatever the
// number of tables, and which say why the application may stand still.
func quickClasses() []doctor.Class {
	return []doctor.Class{doctor.Registry, doctor.InvalidRowClass, doctor.GhostRow, doctor.HalfBuilt, doctor.PurgeStuck,
		doctor.DirtyTenant, doctor.OpenRun, doctor.Behind, doctor.InvalidIndex, doctor.Locks, doctor.Prepared,
		doctor.Wraparound, doctor.Autovacuum}
}

// Diagnose looks at what matters in the first minute: the sessions, then the quick checks
// of the doctor.
func (a *App) Diagnose(ctx context.Context, conn *pgx.Conn, o ExamineOptions) ([]Diagnosed, error) {
	sessions, err := stats.ReadSessions(ctx, conn, a.Registry)
	if err != nil {
		return nil, err
	}
	out := diagnoseSessions(sessions)
	o.Only = quickClasses()
	report, err := a.Examine(ctx, conn, o)
	if err != nil {
		return out, err
	}
	for _, class := range o.Only {
		d := Diagnosed{Name: string(class), OK: true}
		for _, f := range report.Findings {
			if f.Class == class && f.Severity != doctor.Info {
				d.OK, d.Findings = false, append(d.Findings, f)
			}
		}
		switch n := len(d.Findings); {
		case n == 1:
			d.What = d.Findings[0].Subject + ": " + d.Findings[0].What
		case n > 1:
			d.What = fmt.Sprintf("%s: %s, and %d more", d.Findings[0].Subject, d.Findings[0].What, n-1)
		case !slices.Contains(report.Checked, class):
			d.OK, d.Unknown = false, true
			d.What = "not looked at"
		}
		for _, left := range report.NotChecked {
			if left.Class == class && len(d.Findings) == 0 {
				d.OK, d.Unknown, d.What = false, true, left.Why
			}
		}
		out = append(out, d)
	}
	return out, nil
}

// diagnoseSessions makes the checks of the sessions.
func diagnoseSessions(s stats.Sessions) []Diagnosed {
	var blocked, open, long int
	var waited, idle, ran time.Duration
	for _, one := range s.Sessions {
		if one.Waits {
			if waited = max(waited, one.Waited); one.Waited >= longBlocked {
				blocked++
			}
		}
		if one.IsInTransaction() && one.InState >= LongOpen {
			open, idle = open+1, max(idle, one.InState)
		}
		if one.IsClient() && one.IsRunning() && !one.Waits && one.InQuery >= LongOpen {
			long, ran = long+1, max(ran, one.InQuery)
		}
	}
	room := s.Room
	most := room.Most
	if room.Limit > 0 {
		most = min(most, room.Limit)
	}
	out := []Diagnosed{
		{Name: CheckRoom, OK: room.Left()*100 >= most*scarce,
			What: fmt.Sprintf("%d of %d in use, room for %d more", room.Used, room.Most, room.Left())},
		{Name: CheckBlocked, OK: blocked == 0, What: many(blocked, "waits for a lock", "wait for a lock", waited)},
		{Name: CheckInTransaction, OK: open == 0, What: many(open, "has been idle in a transaction",
			"have been idle in a transaction", idle)},
		{Name: CheckLongRunning, OK: long == 0, What: many(long, "has run a statement", "have run a statement", ran)},
	}
	if s.Hidden > 0 {
		for i := range out {
			if out[i].OK && (out[i].Name == CheckInTransaction || out[i].Name == CheckLongRunning) {
				out[i].OK, out[i].Unknown = false, true
				out[i].What = fmt.Sprintf("%d sessions hide from this role what they do", s.Hidden)
			}
		}
	}
	return out
}

// many returns "4 sessions wait for a lock, the longest 2m16s", "" for none.
func many(n int, one, several string, longest time.Duration) string {
	switch n {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("1 session %s for %s", one, longest.Truncate(time.Second))
	}
	return fmt.Sprintf("%d sessions %s, the longest for %s", n, several, longest.Truncate(time.Second))
}
