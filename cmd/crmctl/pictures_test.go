package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/localpg"
	"github.com/crmctl/crmctl/internal/picture"
)

// picturesDir has the pictures of the README and the documents.
const picturesDir = "../../docs/pictures"

// shownSocket stands in the pictures for the directory of the server's socket, which is another one each time. It
// is as long, so that nothing else moves.
const shownSocket = "/run/postgresql"

// studio is where the pictures are taken: a server of its own, a directory with a configuration, and the program
// as a process on a terminal.
type studio struct {
	t      *testing.T
	fleet  *fleettest.Fleet
	dir    string
	socket string
}

func newStudio(t *testing.T) *studio {
	t.Helper()
	server, err := localpg.Start(t.Context(), localpg.Options{Ephemeral: true, BinDir: os.Getenv("CRMCTL_PG_BIN")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := server.Stop(ctx); err != nil {
			t.Error(err)
		}
	})
	// Its name is shown, cut and folded: it has to be of one length.
	socket := "/tmp/crm-" + strings.ToLower(rand.Text()[:len(shownSocket)-len("/tmp/crm-")])
	if err := os.Symlink(server.SocketDir, socket); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.Remove(socket) })
	s := &studio{t: t, dir: t.TempDir(), socket: socket}
	s.fleet = &fleettest.Fleet{DSN: "postgres://" + localpg.User + "@/" + localpg.Database + "?host=" + socket}
	files := filepath.Join(s.dir, "migrations", "tenant")
	if err := os.MkdirAll(filepath.Dir(files), 0o750); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(files, os.DirFS("../../migrations/tenant")); err != nil {
		t.Fatal(err)
	}
	s.write("crmctl.yaml", []byte("migrations_dir: migrations\nlock_timeout: 5m\n"))
	s.write("leads.csv", demoContacts)
	return s
}

func (s *studio) write(name string, content []byte) {
	s.t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), content, 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *studio) command(args ...string) *exec.Cmd {
	cmd := exec.CommandContext(s.t.Context(), "crmctl", args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "DATABASE_URL="+s.fleet.DSN, "HOME="+s.dir, "XDG_CONFIG_HOME="+s.dir,
		"LANG=C.UTF-8", "LC_ALL=", "TERM=xterm-256color", "TZ=UTC", "NO_COLOR=", "GITHUB_ACTIONS=", "COLORTERM=")
	return cmd
}

