package main

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/maintain"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

// topRows are the rows of a list, of which a screen shows a part.
type topRows struct {
	keys  []string
	opens []topDetail // what enter opens; none for a list of nothing to open
	empty string
	print func(p *cli.Printer, from, to int) error
}

func topRowsOf[T any](l cli.List[T], rows []T, key func(T) string, opens func(T) topDetail) topRows {
	out := topRows{empty: l.Empty}
	l.Footer, l.Empty = nil, ""
	for _, row := range rows {
		out.keys = append(out.keys, key(row))
		if opens != nil {
			out.opens = append(out.opens, opens(row))
		}
	}
	out.print = func(p *cli.Printer, from, to int) error { return cli.PrintList(p, l, rows[from:to]) }
	return out
}

// rows returns the list that is shown.
func (m *topModel) rows() topRows {
	if d := m.detail(); d != nil {
		return m.detailRows(*d)
	}
	switch m.page {
	case pageSessions:
		var rows []stats.Session
		for _, s := range m.now.Sessions.Busy(0) {
			if (m.now.Chosen == nil || m.now.Chosen(s.Tenant)) && m.matchesSession(s) {
				rows = append(rows, s)
			}
		}
		out := m.sessionRows(rows)
		switch {
		case m.filter != "":
			out.empty = "no session has " + cli.Visible(m.filter) + " in its tenant, statement or pid"
		case m.now.Sessions.Hidden > 0:
			out.empty = "of what this role may see nothing runs"
		}
		return out
	case pageLocks:
		return m.lockRows()
	case pageRun:
		return m.runRows()
	case pageTenants, topPages:
	}
	return m.tenantRows()
}

// lockRows lists who waits for whom: with a filter the trees in which it lets a session
// through, whole.
func (m *topModel) lockRows() topRows {
	l, nodes := locksList(&m.printer, m.now.Sessions), m.now.Sessions.LockTree()
	if m.filter != "" && len(nodes) > 0 {
		l.Empty = "nobody who waits has " + cli.Visible(m.filter) + " in his tenant, statement or pid"
	}
	var rows []stats.LockNode
	for len(nodes) > 0 {
		n := 1
		for n < len(nodes) && nodes[n].Depth > 0 {
			n++
		}
		if slices.ContainsFunc(nodes[:n], func(n stats.LockNode) bool { return m.matchesSession(n.Session) }) {
			rows = append(rows, nodes[:n]...)
		}
		nodes = nodes[n:]
	}
	return topRowsOf(l, rows, func(n stats.LockNode) string { return sessionKey(n.Session) },
		func(n stats.LockNode) topDetail { return openSession(n.Session) })
}

func (m *topModel) matchesSession(s stats.Session) bool {
	return m.matches(s.Tenant, s.Query, cli.ID(int(s.PID)), s.GID)
}

func sessionKey(s stats.Session) string { return cli.ID(int(s.PID)) + s.GID }

func openSession(s stats.Session) topDetail {
	id := s.ID()
	return topDetail{session: &id}
}

func (m *topModel) sessionRows(rows []stats.Session) topRows {
	return topRowsOf(activityList(m.now.Sessions), rows, sessionKey, openSession)
}

// tenantRows lists tenants. Their names are as wide as the widest of all, so that columns
// stay where they are while rows move.
func (m *topModel) tenantRows() topRows {
	const widest = 40
	width := cli.MinColumn
	var rows []app.TopTenant
	for _, t := range orderTop(m.now.Tenants, m.sort) {
		width = max(width, cli.ColumnsOf(cli.Visible(t.Slug)))
		if m.matches(t.Slug) {
			rows = append(rows, t)
		}
	}
	l := topList(&m.printer, m.now)
	l.Name = func(t app.TopTenant) string { return cli.Pad(t.Slug, min(width, widest)) }
	l.Columns[0].Value = func(t app.TopTenant) any { return l.Name(t) }
	if m.filter != "" {
		l.Empty = "no tenant has " + cli.Visible(m.filter) + " in its name"
	}
	return topRowsOf(l, rows, func(t app.TopTenant) string { return t.Slug },
		func(t app.TopTenant) topDetail { return topDetail{tenant: t.Slug} })
}

