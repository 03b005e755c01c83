package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/localpg"
)

// scaleStep is something that crmctl does to a fleet.
type scaleStep struct {
	Name     string
	PerFleet bool // its cost is that of so many tenants; else it is one thing, however large the fleet
	again    int  // times it is done; the median counts
	// prepare makes it ready, outside of what is measured; nil for nothing.
	prepare func(ctx context.Context, dsn string) error
	args    []string
}

// scaleResult is what a step took at one size of the fleet.
type scaleResult struct {
	Step        string  `json:"step"`
	PerFleet    bool    `json:"per_fleet"`
	Seconds     float64 `json:"seconds"`
	Memory      int64   `json:"memory_bytes"` // of the client, at its peak
	Connections int     `json:"connections"`  // at the most, as seen every few milliseconds
	Locks       int     `json:"locks"`        // in the shared table, at the most
}

// scaleSize is one size of the fleet.
type scaleSize struct {
	Tenants int           `json:"tenants"`
	Results []scaleResult `json:"results"`
}

const (
	scalePurged  = 100
	scaleRepeats = 3
	watchEvery   = 20 * time.Millisecond
)

// measureScale does the same to fleets of several sizes, each on a cluster of its own:
// what the files of a former fleet have done to the disk must not count.
func (b *bench) measureScale(ctx context.Context, sizes, into string) error {
	for text := range strings.SplitSeq(sizes, ",") {
		n, err := strconv.Atoi(text)
		if err != nil || n <= scalePurged {
			return fmt.Errorf("-sizes %s: want numbers greater than %d", sizes, scalePurged)
		}
		size, err := b.scaleOf(ctx, n)
		if err != nil {
			return fmt.Errorf("%d tenants: %w", n, err)
		}
		if err := b.keep(into, func(r *record) {
			r.add(size)
			r.Machine = b.machine
		}); err != nil {
			return err
		}
	}
	return nil
}

// scaleOf measures everything at one size.
func (b *bench) scaleOf(ctx context.Context, n int) (size scaleSize, err error) {
	server, err := startServer(ctx, b.root)
	if err != nil {
		return size, err
	}
	defer func() { _ = server.Stop(context.WithoutCancel(ctx)) }()
	if b.machine.PostgreSQL, err = serverVersion(ctx, server.DSN); err != nil {
		return size, err
	}
	steps, err := b.scaleSteps(n)
	if err != nil {
		return size, err
	}
	if _, err := b.run(ctx, server.DSN, b.crmctl, "migrate", "public"); err != nil {
		return size, err
	}
	size.Tenants = n
	for _, s := range steps {
		r, err := b.scaleStep(ctx, server, s)
		if err != nil {
			return size, err
		}
		fmt.Fprintf(os.Stderr, "%d tenants: %-24s %8.3f s  %3d MB  %2d connections  %4d locks\n", n, s.Name, r.Seconds,
			r.Memory/1_000_000, r.Connections, r.Locks)
		size.Results = append(size.Results, r)
	}
	return size, nil
}

// scaleSteps are what is measured, in their order.
func (b *bench) scaleSteps(n int) ([]scaleStep, error) {
	more, err := b.migrationsWith(fmt.Sprintf("scale%d", n), 1)
	if err != nil {
		return nil, err
	}
	k, backups := fmt.Sprint(b.workers), filepath.Join(b.dir, fmt.Sprintf("backups%d", n))
	on := func(args ...string) []string { return append(args, "--migrations-dir", more) }
	fleet := func(name string, args ...string) scaleStep {
		return scaleStep{Name: name, PerFleet: true, again: scaleRepeats, args: args}
	}
	once := func(s scaleStep) scaleStep {
		s.again = 1
		return s
	}
	overdueSome := func(ctx context.Context, dsn string) error {
		return overdue(ctx, dsn, fmt.Sprintf("where slug > 't%05d'", n-scalePurged))
	}
	return []scaleStep{
		once(fleet("create", "tenant", "create", "t%05d", "--count", fmt.Sprint(n), "--concurrency", k, "-q")),
		fleet("nothing to do", "migrate", "all-tenants"),
		once(fleet("one added migration", on("migrate", "all-tenants", "--concurrency", k)...)),
		fleet("status --verify", on("migrate", "status", "--verify")...),
		fleet("drift", on("migrate", "drift")...),
		fleet("doctor", on("doctor")...),
		fleet("sizes, exact", on("stats", "sizes", "--exact")...),
		fleet("list", "tenant", "list"),
		{Name: "backup of one tenant", again: scaleRepeats, args: []string{"backup", "create", "t00001", "--dir", backups}},
		{Name: fmt.Sprintf("purge of %d tenants", scalePurged), again: 1, prepare: overdueSome,
			args: []string{"tenant", "purge", "--no-backup", "--yes", "--concurrency", k, "-q"}},
	}, nil
}

// scaleStep does one step, and watches the server meanwhile.
func (b *bench) scaleStep(ctx context.Context, server *localpg.Server, s scaleStep) (scaleResult, error) {
	r := scaleResult{Step: s.Name, PerFleet: s.PerFleet}
	if s.prepare != nil {
		if err := s.prepare(ctx, server.DSN); err != nil {
			return r, err
		}
	}
	watched, err := watch(ctx, server.DSN)
	if err != nil {
		return r, err
	}
	var seconds []float64
	for range s.again {
		took, err := b.run(ctx, server.DSN, b.crmctl, s.args...)
		if err != nil {
			return r, err
		}
		seconds = append(seconds, took.wall.Seconds())
		r.Memory = max(r.Memory, took.memory)
	}
	r.Seconds = median(seconds)
	r.Connections, r.Locks, err = watched()
	return r, err
}

// watch looks at the server until the function that it returns is called, which says how
// many connections and locks others had at the most.
func watch(ctx context.Context, dsn string) (func() (connections, locks int, err error), error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return nil, err
	}
	var connections, locks int
	stop, done := make(chan struct{}), make(chan error, 1)
	go func() {
		defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
		for {
			var c, l int
			err := conn.QueryRow(ctx, `select (select count(*) from pg_stat_activity where backend_type = 'client backend'
				and pid <> pg_backend_pid()), (select count(*) from pg_locks where not fastpath and pid <> pg_backend_pid())`).
				Scan(&c, &l)
			if err != nil {
				done <- err
				return
			}
			connections, locks = max(connections, c), max(locks, l)
			select {
			case <-stop:
				done <- nil
				return
			case <-time.After(watchEvery):
			}
		}
	}()
	return func() (int, int, error) {
		close(stop)
		err := <-done
		return connections, locks, err
	}, nil
}
