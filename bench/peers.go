package main

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/sync/errgroup"
)

// peer is another program that migrates a schema.
type peer struct {
	name string
	kind peerKind
	// migrate brings the given schemas to the head of the files in dir.
	migrate func(ctx context.Context, dsn, dir string, schemas []string) (sample, error)
}

type peerKind int

const (
	ours    peerKind = iota
	limit            // a bare program that sends the statements, and makes the schemas too
	library          // one process that keeps its connections
	command          // a process a schema
	other            // no goal
)

// phases are what every peer does, in this order, on a database of its own.
var phases = [...]struct{ name, dir string }{
	{"provision", "base"}, {"nothing to do", "base"}, {"one added", "more"},
}

// goal is how many times faster crmctl is to be, 0 where nothing was promised.
func goal(phase int, k peerKind) float64 {
	switch {
	case phase != 1 && k == library:
		return 2.5
	case phase == 0 && k == command:
		return 3.5
	case phase == 2 && k == command:
		return 10
	}
	return 0
}

// measurePeers lets crmctl and its peers do the same to as many schemas, each on a
// fresh database of the same server, in an order that moves on with each round.
// The peers find their schemas made; crmctl makes them in its time.
func (b *bench) measurePeers(ctx context.Context, into string) error {
	programs, err := b.peerPrograms(ctx)
	if err != nil {
		return err
	}
	files := filepath.Join(b.dir, "peers")
	if err := writePeerFiles(ctx, files); err != nil {
		return err
	}
	peers := b.peers(programs, files)
	schemas := make([]string, b.tenants)
	for i := range schemas {
		schemas[i] = fmt.Sprintf("tenant_t%05d", i+1)
	}
	took := make([][len(phases)][]sample, len(peers))
	for round := range b.rounds {
		for i := range peers {
			at := (i + round) % len(peers)
			p := peers[at]
			dsn, err := b.database(ctx, fmt.Sprintf("peer_%d_%d", at, round))
			if err != nil {
				return err
			}
			if err := b.prepare(ctx, p, dsn, schemas); err != nil {
				return err
			}
			for j, phase := range phases {
				fmt.Fprintf(os.Stderr, "round %d: %s, %s", round+1, p.name, phase.name)
				s, err := p.migrate(ctx, dsn, phase.dir, schemas)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", p.name, phase.name, err)
				}
				fmt.Fprintf(os.Stderr, " %s\n", rate(b.tenants, []sample{s}))
				took[at][j] = append(took[at][j], s)
			}
			if err := checkPeer(ctx, dsn, len(schemas)); err != nil {
				return fmt.Errorf("%s: %w", p.name, err)
			}
		}
	}
	table := b.printPeers(peers, took)
	return b.keep(into, func(r *record) {
		r.addPeers(table)
		r.Machine = b.machine
	})
}

// peerPrograms returns the paths of the programs that are there.
func (b *bench) peerPrograms(ctx context.Context) (map[string]string, error) {
	cmd := exec.CommandContext(ctx, "scripts/peers.sh")
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("scripts/peers.sh: %w", err)
	}
	programs := make(map[string]string)
	for line := range strings.Lines(string(out)) {
		name, path, _ := strings.Cut(strings.TrimSpace(line), "\t")
		programs[name] = path
	}
	programs["fleet.js"], err = filepath.Abs("bench/peers/knex/fleet.js")
	return programs, err
}

// prepare makes what a peer finds.
func (b *bench) prepare(ctx context.Context, p peer, dsn string, schemas []string) error {
	switch p.kind {
	case ours:
		_, err := b.run(ctx, dsn, b.crmctl, "migrate", "public")
		return err
	case limit:
		return nil
	case library, command, other:
	}
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	for _, s := range schemas {
		if _, err := conn.Exec(ctx, "create schema "+s); err != nil {
			return err
		}
	}
	return nil
}