// runRows lists the tenants at which the run that is under way failed.
func (m *topModel) runRows() topRows {
	type row = registry.RunTenant
	l := cli.List[row]{Empty: "no run over the fleet is under way", Columns: []cli.Column[row]{
		{Name: "tenant", Title: "FAILED", Value: func(t row) any { return t.Slug }},
		{Name: "version", Right: true, Value: func(t row) any { return cli.Serial(t.To) }},
		{Name: "why", Value: func(t row) any { return strings.TrimSpace(t.SQLState + " " + t.Place + " " + t.Message) }},
	}}
	var rows []row
	if m.now.Run != nil {
		l.Empty = "no tenant has failed so far"
		rows = slices.DeleteFunc(slices.Clone(m.now.Run.Failures), func(t row) bool { return !m.matches(t.Slug, t.Message) })
	}
	return topRowsOf(l, rows, func(t row) string { return t.Slug },
		func(t row) topDetail { return topDetail{tenant: t.Slug} })
}

// View draws the screen.
func (m *topModel) View() tea.View {
	v := tea.NewView(cli.Screen(m.lines(), m.width, m.height))
	v.AltScreen = true
	return v
}

// lines returns the lines of the screen: the head, a list in what is left, the foot.
func (m *topModel) lines() []string {
	head, foot := m.head(), m.foot()
	body := m.body(m.height - len(head) - len(foot))
	for len(body) < m.height-len(head)-len(foot) {
		body = append(body, "")
	}
	return slices.Concat(head, body, foot)
}

// room returns how many rows a list has room for.
func (m *topModel) room() int {
	const titles = 1
	return m.height - len(m.head()) - len(m.foot()) - len(m.facts()) - titles
}

func (m *topModel) body(height int) []string {
	if m.help {
		return topHelp(m.width)
	}
	facts := m.facts()
	facts = facts[:min(len(facts), max(height, 0))]
	return append(facts, m.list(height-len(facts))...)
}

// list prints the part of the rows that has the cursor.
func (m *topModel) list(height int) []string {
	rows, place := m.rows(), m.place()
	if len(rows.keys) == 0 {
		return []string{m.printer.Painter.Paint(cli.Dim, rows.empty)}
	}
	room := max(1, height-1)
	at := m.cursor(rows)
	from := min(m.offsets[place], max(0, len(rows.keys)-room))
	from = max(min(from, at), at-room+1)
	m.offsets[place] = from
	var text bytes.Buffer
	p := m.printer
	p.Out, p.ErrOut, p.Terminal, p.Quiet, p.Width = &text, &text, true, false, m.width-len(topCursor)
	if err := rows.print(&p, from, min(from+room, len(rows.keys))); err != nil {
		return []string{cli.Visible(textOf(err))}
	}
	lines := strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
	for i := range lines {
		mark := "  "
		if i == at-from+1 && len(rows.opens) > 0 {
			mark = topCursor
		}
		lines[i] = mark + lines[i]
	}
	return lines
}

// topCursor marks the row at the cursor.
const topCursor = "> "

// head says where, how much, how far a run is, and which page it is.
func (m *topModel) head() []string {
	room, locks := m.now.Sessions.Room, summarizeLocks(m.now.Sessions)
	clock, much := m.clock(), cli.Plural(len(m.now.Tenants), "tenant")
	if connections := fmt.Sprintf("  %d of %d connections", room.Used, room.Most); cli.ColumnsOf(much+connections+clock)+
		cli.MinColumn+len("  1,000 wait    ") <= m.width {
		much += connections
	}
	if locks.Waiting > 0 {
		much += "  " + m.printer.Painter.Paint(cli.Yellow, cli.HumanCount(int64(locks.Waiting))+" wait")
	}
	left := max(cli.MinColumn, m.width-cli.ColumnsOf(much)-len(clock)-2*len("  "))
	out := []string{m.beside(m.printer.Cut(cli.Visible(m.target), left)+"  "+much, clock)}
	if run := m.run(); run != "" {
		out = append(out, run)
	}
	return append(out, "", m.beside(m.pages(locks.Waiting), m.order()), "")
}

// clock says when the last look was.
func (m *topModel) clock() string {
	text := m.now.At.In(cmp.Or(m.printer.Show.Loc, time.UTC)).Format(time.TimeOnly)
	if m.paused {
		text = "paused at " + text
	}
	return text
}

// beside puts a text at the right edge, where there is room.
func (m *topModel) beside(left, right string) string {
	gap := m.width - cli.ColumnsOf(left) - cli.ColumnsOf(right)
	if gap < 2 {
		return left
	}
	return left + strings.Repeat(" ", gap) + right
}

