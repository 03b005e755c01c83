package main

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

// detailRows lists the sessions of a tenant, or those in the way of a session.
func (m *topModel) detailRows(d topDetail) topRows {
	if d.session == nil {
		out := m.sessionRows(m.now.Sessions.Of(func(slug string) bool { return slug == d.tenant }))
		out.empty = "no sessions"
		return out
	}
	s, found := m.session(*d.session)
	if !found {
		return topRows{}
	}
	var blockers []stats.Session
	for _, b := range s.Blockers {
		one, known := m.session(b)
		if !known {
			one = stats.Session{PID: b.PID, GID: b.GID, Whose: stats.Unknown}
		}
		blockers = append(blockers, one)
	}
	out := m.sessionRows(blockers)
	out.empty = ""
	return out
}

func (m *topModel) session(id stats.Blocker) (stats.Session, bool) {
	i := slices.IndexFunc(m.now.Sessions.Sessions, func(s stats.Session) bool { return s.ID() == id })
	if i < 0 {
		return stats.Session{}, false
	}
	return m.now.Sessions.Sessions[i], true
}

// facts are the lines about what is looked at more closely, above its list.
func (m *topModel) facts() []string {
	d := m.detail()
	switch {
	case d == nil:
		return nil
	case d.session != nil:
		return m.sessionFacts(*d.session)
	}
	i := slices.IndexFunc(m.now.Tenants, func(t app.TopTenant) bool { return t.Slug == d.tenant })
	if i < 0 {
		return []string{"tenant " + cli.Visible(d.tenant) + " is not there any more", ""}
	}
	return m.tenantFacts(m.now.Tenants[i])
}

// fact returns a line: a name and what it is.
func (m *topModel) fact(name, format string, args ...any) string {
	const width = 13
	return m.printer.Cut(cli.Pad(name, width)+fmt.Sprintf(format, cli.EscapeArgs(args)...), m.width)
}

func (m *topModel) tenantFacts(t app.TopTenant) []string {
	human := m.printer.Show.Human
	out := []string{m.fact("tenant", "%s   %s", t.Slug, t.Status)}
	if t.Size.Known {
		line := fmt.Sprintf("%s: tables %s, indexes %s", cli.HumanSize(t.Size.TotalBytes()), cli.HumanSize(t.Size.TableBytes),
			cli.HumanSize(t.Size.IndexBytes))
		if !t.Size.Exact {
			line += " (estimated)"
		}
		out = append(out, m.fact("size", "%s", line))
	}
	if !t.LoadIsUnknown {
		out = append(out, m.fact("load", "%s blocks/s, %s/s read, %s rows/s read, %s written",
			human(rateCell(t.Load.Fetched)), cli.HumanSize(t.ReadBytes()), human(rateCell(t.Load.Rows)),
			human(rateCell(t.Load.Written))),
			m.fact("scans", "%s/s sequential, %s/s by index", human(rateCell(t.Load.SeqScans)),
				human(rateCell(t.Load.IndexScans))))
	}
	c := t.Connections
	return append(out, m.fact("connections", "%d: %d run, %d idle, %d idle in a transaction, %d wait", c.Connections,
		c.Active, c.Idle, c.InTransaction, c.Waiting), "")
}

func (m *topModel) sessionFacts(id stats.Blocker) []string {
	s, found := m.session(id)
	name := "session " + cli.ID(int(id.PID))
	if id.PID == 0 {
		name = "prepared transaction " + cli.Visible(id.GID)
	}
	if !found {
		return []string{m.printer.Cut(name+" is not there any more", m.width)}
	}
	whose := m.printer.Show.Human(tenantCell(s.Tenant, s.Whose))
	if s.Tenant != "" {
		whose += " (known by " + string(s.Whose) + ")"
	}
	out := []string{m.fact("session", "%s", strings.TrimPrefix(name, "session ")), m.fact("tenant", "%s", whose),
		m.fact("role", "%s   application %s   from %s", s.User, cmp.Or(s.Application, "-"), cmp.Or(s.Client, "this machine"))}
	out = append(out, m.fact("is", "%s", standing(s)))
	for _, since := range []struct {
		what string
		long time.Duration
	}{{"connected", s.Started}, {"transaction", s.InTransaction}, {"statement", s.InQuery}} {
		if since.long > 0 {
			out = append(out, m.fact(since.what, "%s ago", cli.HumanDuration(since.long)))
		}
	}
	if s.Query != "" {
		out = append(out, "")
		text := strings.Split(cli.Fold(cli.Visible(s.Query), m.width-2, ""), "\n")
		const most = 6
		for _, line := range text[:min(len(text), most)] {
			out = append(out, "  "+m.printer.Cut(line, m.width-2))
		}
	}
	out = append(out, "", m.fact("ends it", "%s", endCommand(s)))
	if s.Waits {
		out = append(out, m.fact("waits", "%s for %s, behind:", cli.HumanDuration(s.Waited), strings.TrimSpace(s.Wants)))
	}
	return append(out, "")
}
