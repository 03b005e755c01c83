package main

import (
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/stats"
)

// topPage is what a full screen shows.
type topPage int

// The pages, in the order of their keys.
const (
	pageTenants topPage = iota
	pageSessions
	pageLocks
	pageRun
	topPages
)

// topSetup is what a full screen needs.
type topSetup struct {
	printer cli.Printer
	target  string // "crm_prod on db1:5432"
	every   time.Duration
	sort    string
	first   app.TopLook
	look    func() (app.TopLook, error)
}

// topDetail is a tenant or a session that is looked at more closely.
type topDetail struct {
	tenant  string
	session *stats.Blocker // nil for a tenant
}

// topModel is the state of the full screen. It is changed by messages alone.
type topModel struct {
	topSetup

	width, height int
	now           app.TopLook
	err           error // of the latest look
	looking       bool  // one look at a time
	turn          int   // of the timer that counts; older ones are void
	paused, help  bool

	page    topPage
	details []topDetail // what was opened, the one that is shown last
	filter  string
	typing  bool // the filter
	cursors map[string]string
	offsets map[string]int
}

// Messages.
type (
	topLooked struct {
		look app.TopLook
		err  error
	}
	topTurn int
)

func newTopModel(s topSetup) *topModel {
	return &topModel{topSetup: s, width: 80, height: 24, now: s.first, cursors: map[string]string{},
		offsets: map[string]int{}}
}

// Init begins the first wait.
func (m *topModel) Init() tea.Cmd { return m.wait() }

// wait waits for the next look: four times as long as the last one took, so that looking
// takes no more than a fifth of a connection's time.
func (m *topModel) wait() tea.Cmd {
	m.turn++
	turn := topTurn(m.turn)
	return tea.Tick(max(m.every, 4*m.now.Took), func(time.Time) tea.Msg { return turn })
}

// lookNow begins a look, unless there is one.
func (m *topModel) lookNow() tea.Cmd {
	if m.looking {
		return nil
	}
	m.looking = true
	return func() tea.Msg {
		look, err := m.look()
		return topLooked{look, err}
	}
}

// Update changes the state by a message.
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case topTurn:
		if int(msg) == m.turn && !m.paused {
			look := m.lookNow()
			return m, look
		}
	case topLooked:
		m.looking = false
		if m.err = msg.err; msg.err == nil {
			m.now = msg.look
		}
		next := m.wait()
		return m, next
	case tea.PasteMsg:
		if m.typing {
			m.enter(msg.Content)
		}
	case tea.KeyPressMsg:
		switch key := msg.String(); {
		case key == "ctrl+c":
			return m, tea.Quit
		case key == "ctrl+z":
			return m, tea.Suspend
		case m.typing:
			m.typeKey(key, msg.Key().Text)
		default:
			next := m.press(key)
			return m, next
		}
	}
	return m, nil
}

// enter adds to the filter what could be part of a name.
func (m *topModel) enter(text string) {
	const most = 63
	for _, r := range text {
		if !cli.Hazardous(r) && len(m.filter) < most {
			m.filter += string(r)
		}
	}
}

func (m *topModel) typeKey(key, text string) {
	switch key {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		if r := []rune(m.filter); len(r) > 0 {
			m.filter = string(r[:len(r)-1])
		}
	case "ctrl+u":
		m.filter = ""
	default:
		m.enter(text)
	}
}

// press does what a key is for.
func (m *topModel) press(key string) tea.Cmd {
	orders := map[string]string{"b": topByLoad, "s": topBySize, "c": topByConnections, "w": topByWaiting, "n": topByName}
	switch key {
	case "q":
		return tea.Quit
	case "?", "h":
		m.help = !m.help
	case "space", "r":
		return m.lookNow()
	case "p":
		if m.paused = !m.paused; !m.paused {
			return m.lookNow()
		}
	case "/":
		m.typing, m.help = true, false
	case "1", "2", "3", "4":
		m.show(topPage(key[0] - '1'))
	case "tab":
		m.show((m.page + 1) % topPages)
	case "shift+tab":
		m.show((m.page + topPages - 1) % topPages)
	case "b", "s", "c", "w", "n":
		m.sort = orders[key]
		m.offsets[m.place()] = 0
		delete(m.cursors, m.place())
	case "esc", "backspace", "left":
		m.back()
	case "enter", "right":
		m.open()
	default:
		m.move(key)
	}
	return nil
}

func (m *topModel) show(p topPage) { m.page, m.details, m.help = p, nil, false }

// back closes what was opened last: a detail, the help, the filter.
func (m *topModel) back() {
	switch {
	case m.help:
		m.help = false
	case len(m.details) > 0:
		m.details = m.details[:len(m.details)-1]
	default:
		m.filter = ""
	}
}

// detail returns what is looked at more closely, nil for a page.
func (m *topModel) detail() *topDetail {
	if len(m.details) == 0 {
		return nil
	}
	return &m.details[len(m.details)-1]
}

// place names the list that is shown, for its cursor.
func (m *topModel) place() string {
	if d := m.detail(); d != nil {
		return "detail " + d.tenant
	}
	return string(rune('1' + m.page))
}

// open opens the row at the cursor.
func (m *topModel) open() {
	const deepest = 50 // a circle of sessions that wait for each other has no end
	rows := m.rows()
	if len(rows.opens) == 0 || len(m.details) >= deepest || m.help {
		return
	}
	d := rows.opens[m.cursor(rows)]
	if now := m.detail(); now != nil && d.session != nil && now.session != nil && *d.session == *now.session {
		return
	}
	m.details = append(m.details, d)
}

// cursor returns the row at the cursor: that of the same name as before the last look.
func (m *topModel) cursor(rows topRows) int {
	place := m.place()
	for i, key := range rows.keys {
		if key == m.cursors[place] {
			return i
		}
	}
	return max(0, min(m.offsets[place], len(rows.keys)-1))
}

func (m *topModel) move(key string) {
	rows := m.rows()
	if len(rows.keys) == 0 {
		return
	}
	at, jump := m.cursor(rows), max(1, m.room()-1)
	switch key {
	case "up", "k":
		at--
	case "down", "j":
		at++
	case "pgup", "ctrl+b":
		at -= jump
	case "pgdown", "ctrl+f":
		at += jump
	case "home", "g":
		at = 0
	case "end", "G":
		at = len(rows.keys) - 1
	default:
		return
	}
	m.cursors[m.place()] = rows.keys[max(0, min(at, len(rows.keys)-1))]
}

// matches reports whether the filter lets a row through that has these texts.
func (m *topModel) matches(texts ...string) bool {
	return strings.Contains(strings.ToLower(strings.Join(texts, "\n")), strings.ToLower(m.filter))
}