func (m *topModel) pages(waiting int) string {
	names := []string{"1 tenants", "2 sessions", "3 locks", "4 run"}
	if waiting > 0 {
		names[pageLocks] += fmt.Sprintf(" (%d)", waiting)
	}
	if r := m.now.Run; r != nil && r.Failed > 0 {
		names[pageRun] += fmt.Sprintf(" (%d failed)", r.Failed)
	}
	line := func() string {
		var b strings.Builder
		for i, name := range names {
			if topPage(i) == m.page {
				b.WriteString("[" + name + "] ")
			} else {
				b.WriteString(" " + name + "  ")
			}
		}
		return strings.TrimRight(b.String(), " ")
	}
	for i := 0; i < len(names) && cli.ColumnsOf(line()) > m.width; i++ {
		if topPage(i) != m.page { // its key says enough
			names[i] = names[i][:1]
		}
	}
	return line()
}

func (m *topModel) order() string {
	text := ""
	if m.page == pageTenants && m.detail() == nil {
		text = "by " + m.sort
	}
	if m.filter != "" && !m.typing {
		text += "  /" + cli.Visible(m.filter)
	}
	return strings.TrimSpace(text)
}

// run returns how far a run is: "run 42  migrate to 6  ███▌  612 / 1,000  61 %  failed 1
// 120/s  3s left", the speed and the bar left out where there is no room.
func (m *topModel) run() string {
	r := m.now.Run
	if r == nil {
		return ""
	}
	what := r.Kind
	if !maintain.IsAction(r.Kind) && r.Target > 0 {
		what += " to " + cli.ID(int(r.Target))
	}
	done, all := r.Done(), max(r.Tenants, 1)
	name := fmt.Sprintf("run %d  %s  ", r.ID, cli.Visible(what))
	text := fmt.Sprintf("%s / %s  %d %%", cli.HumanCount(int64(done)), cli.HumanCount(int64(r.Tenants)), 100*done/all)
	if r.Failed > 0 {
		text += "  " + m.printer.Painter.Paint(cli.Red, "failed "+cli.HumanCount(int64(r.Failed)))
	}
	if cli.ColumnsOf(name)+cli.ColumnsOf(text) > m.width {
		name = fmt.Sprintf("run %d  ", r.ID)
	}
	if rate := r.PerSecond(); rate > 0 {
		left := time.Duration(math.Ceil(float64(max(0, r.Tenants-done))/rate)) * time.Second
		for _, part := range []string{fmt.Sprintf("%.0f/s", rate), cli.HumanDuration(left) + " left"} {
			if cli.ColumnsOf(name)+cli.ColumnsOf(text)+2+cli.ColumnsOf(part) <= m.width {
				text += "  " + part
			}
		}
	}
	const narrowest, widest = 4, 24
	if width := min(widest, m.width-cli.ColumnsOf(name)-cli.ColumnsOf(text)-2); width >= narrowest {
		name += cli.Pad(bar(float64(done)/float64(all), width, m.printer.Unicode), width) + "  "
	}
	return name + text
}

// foot says what is wrong, and what the keys are.
func (m *topModel) foot() []string {
	paint := m.printer.Painter.Paint
	var out []string
	switch gaps := topGaps(m.now); {
	case m.err != nil:
		out = append(out, paint(cli.Red, m.printer.Cut("no look: "+cli.Visible(textOf(m.err)), m.width)))
	case len(gaps) > 0:
		out = append(out, paint(cli.Dim, m.printer.Cut(strings.Join(gaps, "; "), m.width)))
	}
	keys := "q quit  ? help  tab page  enter open  / filter  bscwn sort  p pause"
	switch {
	case m.typing:
		return append(out, "filter: "+cli.Visible(m.filter)+"_")
	case m.help, m.detail() != nil:
		keys = "q quit  ? help  esc back  enter open  p pause"
	case m.page != pageTenants:
		keys = "q quit  ? help  tab page  enter open  / filter  p pause"
	}
	took := "took " + cli.HumanDuration(m.now.Took)
	return append(out, paint(cli.Dim, m.beside(m.printer.Cut(keys, m.width), took)))
}

// topHelp explains the keys; what they do stands in a column of its own, however narrow.
func topHelp(width int) []string {
	const column = "                "
	return strings.Split(cli.Fold(`1 2 3 4, tab    tenants, sessions, locks, the run that is under way
up down, j k    move; pgup pgdn, home end too
enter, esc      look at a tenant or a session, and back; enter on a session that
                waits looks at who is in its way
/               filter by a part of the name, or of a statement
b s c w n       sort tenants by load (blocks), size, connections, waiting, name
p, space        pause; look now
q, ctrl+c       end

Rates are of the time between two looks. A statement counts when it is over.
It changes nothing; commands that end a session are shown to be copied.`, max(width, 2*len(column)), column), "\n")
}
