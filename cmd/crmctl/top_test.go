package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

const hostileText = "x\x1b[2J\x1b]0;owned\a\u202e\r\ny"

// topFleet is a look at a fleet of n tenants, in which one session waits for another and a
// run is under way.
func topFleet(n int) app.TopLook {
	look := app.TopLook{At: time.Date(2026, 11, 23, 20, 15, 4, 0, time.UTC), Took: 34 * time.Millisecond, Seconds: 2}
	for i := range n {
		look.Tenants = append(look.Tenants, app.TopTenant{Slug: fmt.Sprintf("tenant-%04d", i), Status: "active",
			BlockSize: 8192, Load: stats.Counters{Fetched: float64(i % 7), Written: 3},
			Size: stats.TenantSize{Known: true, Exact: true, TableBytes: int64(i) << 20}})
	}
	look.Sessions = stats.Sessions{Room: stats.Room{Used: 12, Most: 97}, Sessions: []stats.Session{
		{PID: 8123, Tenant: "tenant-0001", Whose: stats.ByLocks, Kind: "client backend", State: "idle in transaction",
			User: "app", Application: hostileText, InTransaction: 14 * time.Minute, Query: "lock table contacts"},
		{PID: 9120, Tenant: "tenant-0001", Whose: stats.ByLocks, Kind: "client backend", State: "active", User: "app",
			InQuery: 4 * time.Second, Query: "select " + hostileText + strings.Repeat(" long", 60), Waits: true,
			Wants: "AccessShareLock on tenant_x." + hostileText, Waited: 4 * time.Second,
			Blockers: []stats.Blocker{{PID: 8123}}},
	}}
	look.Run = &registry.RunProgress{Run: registry.Run{ID: 42, Kind: "migrate", Target: 20261123201504, Tenants: 4812,
		Succeeded: 3101, Failed: 1}, Seconds: 5, Failures: []registry.RunTenant{{Slug: "tenant-0003", To: 5,
		SQLState: "42701", Message: hostileText}}}
	return look
}

// topOn is a screen of a size.
func topOn(look app.TopLook, width, height int) *topModel {
	m := newTopModel(topSetup{printer: cli.Printer{Format: "table", Terminal: true, Unicode: true,
		Show: cli.Presentation{Loc: time.UTC}}, target: "crm_prod on db1:5432 as migrator", every: time.Second,
		sort: topByLoad, first: look, look: func() (app.TopLook, error) { return look, nil }})
	m.Update(tea.WindowSizeMsg{Width: width, Height: height})
	return m
}

// press presses keys one after another: single letters, or names in <>.
func pressTop(m *topModel, keys ...string) (last tea.Cmd) {
	special := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "tab": tea.KeyTab, "down": tea.KeyDown,
		"end": tea.KeyEnd, "pgdown": tea.KeyPgDown, "backspace": tea.KeyBackspace}
	for _, key := range keys {
		k := tea.Key{Code: []rune(key)[0], Text: key}
		if code, is := special[key]; is {
			k = tea.Key{Code: code}
		}
		_, last = m.Update(tea.KeyPressMsg(k))
	}
	return last
}

func screenOf(m *topModel) string { return m.View().Content }

// Whatever the size of the terminal, the page and the names, the screen fits it and holds
// no control character of others.
func TestTopFits(t *testing.T) {
	t.Parallel()
	look := topFleet(1000)
	look.Tenants[5].Slug, look.Tenants[5].Load.Fetched = strings.Repeat("very-long-name-", 4), 1e9
	for _, painted := range []bool{false, true} {
		for _, size := range [][2]int{{80, 24}, {40, 10}, {200, 60}, {20, 5}, {5, 2}, {1, 1}} {
			for _, keys := range [][]string{nil, {"2"}, {"3"}, {"4"}, {"?"}, {"enter"}, {"2", "enter"}, {"3", "down", "enter"},
				{"3", "down", "enter", "enter"}, {"/", "n", "o", "p", "e"}, {"end"}, {"4", "enter"}} {
				m := topOn(look, size[0], size[1])
				m.printer.Painter.On = painted
				m.err = errors.New(hostileText)
				pressTop(m, keys...)
				lines := strings.Split(screenOf(m), "\n")
				if len(lines) > size[1] {
					t.Errorf("%v at %v: %d lines", keys, size, len(lines))
				}
				for _, line := range lines {
					plain := line
					for _, sequence := range []string{"\x1b[31m", "\x1b[33m", "\x1b[32m", "\x1b[2m", "\x1b[0m"} {
						plain = strings.ReplaceAll(plain, sequence, "")
					}
					if strings.ContainsFunc(plain, cli.Hazardous) {
						t.Errorf("%v at %v: %q", keys, size, line)
					}
					if !painted && plain != line {
						t.Errorf("%v at %v: colour without colour: %q", keys, size, line)
					}
					if cli.ColumnsOf(plain) > size[0] {
						t.Errorf("%v at %v: too wide: %q", keys, size, line)
					}
				}
			}
		}
	}
}

