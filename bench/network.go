package main

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// networkRow is what a step costs over a network that answers later.
type networkRow struct {
	Step    string    `json:"step"`
	Seconds []float64 `json:"seconds"` // for each of networkTable.Delays
	// Trips to the server and back, for each tenant where the step is the fleet's, the
	// connections' own included.
	Trips float64 `json:"trips"`
}

// networkTable is a fleet behind networks of several speeds.
type networkTable struct {
	Machine machine      `json:"machine"`
	Tenants int          `json:"tenants"`
	Delays  []int        `json:"delays_ms"` // of a round trip
	Rows    []networkRow `json:"rows"`
}

const networkTenants = 100

// networkDelays are the round trips that are tried, in milliseconds.
func networkDelays() []int { return []int{0, 1, 5, 20} }

// measureNetwork does the same to a small fleet behind networks that answer after several
// times.
func (b *bench) measureNetwork(ctx context.Context, into string) error {
	table := networkTable{Machine: b.machine, Tenants: networkTenants, Delays: networkDelays()}
	file := filepath.Join(b.dir, "network.csv")
	const contacts = 1000
	if err := writeContacts(file, contacts); err != nil {
		return err
	}
	more, err := b.migrationsWith("network", 2)
	if err != nil {
		return err
	}
	for _, delay := range table.Delays {
		dsn, err := b.database(ctx, fmt.Sprintf("network_%d", delay))
		if err != nil {
			return err
		}
		far, err := listenFar(ctx, dsn, time.Duration(delay)*time.Millisecond)
		if err != nil {
			return err
		}
		for i, s := range b.networkSteps(more, file) {
			if s.prepare != nil {
				if err := s.prepare(ctx, dsn); err != nil {
					return err
				}
			}
			before := far.trips.Load()
			took, err := b.run(ctx, far.dsn, b.crmctl, s.args...)
			if err != nil {
				return err
			}
			trips := float64(far.trips.Load() - before)
			if s.PerFleet {
				trips /= networkTenants
			}
			fmt.Fprintf(os.Stderr, "%2d ms: %-28s %8.3f s  %6.1f round trips\n", delay, s.Name, took.wall.Seconds(), trips)
			if i == len(table.Rows) {
				table.Rows = append(table.Rows, networkRow{Step: s.Name})
			}
			row := &table.Rows[i]
			row.Seconds, row.Trips = append(row.Seconds, took.wall.Seconds()), trips
		}
		far.close()
	}
	return b.keep(into, func(r *record) { r.Network = &table })
}

// networkSteps are what is measured, in their order, on a database without a registry.
func (b *bench) networkSteps(more, file string) []scaleStep {
	k := fmt.Sprint(b.workers)
	fleet := func(name string, args ...string) scaleStep { return scaleStep{Name: name, PerFleet: true, args: args} }
	up := func(name, to, group string) scaleStep {
		return fleet(name, "migrate", "all-tenants", "--migrations-dir", more, "--to", to, "--group", group,
			"--concurrency", k, "-q")
	}
	registry := func(ctx context.Context, dsn string) error {
		_, err := b.run(ctx, dsn, b.crmctl, "migrate", "public")
		return err
	}
	due := func(ctx context.Context, dsn string) error { return overdue(ctx, dsn, "") }
	create := fleet("create", "tenant", "create", "t%05d", "--count", fmt.Sprint(networkTenants), "--concurrency", k, "-q")
	create.prepare = registry
	purge := fleet("purge", "tenant", "purge", "--no-backup", "--yes", "--concurrency", k, "-q")
	purge.prepare = due
	return []scaleStep{
		create,
		up("one added migration, each alone", "5", "1"),
		up("one added migration, in groups", "6", "auto"),
		{Name: "nothing to do", args: up("", "6", "auto").args},
		fleet("backup", "backup", "create", "--all", "--concurrency", k, "--dir",
			filepath.Join(b.dir, "far"+strconv.FormatInt(time.Now().UnixNano(), 36)), "-q"),
		{Name: "import of 1,000 contacts", args: []string{"contacts", "import", "--tenant", "t00001", file}},
		purge,
	}
}

// far is a network before a database: what is sent arrives later.
type far struct {
	dsn   string // through it
	trips atomic.Int64
	delay time.Duration // each way
	close func()
}

// listenFar makes a network whose round trip takes so long.
func listenFar(ctx context.Context, dsn string, trip time.Duration) (*far, error) {
	cfg, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, err
	}
	network, server := "tcp", net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
	if strings.HasPrefix(cfg.Host, "/") {
		network, server = "unix", cfg.Host+"/.s.PGSQL."+strconv.Itoa(int(cfg.Port))
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	u := url.URL{Scheme: "postgres", User: url.UserPassword(cfg.User, cfg.Password), Host: listener.Addr().String(),
		Path: "/" + cfg.Database, RawQuery: "sslmode=disable"}
	f := &far{dsn: u.String(), delay: trip / 2, close: func() { _ = listener.Close() }}
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			behind, err := (&net.Dialer{}).DialContext(ctx, network, server)
			if err != nil {
				_ = client.Close()
				continue
			}
			var asked atomic.Bool // the client spoke last
			go f.pass(client, behind, func() {
				if !asked.Swap(true) {
					f.trips.Add(1)
				}
			})
			go f.pass(behind, client, func() { asked.Store(false) })
		}
	}()
	return f, nil
}

// pass copies what comes, later by the delay, and closes both at its end.
func (f *far) pass(from, to net.Conn, spoke func()) {
	type packet struct {
		data []byte
		due  time.Time
	}
	packets := make(chan packet, 1024)
	go func() {
		defer close(packets)
		for {
			data := make([]byte, 64<<10)
			n, err := from.Read(data)
			if n > 0 {
				packets <- packet{data[:n], time.Now().Add(f.delay)}
			}
			if err != nil {
				return
			}
		}
	}()
	for p := range packets {
		time.Sleep(time.Until(p.due))
		spoke()
		if _, err := to.Write(p.data); err != nil {
			break
		}
	}
	_ = to.Close()
	_ = from.Close()
	for range packets { // the reader comes to its end
	}
}

// networkPart writes the table of networks.
func (r *record) networkPart(s *strings.Builder) {
	if r.Network == nil {
		return
	}
	m := r.Network.Machine
	fmt.Fprintf(s, "\n## A slow network: %s tenants\n\nSeconds where a round trip to the server takes so long, through a "+
		"proxy on the same machine, and how\nmany round trips there are for each tenant (of one import and of nothing to do: "+
		"in all), connections\nincluded. Measured on %s with crmctl %s, PostgreSQL %s, %d connections; the load was %s when it "+
		"began.\n\n|", thousands(r.Network.Tenants), m.Date, m.Crmctl, m.PostgreSQL, m.Workers, m.Load)
	for _, ms := range r.Network.Delays {
		fmt.Fprintf(s, " | %d ms", ms)
	}
	s.WriteString(" | round trips |\n|---|" + strings.Repeat("---:|", len(r.Network.Delays)+1) + "\n")
	for _, row := range r.Network.Rows {
		s.WriteString("| " + row.Step)
		for _, seconds := range row.Seconds {
			s.WriteString(" | " + secondsText(seconds))
		}
		fmt.Fprintf(s, " | %.1f |\n", row.Trips)
	}
}
