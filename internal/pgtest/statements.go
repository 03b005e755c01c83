package pgtest

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/db"
)

// EnvStatements names the directory where a process that a test has started writes
// the statements it sent. It must reach that process.
const EnvStatements = "CRMCTL_TEST_STATEMENTS"

// collector holds every statement of ours that was sent while something but
// PostgreSQL's own names was on search_path: each must name everything in full.
type collector struct {
	mu   sync.Mutex
	sent map[string]string // by text: who sent it
	// bare holds those that may name a tenant's table without its schema: COPY, where that
	// is on search_path.
	bare map[string]string
	// spread holds the statements that name tenants' tables, whatever was on search_path.
	spread map[string]string
	out    io.Writer // of a process that a test has started
}

// record is a line of what a process that a test has started has sent.
type record struct {
	SQL, By string
	Kind    string
}

// The kinds of statements that are kept, by what is looked at.
const (
	kindFull   = "full"
	kindBare   = "bare"
	kindSpread = "spread"
)

// kept returns where the statements of a kind are kept.
func (c *collector) kept(kind string) map[string]string {
	switch kind {
	case kindBare:
		return c.bare
	case kindSpread:
		return c.spread
	}
	return c.sent
}

// observers are told what is sent to their database.
//
//nolint:gochecknoglobals // the tracer is one for the process
var observers sync.Map // of func(*pgx.Conn, []db.Sent), by placeOf

// Observe tells see, until the test ends, what this process sends to the database of dsn: it
// may be called by several goroutines.
func Observe(t testing.TB, dsn string, see func(conn *pgx.Conn, statements []db.Sent)) {
	t.Helper()
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	place := placeOf(cfg)
	observers.Store(place, see)
	t.Cleanup(func() { observers.Delete(place) })
}

// placeOf tells databases of one name on several servers apart.
func placeOf(cfg *pgx.ConnConfig) string {
	return fmt.Sprintf("%s:%d/%s", cfg.Host, cfg.Port, cfg.Database)
}

// watch looks at everything that this process sends from now on.
func watch(out io.Writer) *collector {
	c := &collector{sent: map[string]string{}, bare: map[string]string{}, spread: map[string]string{}, out: out}
	db.Trace(c.see)
	return c
}

// Child is for a process that a test has started to run the program: it has its
// statements looked at by Main of that test's process.
func Child() {
	dir := os.Getenv(EnvStatements)
	if dir == "" {
		return
	}
	f, err := os.CreateTemp(dir, "*.ndjson")
	if err != nil {
		panic(err) // a test must not pass because nobody looked
	}
	watch(f)
}

// path is what is known about search_path on a connection.
type path struct {
	now        string
	session    string
	savepoints map[string]string
}

const unknownPath = "?"

// see follows search_path on a connection from statement to statement.
func (c *collector) see(conn *pgx.Conn, statements []db.Sent) {
	if see, ok := observers.Load(placeOf(conn.Config())); ok {
		see.(func(*pgx.Conn, []db.Sent))(conn, statements)
	}
	const key = "pgtest: search_path"
	data := conn.PgConn().CustomData()
	p, ok := data[key].(*path)
	if !ok {
		p = &path{session: unknownPath, savepoints: map[string]string{}}
		data[key] = p
	}
	if idle(conn.PgConn()) {
		p.now = p.session
	}
	for _, s := range statements {
		switch {
		case s.Foreign || p.now == db.OwnPath:
		case p.inTenant() && strings.HasPrefix(s.SQL, "copy "):
			c.add(s.SQL, kindBare)
		default:
			c.add(s.SQL, kindFull)
		}
		if sql, is := spreads(s.SQL); is && !s.Foreign && !s.Alone {
			c.add(sql, kindSpread)
		}
		p.follow(s)
	}
}

func idle(conn *pgconn.PgConn) bool { return conn.TxStatus() == 'I' }

var (
	standsIn = regexp.MustCompile(`^(?:pg_catalog, )?"([^"]+)", pg_temp\b`)
	setsPath = regexp.MustCompile(`set_config\('search_path', (?:'([^']*)'|\$(\d+)), (true|false)\)`)
	harmless = regexp.MustCompile(`^(begin( isolation level [a-z ,]+)?|commit|rollback( to savepoint \w+)?|(release )?savepoint \w+|set transaction read only|reset role|set constraints all (deferred|immediate)|set local (citus\.\w+|lock_timeout) = \S+)$`)
)

// inTenant reports whether a tenant's schema is searched before all but PostgreSQL's own.
func (p *path) inTenant() bool {
	return standsIn.MatchString(p.now) && standsIn.FindStringSubmatch(p.now)[1] != "public"
}