// On a narrow terminal nothing is cut that has room, and what is left out is whole.
func TestTopNarrow(t *testing.T) {
	t.Parallel()
	look := topFleet(12)
	look.Tenants[11].Slug = "a-tenant-with-a-longer-name"
	for _, width := range []int{40, 50, 60} {
		m := topOn(look, width, 20)
		text := screenOf(m)
		if regexp.MustCompile(`tenant-\d+ +…`).MatchString(text) || !strings.Contains(text, "12 tenants  1 wait") ||
			!strings.Contains(text, "[1 tenants]") || !strings.Contains(text, "failed 1") {
			t.Errorf("%d columns:\n%s", width, text)
		}
		if strings.Contains(text, " con") != strings.Contains(text, " connections") {
			t.Errorf("%d columns, half a word:\n%s", width, text)
		}
		pressTop(m, "3")
		if text := screenOf(m); !strings.Contains(text, "[3 locks (1)]") || !strings.Contains(text, " 4") {
			t.Errorf("%d columns:\n%s", width, text)
		}
		pressTop(m, "?")
		if text := strings.Join(strings.Fields(screenOf(m)), " "); !strings.Contains(text, "a session that waits looks at") {
			t.Errorf("%d columns, the help is cut:\n%s", width, screenOf(m))
		}
	}
}