// checkPeer makes sure that the work was done, everywhere and nowhere else.
func checkPeer(ctx context.Context, dsn string, n int) error {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	var done int
	err = conn.QueryRow(ctx, `select count(*) from pg_class c join pg_namespace n on n.oid = c.relnamespace
		where c.relname = 'idx_contacts_bench' and n.nspname like 'tenant\_t%'
		  and (select count(*) from pg_class t where t.relnamespace = n.oid
		  	and t.relname in ('contacts', 'conversations', 'messages')) = 3`).Scan(&done)
	if err == nil && done != n {
		err = fmt.Errorf("%d of %d schemas have everything", done, n)
	}
	return err
}

// peers returns crmctl and those of the others that are there.
func (b *bench) peers(programs map[string]string, files string) []peer {
	k := fmt.Sprint(b.workers)
	all := []peer{
		{"crmctl", ours, func(ctx context.Context, dsn, dir string, schemas []string) (sample, error) {
			migrations := filepath.Join(files, "goose", dir)
			if n, err := countTenants(ctx, dsn); err != nil || n > 0 {
				return b.run(ctx, dsn, b.crmctl, "migrate", "all-tenants", "--migrations-dir", migrations, "--concurrency", k, "-q")
			}
			names := strings.ReplaceAll(strings.Join(schemas, "\n"), "tenant_", "")
			return b.runWith(ctx, dsn, names, b.crmctl, "tenant", "create", "--from", "-", "--migrations-dir", migrations,
				"--concurrency", k, "-q")
		}},
		{"the statements alone", limit, func(ctx context.Context, dsn, dir string, schemas []string) (sample, error) {
			n := fmt.Sprint(len(schemas))
			switch made, err := countSchemas(ctx, dsn); {
			case err != nil:
				return sample{}, err
			case made == 0:
				return b.run(ctx, dsn, b.self, "raw", "provision", "-n", n, "-k", k)
			case dir == phases[1].dir:
				return sample{}, nil // nobody asks
			}
			return b.run(ctx, dsn, b.self, "raw", "migrate", "-n", n, "-k", k, "-column", "bench", "-async")
		}},
		{"goose Provider, one process", library, func(ctx context.Context, dsn, dir string,
			schemas []string) (sample, error) {
			return b.runWith(ctx, dsn, strings.Join(schemas, "\n"), programs["provider"], "-dir",
				filepath.Join(files, "goose", dir), "-k", k)
		}},
		{"goose CLI", command, func(ctx context.Context, dsn, dir string, schemas []string) (sample, error) {
			return b.each(ctx, schemas, func(ctx context.Context, s string) (sample, error) {
				return b.run(ctx, dsn, programs["goose"], "-dir", filepath.Join(files, "goose", dir), "postgres",
					with(dsn, "search_path", s), "up")
			})
		}},
		{"golang-migrate CLI", command, func(ctx context.Context, dsn, dir string, schemas []string) (sample, error) {
			return b.each(ctx, schemas, func(ctx context.Context, s string) (sample, error) {
				address := "pgx5" + strings.TrimPrefix(with(dsn, "search_path", s), "postgres")
				return b.run(ctx, dsn, programs["migrate"], "-path", filepath.Join(files, "migrate", dir), "-database",
					address, "up")
			})
		}},
		{"tern CLI", command, func(ctx context.Context, dsn, dir string, schemas []string) (sample, error) {
			return b.each(ctx, schemas, func(ctx context.Context, s string) (sample, error) {
				return b.run(ctx, dsn, programs["tern"], "migrate", "--migrations", filepath.Join(files, "tern", dir),
					"--conn-string", with(dsn, "search_path", s), "--version-table", s+".schema_version")
			})
		}},
		{"knex, one process", other, func(ctx context.Context, dsn, dir string, schemas []string) (sample, error) {
			config, err := pgx.ParseConfig(dsn)
			if err != nil {
				return sample{}, err
			}
			return b.runWith(ctx, dsn, strings.Join(schemas, "\n"), "env", "NODE_PATH="+
				filepath.Join(programs["knex"], "node_modules"),
				"PGHOST="+config.Host, fmt.Sprintf("PGPORT=%d", config.Port), "PGUSER="+config.User, "PGDATABASE="+config.Database,
				"node", programs["fleet.js"], filepath.Join(files, "knex", dir), k)
		}},
	}
	needs := []string{"", "", "provider", "goose", "migrate", "tern", "knex"}
	var present []peer
	for i, p := range all {
		program := needs[i]
		if program == "" || programs[program] != "" &&
			(b.against == "" || slices.Contains(strings.Split(b.against, ","), program)) {
			present = append(present, p)
		}
	}
	return present
}