func (p *path) follow(s db.Sent) {
	words := strings.Fields(s.SQL)
	switch {
	case s.Foreign:
		p.now = unknownPath // whatever it has done to the path
	case len(words) == 0:
	case words[0] == "begin", words[0] == "commit", words[0] == "rollback" && len(words) == 1:
		p.now = p.session
		clear(p.savepoints)
	case words[0] == "savepoint":
		p.savepoints[words[1]] = p.now
	case words[0] == "rollback":
		p.now = p.savepoints[words[len(words)-1]]
	case strings.EqualFold(words[0], "set"), strings.EqualFold(words[0], "reset"), strings.EqualFold(words[0], "discard"):
		if !harmless.MatchString(s.SQL) && !strings.EqualFold(strings.Join(words[:min(3, len(words))], " "),
			"set local check_function_bodies") {
			p.now = unknownPath
		}
	case strings.Contains(s.SQL, "'search_path'"):
		p.set(s)
	}
}

func (p *path) set(s db.Sent) {
	m := setsPath.FindStringSubmatch(s.SQL)
	if m == nil {
		if strings.Contains(s.SQL, "set_config") {
			p.now = unknownPath
		}
		return
	}
	value := m[1]
	if m[2] != "" {
		var n int
		_, _ = fmt.Sscan(m[2], &n)
		value = unknownPath
		if n >= 1 && n <= len(s.Args) {
			value = fmt.Sprint(s.Args[n-1])
		}
	}
	p.now = value
	if m[3] == "false" {
		p.session = value
	}
}

// add keeps a statement, unless the test itself has sent it.
func (c *collector) add(sql, kind string) {
	if harmless.MatchString(sql) {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	kept := c.kept(kind)
	if _, ok := kept[sql]; ok {
		return
	}
	by := sender()
	if by == "" {
		return
	}
	kept[sql] = by
	if c.out != nil {
		if err := json.NewEncoder(c.out).Encode(record{sql, by, kind}); err != nil {
			panic(err)
		}
	}
}

// sender returns the function that has sent the statement, "" for one of the tests'
// own. It is the nearest of this module outside internal/db and this package.
func sender() string {
	pcs := make([]uintptr, 64)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		f, more := frames.Next()
		file, ours := strings.CutPrefix(f.File, root())
		switch {
		case !ours:
		case strings.HasSuffix(file, "_test.go"), strings.HasPrefix(file, "internal/fleettest/"),
			strings.HasPrefix(file, "internal/crm/crmtest/"):
			return ""
		case !strings.HasPrefix(file, "internal/db/") && !strings.HasPrefix(file, "internal/pgtest/"):
			return fmt.Sprintf("%s:%d", file, f.Line)
		}
		if !more {
			return "a goroutine of internal/db"
		}
	}
}

// root is the directory of the module, as the compiler knows it.
func root() string {
	_, file, _, _ := runtime.Caller(0)
	return strings.TrimSuffix(file, "internal/pgtest/statements.go")
}

// takeIn adds what the processes that tests have started have written.
func (c *collector) takeIn(dir string) error {
	files, err := filepath.Glob(filepath.Join(dir, "*.ndjson"))
	if err != nil {
		return err
	}
	for _, name := range files {
		if err := c.read(name); err != nil {
			return err
		}
	}
	return nil
}

func (c *collector) read(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }()
	r := bufio.NewReader(f)
	for {
		line, err := r.ReadBytes('\n')
		if errors.Is(err, io.EOF) {
			return nil // a process that was killed leaves half a line
		}
		if err != nil {
			return err
		}
		var one record
		if err := json.Unmarshal(line, &one); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		c.kept(one.Kind)[one.SQL] = one.By
	}
}

// verdict prints the statements that name something without its schema, and returns
// the exit code.
func (c *collector) verdict(dir string) int {
	if err := c.takeIn(dir); err != nil {
		fmt.Fprintf(os.Stderr, "pgtest: %v\n", err)
		return 1
	}
	found := append(c.offences(), c.refusals()...)
	for _, o := range found {
		fmt.Fprintf(os.Stderr, "pgtest: %s\n", o)
	}
	return min(len(found), 1)
}

// offences describes the statements that name something without its schema.
func (c *collector) offences() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	var out []string
	for _, kind := range []string{kindFull, kindBare} {
		kept := c.kept(kind)
		for _, sql := range slices.Sorted(maps.Keys(kept)) {
			if what := offence(sql, kind == kindBare); what != "" {
				out = append(out, fmt.Sprintf("%s: names found along search_path, which is not %q there: %s\n\t%s", kept[sql],
					db.OwnPath, what, sql))
			}
		}
	}
	return out
}
