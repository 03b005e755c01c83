package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/localpg"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "raw" {
		exit(rawMain(context.Background(), os.Args[2:]))
	}
	exit(benchMain(context.Background()))
}

func exit(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// bench is one run of all measurements.
type bench struct {
	tenants, rounds, workers, rows int

	against string // names of peers, "" = all
	root    string // directory for servers
	machine machine

	crmctl string // path of the program under test
	self   string
	dir    string // for files
	server *localpg.Server
	admin  string // connection string of the maintenance database
	log    []result
}

func benchMain(ctx context.Context) error {
	var b bench
	var only, sizes, into string
	flag.IntVar(&b.tenants, "tenants", 1000, "tenants of the fleet")
	flag.IntVar(&b.rounds, "rounds", 3, "times each pair is measured")
	flag.IntVar(&b.workers, "workers", 4, "connections of both sides")
	flag.IntVar(&b.rows, "rows", 1_000_000, "contacts to import")
	flag.StringVar(&only, "only", "start,fleet,shape,purge,import",
		"what to measure: start, fleet, shape, purge, import, and network, peers and scale, which have tables of their own")
	flag.StringVar(&b.against, "against", "", "with -only peers, only these: provider, goose, migrate, tern, knex")
	flag.StringVar(&sizes, "sizes", "1000,2000,5000,10000", "with -only scale, the numbers of tenants")
	flag.StringVar(&into, "write", "", "with -only scale, network or peers, also write the page of figures into this directory")
	flag.StringVar(&b.root, "root", "/var/tmp", "directory on a real disk for the server")
	flag.Parse()

	var err error
	if b.self, err = os.Executable(); err != nil {
		return err
	}
	if b.dir, err = os.MkdirTemp("", "crmctl-bench-"); err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(b.dir) }()
	b.crmctl = filepath.Join(b.dir, "crmctl")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", b.crmctl, "./cmd/crmctl").CombinedOutput(); err != nil {
		return fmt.Errorf("build: %w\n%s", err, out)
	}
	b.machine = b.thisMachine(ctx)
	if only == "scale" {
		return b.measureScale(ctx, sizes, into)
	}
	if b.server, err = startServer(ctx, b.root); err != nil {
		return err
	}
	defer func() { _ = b.server.Stop(context.WithoutCancel(ctx)) }()
	b.admin = b.server.DSN
	if b.machine.PostgreSQL, err = serverVersion(ctx, b.admin); err != nil {
		return err
	}
	if err := b.measure(ctx, only, into); err != nil {
		return err
	}
	if len(b.log) > 0 {
		b.print()
	}
	return nil
}

// serverSettings are those of every server: that of a production server, in small.
var serverSettings = map[string]string{
	"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "shared_buffers": "1GB",
	"max_connections": "200", "max_wal_size": "8GB", "wal_level": "replica",
}

func startServer(ctx context.Context, root string) (*localpg.Server, error) {
	fmt.Fprintln(os.Stderr, "starting a server in", root)
	return localpg.Start(ctx, localpg.Options{Ephemeral: true, Root: root, BinDir: os.Getenv("CRMCTL_PG_BIN"),
		Settings: serverSettings})
}

// measure does what was asked for, on one server.
func (b *bench) measure(ctx context.Context, only, into string) (err error) {
	for what := range strings.SplitSeq(only, ",") {
		switch what {
		case "start":
			err = b.measureStart(ctx)
		case "fleet":
			err = b.measureFleet(ctx)
		case "shape":
			err = b.measureShape(ctx)
		case "purge":
			err = b.measurePurge(ctx)
		case "import":
			err = b.measureImport(ctx)
		case "network":
			err = b.measureNetwork(ctx, into)
		case "peers":
			err = b.measurePeers(ctx, into)
		default:
			err = fmt.Errorf("-only %s: want start, fleet, shape, purge, import, network or peers, or scale alone", what)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// sample is one finished process.
type sample struct {
	wall   time.Duration
	memory int64 // peak resident set, bytes
}

// run times a command, which must succeed. Its output goes to stderr when it
// fails.
func (b *bench) run(ctx context.Context, dsn, name string, args ...string) (sample, error) {
	return b.runWith(ctx, dsn, "", name, args...)
}

// runWith is run with something on stdin.
func (b *bench) runWith(ctx context.Context, dsn, stdin, name string, args ...string) (sample, error) {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Env = append(os.Environ(), "DATABASE_URL="+dsn, "HOME="+b.dir, "XDG_CONFIG_HOME="+filepath.Join(b.dir, "config"))
	cmd.Dir = b.dir
	cmd.Stdin = strings.NewReader(stdin)
	begun := time.Now()
	out, err := cmd.CombinedOutput()
	s := sample{wall: time.Since(begun)}
	if err != nil {
		return s, fmt.Errorf("%s %s: %w\n%s", filepath.Base(name), strings.Join(args, " "), err, tail(string(out)))
	}
	s.memory = peakMemory(cmd.ProcessState)
	return s, nil
}

func tail(s string) string {
	const most = 2000
	if len(s) > most {
		return "…" + s[len(s)-most:]
	}
	return s
}

// result is one line of the report: a measure of ours against a yardstick, over
// the rounds.
type result struct {
	what       string
	ours, them []sample
	units      int    // of work in each run, 0 for none
	unit       string // "tenants"
	want       string // the goal, in words
	inverse    bool   // the ratio is time against time: smaller is better
}

func (b *bench) add(r result) { b.log = append(b.log, r) }

func (b *bench) print() {
	fmt.Printf("%-46s %14s %14s %7s   %-22s %9s\n", "", "crmctl", "yardstick", "ratio", "to reach", "memory")
	for _, r := range b.log {
		var ratios []float64
		for i := range r.them {
			ratio := r.them[i].wall.Seconds() / r.ours[i].wall.Seconds()
			if r.inverse {
				ratio = 1 / ratio
			}
			ratios = append(ratios, ratio)
		}
		ratio := ""
		if len(ratios) > 0 {
			ratio = fmt.Sprintf("%.2f", median(ratios))
		}
		fmt.Printf("%-46s %14s %14s %7s   %-22s %9s\n", r.what, r.show(r.ours), r.show(r.them), ratio, r.want, memory(r.ours))
	}
}

func (r result) show(samples []sample) string {
	if len(samples) == 0 {
		return ""
	}
	var seconds []float64
	for _, s := range samples {
		seconds = append(seconds, s.wall.Seconds())
	}
	m := median(seconds)
	if r.units == 0 {
		return fmt.Sprintf("%.1f ms", m*1000)
	}
	return fmt.Sprintf("%.0f %s/s", float64(r.units)/m, r.unit)
}

func memory(samples []sample) string {
	var most int64
	for _, s := range samples {
		most = max(most, s.memory)
	}
	if most == 0 {
		return ""
	}
	return fmt.Sprintf("%d MB", most/1_000_000)
}

func median(v []float64) float64 {
	s := slices.Sorted(slices.Values(v))
	n := len(s)
	if n%2 == 1 {
		return s[n/2]
	}
	return (s[n/2-1] + s[n/2]) / 2
}

var errNoPsql = errors.New("psql is not installed")