// each runs a command for every schema, as many at once as there are workers.
func (b *bench) each(ctx context.Context, schemas []string, run func(context.Context, string) (sample,
	error)) (sample, error) {
	var (
		mu    sync.Mutex
		total sample
	)
	begun := time.Now()
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(b.workers)
	for _, s := range schemas {
		group.Go(func() error {
			one, err := run(ctx, s)
			mu.Lock()
			defer mu.Unlock()
			total.memory = max(total.memory, one.memory)
			return err
		})
	}
	err := group.Wait()
	total.wall = time.Since(begun)
	return total, err
}

func countTenants(ctx context.Context, dsn string) (int, error) {
	return count(ctx, dsn, "select count(*) from public.tenants")
}

func countSchemas(ctx context.Context, dsn string) (int, error) {
	return count(ctx, dsn, `select count(*) from pg_namespace where nspname like 'tenant\_t%'`)
}

func count(ctx context.Context, dsn, sql string) (n int, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return 0, err
	}
	defer func() { _ = conn.Close(ctx) }()
	err = conn.QueryRow(ctx, sql).Scan(&n)
	return n, err
}

// with adds a parameter to a connection string that is a URL.
func with(dsn, name, value string) string {
	u, err := url.Parse(dsn)
	if err != nil {
		return dsn
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// printPeers prints a line a peer: how many tenants a second, and how many times
// as fast crmctl was in the same round.
func (b *bench) printPeers(peers []peer, took [][len(phases)][]sample) peerTable {
	table := peerTable{Tenants: b.tenants, Rounds: b.rounds}
	fmt.Printf("%d tenants, %d at once, %d rounds; tenants a second, and in brackets how many times as fast crmctl is\n\n",
		b.tenants, b.workers, b.rounds)
	fmt.Printf("%-30s", "")
	for _, phase := range phases {
		fmt.Printf("%28s", phase.name)
	}
	fmt.Printf("%12s\n", "memory")
	var missed []string
	for i, p := range peers {
		fmt.Printf("%-30s", p.name)
		var all []sample
		row := peerRow{Name: p.name}
		for j, phase := range phases {
			samples := took[i][j]
			all = append(all, samples...)
			if samples[0].wall == 0 {
				fmt.Printf("%28s", "-")
				continue
			}
			text := rate(b.tenants, samples)
			row.Rates[j] = perSecond(b.tenants, samples)
			if p.kind != ours {
				var ratios []float64
				for round := range samples {
					ratios = append(ratios, samples[round].wall.Seconds()/took[0][j][round].wall.Seconds())
				}
				ratio := median(ratios)
				row.Ratios[j] = ratio
				text += fmt.Sprintf(" (%.1fx", ratio)
				if want := goal(j, p.kind); want > 0 {
					text += fmt.Sprintf(", goal %.1fx", want)
					if math.Round(ratio*100)/100 < want {
						missed = append(missed, fmt.Sprintf("%s against %s: %.2fx, goal %.1fx", phase.name, p.name, ratio, want))
					}
				}
				text += ")"
			}
			fmt.Printf("%28s", text)
		}
		fmt.Printf("%12s\n", memory(all))
		row.Memory = memory(all)
		table.Rows = append(table.Rows, row)
	}
	fmt.Println()
	fmt.Println(cmp.Or(strings.Join(missed, "\n"), "every goal is reached"))
	fmt.Println()
	return table
}

func rate(n int, samples []sample) string { return fmt.Sprintf("%.0f/s", perSecond(n, samples)) }

// perSecond returns how many of n were done a second, by the median of samples.
func perSecond(n int, samples []sample) float64 {
	var seconds []float64
	for _, s := range samples {
		seconds = append(seconds, s.wall.Seconds())
	}
	return float64(n) / median(seconds)
}