func TestTopShowsTenantsInOrder(t *testing.T) {
	t.Parallel()
	m := topOn(topFleet(1000), 80, 24)
	for _, want := range []string{"crm_prod on db1:5432", "1,000 tenants", "12 of 97 connections", "1 wait", "20:15:04",
		"run 42  migrate to 20261123201504", "3,102 / 4,812  64 %  failed 1", "[1 tenants]", "3 locks (1)", "by load",
		"> tenant-0993", "took 34 ms"} {
		if text := screenOf(m); !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for key, first := range map[string]string{"s": "> tenant-0999", "n": "> tenant-0000", "b": "> tenant-0993"} {
		pressTop(m, key)
		if text := screenOf(m); !strings.Contains(text, first) {
			t.Errorf("sorted by %s, %q is not first:\n%s", key, first, text)
		}
	}
}

// The cursor stays on its tenant when the order changes under it.
func TestTopCursorFollowsItsTenant(t *testing.T) {
	t.Parallel()
	m := topOn(topFleet(1000), 80, 24)
	pressTop(m, "n", "down", "down", "down")
	if text := screenOf(m); !strings.Contains(text, "> tenant-0003") {
		t.Fatal(text)
	}
	later := topFleet(1000)
	later.Tenants = later.Tenants[2:]
	m.Update(topLooked{look: later})
	if text := screenOf(m); !strings.Contains(text, "> tenant-0003") {
		t.Errorf("the cursor moved:\n%s", text)
	}
	pressTop(m, "end")
	if text := screenOf(m); !strings.Contains(text, "> tenant-0999") || strings.Contains(text, "tenant-0003") {
		t.Errorf("not at the end:\n%s", text)
	}
	later.Tenants = nil
	m.Update(topLooked{look: later})
	if text := screenOf(m); !strings.Contains(text, "no tenants") {
		t.Errorf("without tenants:\n%s", text)
	}
}

func TestTopFilters(t *testing.T) {
	t.Parallel()
	m := topOn(topFleet(1000), 80, 24)
	pressTop(m, "/", "0", "7", "7", "q", "backspace")
	if text := screenOf(m); !strings.Contains(text, "filter: 077_") || !strings.Contains(text, "tenant-0770") ||
		strings.Contains(text, "tenant-0993") {
		t.Errorf("while it is typed:\n%s", text)
	}
	m.Update(tea.PasteMsg{Content: "3\x1b[2J"})
	pressTop(m, "enter")
	if text := screenOf(m); !strings.Contains(text, "/0773[2J") {
		t.Errorf("pasted:\n%s", text)
	}
	pressTop(m, "esc")
	if text := screenOf(m); !strings.Contains(text, "tenant-0993") {
		t.Errorf("without it:\n%s", text)
	}
}

// From a session that waits, enter leads to who is in its way.
func TestTopLeadsToTheBlocker(t *testing.T) {
	t.Parallel()
	m := topOn(topFleet(10), 80, 30)
	pressTop(m, "3")
	if text := screenOf(m); !strings.Contains(text, "> 8123") || !strings.Contains(text, "└─ 9120") {
		t.Fatalf("no tree:\n%s", text)
	}
	pressTop(m, "down", "enter")
	if text := screenOf(m); !strings.Contains(text, "waits        4.0 s for AccessShareLock") ||
		!strings.Contains(text, "> 8123") {
		t.Fatalf("no blocker:\n%s", text)
	}
	pressTop(m, "enter")
	if text := screenOf(m); !strings.Contains(text, "is           idle in tx 14m00s") ||
		!strings.Contains(text, "crmctl connections clean --kill 8123") {
		t.Fatalf("not the blocker:\n%s", text)
	}
	ended := topFleet(10)
	ended.Sessions.Sessions = nil
	m.Update(topLooked{look: ended})
	if text := screenOf(m); !strings.Contains(text, "session 8123 is not there any more") {
		t.Errorf("after it ended:\n%s", text)
	}
	pressTop(m, "esc", "esc")
	if text := screenOf(m); !strings.Contains(text, "nobody waits for a lock") {
		t.Errorf("back:\n%s", text)
	}
}

// A filter keeps the whole tree in which it lets a session through: who is in its way belongs to it.
func TestTopFiltersLocks(t *testing.T) {
	t.Parallel()
	look := topFleet(10)
	look.Sessions.Sessions = append(look.Sessions.Sessions,
		stats.Session{PID: 501, Tenant: "tenant-0007", Whose: stats.ByLocks, State: "idle in transaction", User: "app"},
		stats.Session{PID: 502, Tenant: "tenant-0007", Whose: stats.ByLocks, State: "active", User: "app",
			Query: "update contacts set name = upper(name)", Waits: true, Wants: "RowExclusiveLock", Waited: time.Second,
			Blockers: []stats.Blocker{{PID: 501}}})
	for filter, want := range map[string]string{"0007": "501 502", "UPPER": "501 502", "502": "501 502",
		"8123": "8123 9120", "": "8123 9120 501 502", "nobody": ""} {
		m := topOn(look, 80, 30)
		pressTop(m, "3", "/")
		pressTop(m, strings.Split(filter, "")...)
		pressTop(m, "enter")
		text := screenOf(m)
		for _, pid := range []string{"501", "502", "8123", "9120"} {
			if shown := strings.Contains(text, " "+pid+" "); shown != strings.Contains(want, pid) {
				t.Errorf("filter %q: session %s is shown: %t\n%s", filter, pid, shown, text)
			}
		}
		if filter == "nobody" && !strings.Contains(text, "nobody who waits has nobody in his") {
			t.Errorf("nothing left:\n%s", text)
		}
	}
}

// One look at a time; the next one waits; a failure keeps what was seen.
func TestTopLooksOnceAtATime(t *testing.T) {
	t.Parallel()
	m := topOn(topFleet(3), 80, 24)
	m.Init()
	_, first := m.Update(topTurn(m.turn))
	if first == nil {
		t.Fatal("no look")
	}
	if again := pressTop(m, "r"); again != nil {
		t.Error("a second look at the same time")
	}
	if _, void := m.Update(topTurn(m.turn - 1)); void != nil {
		t.Error("an old timer looks")
	}
	if _, next := m.Update(topLooked{err: errors.New("database unreachable: db1:5432")}); next == nil {
		t.Error("no try again after a failure")
	}
	if text := screenOf(m); !strings.Contains(text, "no look: database unreachable") || !strings.Contains(text, "tenant-0002") {
		t.Errorf("after a failure:\n%s", text)
	}
	pressTop(m, "p")
	if _, paused := m.Update(topTurn(m.turn)); paused != nil {
		t.Error("it looks while it pauses")
	}
	if text := screenOf(m); !strings.Contains(text, "paused at 20:15:04") {
		t.Errorf("paused:\n%s", text)
	}
	if pressTop(m, "p") == nil {
		t.Error("no look after the pause")
	}
	_, after := m.Update(topLooked{look: topFleet(3)})
	if text := screenOf(m); after == nil || strings.Contains(text, "no look") {
		t.Errorf("afterwards:\n%s", text)
	}
	if quit := pressTop(m, "q"); quit == nil || fmt.Sprintf("%T", quit()) != "tea.QuitMsg" {
		t.Error("q does not end it")
	}
}

// panicking is a program that fills the screen as `crmctl stats top` does, and panics where its argument says.
const panicking = "fullscreen-panics"

// badModel panics in Update or View once a key is pressed.
type badModel struct {
	*topModel

	where string
	bad   bool
}

// hostilePanic is what a panic says that has a name from outside in it.
const hostilePanic = "no tenant \x1b[2J\x1b]0;owned\a\nat all"

func (m *badModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	if _, pressed := msg.(tea.KeyPressMsg); pressed {
		m.bad = true
	}
	if m.bad && m.where == "update" {
		panic(hostilePanic)
	}
	_, cmd := m.topModel.Update(msg)
	return m, cmd
}

func (m *badModel) View() tea.View {
	if m.bad && m.where == "view" {
		panic(hostilePanic)
	}
	return m.topModel.View()
}

// panicOnScreen is the program: it ends as crmctl does.
func panicOnScreen() {
	_, in := cli.WatchInterrupts(context.Background())
	f := newFactory(cli.SystemStreams(), in)
	m := topOn(topFleet(5), 80, 24)
	where := os.Args[1]
	m.look = func() (app.TopLook, error) {
		if where == "look" {
			panic(hostilePanic)
		}
		return m.first, nil
	}
	f.Note("said meanwhile")
	err := f.FillScreen(context.Background(), &badModel{topModel: m, where: where}, false)
	f.report(err)
	os.Exit(exitCode(err))
}
