package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
)

// record is what the page of figures is made of. It is kept beside the page, so that sizes
// and peers can be measured one after another.
type record struct {
	Machine machine       `json:"machine"`
	Scale   []scaleSize   `json:"scale"`
	Network *networkTable `json:"network,omitempty"`
	Peers   []peerTable   `json:"peers"`
}

// machine is what the figures depend on.
type machine struct {
	Date       string `json:"date"`
	Crmctl     string `json:"crmctl"`
	PostgreSQL string `json:"postgresql"`
	Go         string `json:"go"`
	System     string `json:"system"`
	CPU        string `json:"cpu"`
	Cores      int    `json:"cores"`
	Memory     string `json:"memory"`
	Load       string `json:"load"` // of others, when it began
	Workers    int    `json:"workers"`
}

// peerTable is what crmctl and its peers did with so many tenants.
type peerTable struct {
	Tenants int       `json:"tenants"`
	Rounds  int       `json:"rounds"`
	Rows    []peerRow `json:"rows"`
}

type peerRow struct {
	Name   string               `json:"name"`
	Rates  [len(phases)]float64 `json:"rates"`  // tenants a second
	Ratios [len(phases)]float64 `json:"ratios"` // how many times as fast crmctl is; 0 for itself
	Memory string               `json:"memory"`
}

// add takes in a size of the fleet, in the place of an earlier run's.
func (r *record) add(s scaleSize) {
	r.Scale = slices.DeleteFunc(r.Scale, func(o scaleSize) bool { return o.Tenants == s.Tenants })
	r.Scale = append(r.Scale, s)
	slices.SortFunc(r.Scale, func(a, b scaleSize) int { return cmp.Compare(a.Tenants, b.Tenants) })
}

// addPeers does the same with a table of peers.
func (r *record) addPeers(t peerTable) {
	r.Peers = slices.DeleteFunc(r.Peers, func(o peerTable) bool { return o.Tenants == t.Tenants })
	r.Peers = append(r.Peers, t)
	slices.SortFunc(r.Peers, func(a, b peerTable) int { return cmp.Compare(a.Tenants, b.Tenants) })
}

const recordFile = "performance.json"

// keep changes the record in a directory and writes the page and the plot anew; without a
// directory it does nothing.
func (b *bench) keep(dir string, change func(*record)) error {
	if dir == "" {
		return nil
	}
	var r record
	text, err := os.ReadFile(filepath.Join(dir, recordFile))
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return err
	default:
		if err := json.Unmarshal(text, &r); err != nil {
			return fmt.Errorf("%s: %w", recordFile, err)
		}
	}
	change(&r)
	if r.Machine == (machine{}) {
		r.Machine = b.machine
	}
	return r.write(dir)
}

// write writes the record, the page and the plot.
func (r *record) write(dir string) error {
	text, err := json.MarshalIndent(r, "", "\t")
	if err != nil {
		return err
	}
	for name, content := range map[string]string{
		recordFile: string(text) + "\n", "performance.md": r.page(), "performance.svg": r.plot(),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// thisMachine describes where the figures come from.
func (b *bench) thisMachine(ctx context.Context) machine {
	m := machine{
		Date: time.Now().UTC().Format(time.DateOnly), Go: runtime.Version(), Cores: runtime.NumCPU(),
		System: runtime.GOOS + "/" + runtime.GOARCH, Workers: b.workers, Crmctl: "unknown",
	}
	if out, err := exec.CommandContext(ctx, "git", "describe", "--always", "--tags").Output(); err == nil {
		m.Crmctl = strings.TrimSpace(string(out))
	}
	m.CPU = field("/proc/cpuinfo", "model name")
	m.Memory = field("/proc/meminfo", "MemTotal")
	var kilobytes int64
	if n, err := fmt.Sscanf(m.Memory, "%d kB", &kilobytes); n == 1 && err == nil {
		m.Memory = fmt.Sprintf("%d GiB", kilobytes>>20)
	}
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		m.Load, _, _ = strings.Cut(string(text), " ")
	}
	return m
}

// field returns what follows "name:" in a file, "unknown" where that is not there.
func field(path, name string) string {
	text, _ := os.ReadFile(path) // there is none on other systems
	for line := range strings.Lines(string(text)) {
		if key, value, found := strings.Cut(line, ":"); found && strings.TrimSpace(key) == name {
			return strings.TrimSpace(value)
		}
	}
	return "unknown"
}

// serverVersion asks a server which release it is.
func serverVersion(ctx context.Context, dsn string) (version string, err error) {
	conn, err := pgx.Connect(ctx, dsn)
	if err != nil {
		return "", err
	}
	defer func() { _ = conn.Close(ctx) }()
	err = conn.QueryRow(ctx, "show server_version").Scan(&version)
	return version, err
}