// prepare runs a command that is not shown.
func (s *studio) prepare(args ...string) {
	s.t.Helper()
	if out, err := s.command(args...).CombinedOutput(); err != nil {
		s.t.Fatalf("crmctl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// start types a command on a terminal and starts it.
func (s *studio) start(term *picture.Terminal, args ...string) *picture.Program {
	s.t.Helper()
	term.Show("\x1b[2m$\x1b[0m \x1b[1mcrmctl " + cli.ShellWords(args) + "\x1b[0m\n")
	return term.Start(s.command(args...))
}

// run types a command, and waits until it ends with an exit code.
func (s *studio) run(term *picture.Terminal, code int, args ...string) {
	s.t.Helper()
	if got := s.start(term, args...).Wait(); got != code {
		s.t.Fatalf("crmctl %s: exit code %d, want %d\n%s", strings.Join(args, " "), got, code, term.Screen())
	}
}

// of shows commands that are done, each with its exit code.
func (s *studio) of(code int, args ...string) picture.Screen {
	s.t.Helper()
	const rows = 60
	term := picture.NewTerminal(s.t, 80, rows)
	s.run(term, code, args...)
	return term.Screen()
}

// furnish makes the fleet that the pictures show, at version 3: tenants of several sizes, some of which somebody
// has changed by hand.
func (s *studio) furnish() {
	s.t.Helper()
	s.prepare("migrate", "public")
	s.write("names.txt", []byte(demoNames(60)))
	s.prepare("tenant", "create", "--from", "names.txt", "--to", "3")
	// Each has its size: they are shown in that order.
	for i, tenant := range []string{"acme_corp", "hooli", "customer_006", "globex", "customer_008", "tech_startup",
		"customer_010", "customer_011", "customer_013", "initech", "customer_014", "customer_015", "customer_016",
		"customer_017", "customer_018", "customer_019", "customer_021"} {
		const people = `insert into tenant_%s.contacts (name, email, phone) select 'Person ' || n, 'p' || n || '@example.com',
			'+4930' || 1000000 + n from generate_series(1, %d) n`
		n := int(64_000 * math.Pow(0.75, float64(i)))
		s.fleet.Exec(s.t, fmt.Sprintf(people, tenant, n), "analyze tenant_"+tenant+".contacts")
	}
	s.fleet.Exec(s.t,
		"update public.tenants set status = 'deleted', deleted_at = '2026-11-02', purge_after = '2026-12-02' "+
			"where slug = 'customer-007'",
		"update public.tenants set status = 'suspended' where slug = 'customer-009'",
		"alter table tenant_initech.contacts add column company text",
		"create index mine on tenant_customer_012.contacts (phone)",
		"create index mine on tenant_customer_031.contacts (phone)",
		"alter table tenant_customer_020.contacts alter column email set not null")
}

// shot is a picture that was taken.
type shot struct {
	name, title, description string
	screen                   picture.Screen
}

// take takes the pictures, in the order of a life: what one shows has happened for the next.
func (s *studio) take() []shot {
	s.t.Helper()
	var shots []shot
	add := func(name, title, description string, screen picture.Screen) {
		shots = append(shots, shot{name, title, description, screen.Replace(s.socket, shownSocket)})
	}
	add("help", "crmctl", "The first help: what it is for, four examples, the groups of commands.", s.of(cli.ExitOK))
	s.furnish()
	add("tenants", "crmctl tenant list", "The first tenants of a fleet, of several sizes.",
		s.of(cli.ExitOK, "tenant", "list", "--limit", "9"))
	run, top, end := s.migrateBehindALock()
	add("migrate", "crmctl migrate all-tenants, on its way", "A bar shows how far the run is, and the line below it "+
		"how many tenants are done and which session is in the way of one.", run)
	add("top", "crmctl stats top", "The fleet on the whole of the terminal while the run goes on: its bar, the tenants "+
		"by size, one of which waits for a lock.", top)
	add("migrated", "crmctl migrate all-tenants, at its end", "All tenants but one are migrated; the failed one is named "+
		"with the place in the file and the reason, and the next command.", end)
	add("drift", "crmctl migrate drift", "Tenants that differ from what the migrations make, in groups.",
		s.of(cli.ExitPending, "migrate", "drift"))
	add("import", "crmctl contacts import", "What was found in a file of contacts, what became of its rows.",
		s.of(cli.ExitPartial, "contacts", "import", "--tenant", "tech-startup", "leads.csv", "--rejects", "rejected.csv"))
	add("sizes", "crmctl stats sizes", "The largest tenants with a bar each.",
		s.of(cli.ExitOK, "stats", "sizes", "--top", "5"))
	return shots
}

// connect opens a connection of an application.
func (s *studio) connect(application string) *pgconn.PgConn {
	s.t.Helper()
	conn, err := pgconn.Connect(s.t.Context(), s.fleet.DSN+"&application_name="+application)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { _ = conn.Close(context.Background()) })
	return conn
}

// work has an application run statements, again and again, until the function that it returns is called.
func (s *studio) work(statements string) (stop func()) {
	s.t.Helper()
	conn := s.connect("web")
	ctx, cancel := context.WithCancel(s.t.Context())
	var worker sync.WaitGroup
	worker.Go(func() {
		for ctx.Err() == nil {
			if _, err := conn.Exec(context.WithoutCancel(ctx), statements).ReadAll(); err != nil {
				s.t.Error(err)
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	})
	return func() {
		cancel()
		worker.Wait()
	}
}

// migrateBehindALock migrates the fleet while an application holds a table of one tenant, and shows the run on its
// way, the full screen beside it, and the end of the run after the application has let go.
func (s *studio) migrateBehindALock() (run, top, end picture.Screen) {
	s.t.Helper()
	conn := s.connect("web")
	exec := func(sql string) {
		s.t.Helper()
		if _, err := conn.Exec(s.t.Context(), sql).ReadAll(); err != nil {
			s.t.Fatal(err)
		}
	}
	exec("begin; select count(*) from tenant_hooli.contacts")
	const rows = 24
	term := picture.NewTerminal(s.t, 80, rows)
	migration := s.start(term, "migrate", "all-tenants")
	run = term.Await("who is in the way", func(text string) bool {
		return strings.Contains(text, "ok 57   failed 1   slowest now: hooli") && strings.Contains(text, "waits for pid")
	})
	stop := s.work("select count(*) from tenant_acme_corp.contacts; select count(*) from tenant_globex.contacts;" +
		"update tenant_tech_startup.contacts set updated_at = now() where email = 'p7@example.com'")
	beside := picture.NewTerminal(s.t, 80, rows)
	watch := s.start(beside, "stats", "top", "--sort", "size")
	top = beside.Await("the run, who waits, and load", func(text string) bool {
		return beside.Full() && strings.Contains(text, "1 wait ") && strings.Contains(text, " failed 1") &&
			regexp.MustCompile(`acme-corp +\d`).MatchString(text) &&
			regexp.MustCompile(`tech-startup +[\d.,]+ +\S*\d `).MatchString(text)
	})
	watch.Type("q")
	if code := watch.Wait(); code != cli.ExitOK {
		s.t.Fatalf("crmctl stats top: exit code %d\n%s", code, beside.Screen())
	}
	stop()
	exec("commit")
	if code := migration.Wait(); code != cli.ExitPartial {
		s.t.Fatalf("crmctl migrate all-tenants: exit code %d\n%s", code, term.Screen())
	}
	return run, top, term.Screen()
}

// passing are numbers that are others each time: times, speeds, sizes, processes, connections.
var passing = regexp.MustCompile(`\d[\d.,]* ?(ms|s|m|h|B|kB|MB|GB|/s|rows/s)\b|\d\d:\d\d:\d\d|` +
	`\d{4}-\d\d-\d\d|pid \d+|\d+ of \d+ connections`)

// still returns what stays the same of a picture: blanks and bars are as wide as what passes lets them be, and of a
// full screen's rows, which show what happens at a moment, the names stay.
func still(name string, s picture.Screen) string {
	text := s.Marked()
	text = regexp.MustCompile(`(?m)^slowest .*|\d+ %$`).ReplaceAllString(text, "N")
	text = regexp.MustCompile(`(?m)(\d+ / \d+) .*`).ReplaceAllString(text, "$1")
	if name == "top" {
		text = regexp.MustCompile(`(?m)^([> ] [a-z][a-z0-9-]+) .*`).ReplaceAllString(text, "$1")
		text = regexp.MustCompile(`(?m)^run .*`).ReplaceAllString(text, "run")
	}
	text = passing.ReplaceAllString(text, "N")
	return regexp.MustCompile(`[ █▏▎▍▌▋▊▉]+`).ReplaceAllString(text, " ")
}

// check compares a picture that was taken with the one that the documents have.
func (shot shot) check(t *testing.T, path string) {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Error(err)
		return
	}
	was, err := picture.Read(text)
	if err != nil {
		t.Errorf("%s: %v", path, err)
		return
	}
	equal(t, path+" (make screens takes it again)", still(shot.name, shot.screen), still(shot.name, was.Screen))
	if !bytes.Equal(text, was.Screen.SVG(shot.title, shot.description)) {
		t.Errorf("%s is not as it would be drawn now: make screens", path)
	}
}

// The pictures of the documents show what the program shows. `make screens` takes them again.
func TestPictures(t *testing.T) {
	t.Parallel()
	there := map[string]bool{}
	for _, shot := range newStudio(t).take() {
		path := filepath.Join(picturesDir, shot.name+".svg")
		there[path] = true
		if os.Getenv("CRMCTL_TEST_UPDATE") == "" {
			shot.check(t, path)
			continue
		}
		if err := os.WriteFile(path, shot.screen.SVG(shot.title, shot.description), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(picturesDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if !there[file] {
			t.Errorf("%s is no picture that is taken", file)
		}
	}
}

// Every picture is shown by a document, with a text in its place for who does not see it, and every picture that a
// document shows is there.
func TestPicturesAreShown(t *testing.T) {
	t.Parallel()
	shown := map[string]bool{}
	for _, file := range documentFiles(t) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, found := range regexp.MustCompile(`!\[([^]]*)\]\(([^)]*)\)`).FindAllStringSubmatch(string(text), -1) {
			path := filepath.Join(filepath.Dir(file), found[2])
			shown[path] = true
			if _, err := os.Stat(path); err != nil || len(found[1]) < 20 {
				t.Errorf("%s shows %s in place of %q: %v", file, found[2], found[1], err)
			}
		}
	}
	files, err := filepath.Glob(filepath.Join(picturesDir, "*.svg"))
	if err != nil || len(files) == 0 {
		t.Fatalf("no pictures: %v", err)
	}
	for _, file := range files {
		if !shown[file] {
			t.Errorf("no document shows %s", file)
		}
	}
}
