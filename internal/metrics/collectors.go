package metrics

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

const (
	// maxVersions bounds the samples of versions, whatever a fleet looks like.
	maxVersions = 20
	// The buckets of sizes grow by a factor of 4, from 256 KiB to 1 TiB.
	firstBucket, buckets, bucketFactor = 256 << 10, 12, 4
)

func (c *Collection) sizes(ctx context.Context, conn *pgx.Conn, s *samples) error {
	report, err := stats.Sizes(ctx, conn, stats.SizeOptions{Registry: c.o.Registry, Mode: stats.Estimate, NoGrowth: true})
	if err != nil {
		return err
	}
	omitted := c.choose(report.Tenants)
	sum := stats.Sum(report.Tenants)
	s.gauge("crmctl_size_bytes", float64(sum.TableBytes), "table")
	s.gauge("crmctl_size_bytes", float64(sum.IndexBytes), "index")
	s.gauge("crmctl_tenants_without_schema", float64(sum.Unknown))
	s.gauge("crmctl_selected_tenants_omitted", float64(omitted))
	values := make([]float64, 0, len(report.Tenants))
	for _, t := range report.Tenants {
		if !t.Known {
			continue
		}
		values = append(values, float64(t.TotalBytes()))
		if !c.selected[t.Slug] {
			continue
		}
		s.gauge("crmctl_selected_tenant_size_bytes", float64(t.TableBytes), t.Slug, "table")
		s.gauge("crmctl_selected_tenant_size_bytes", float64(t.IndexBytes), t.Slug, "index")
		if t.Contacts != nil {
			s.gauge("crmctl_selected_tenant_contacts", float64(*t.Contacts), t.Slug)
		}
	}
	bounds := make([]float64, buckets)
	for i, bound := 0, float64(firstBucket); i < buckets; i, bound = i+1, bound*bucketFactor {
		bounds[i] = bound
	}
	s.histogram("crmctl_tenant_size_bytes", bounds, values)
	return nil
}

// choose decides which tenants are selected, and returns how many were left out. tenants
// are in the order of their sizes.
func (c *Collection) choose(tenants []stats.TenantSize) (omitted int) {
	now := map[string]bool{}
	for i, t := range tenants {
		if t.Known && (i < c.o.Top || i < 2*c.o.Top && c.selected[t.Slug]) {
			now[t.Slug] = true
		}
	}
	if c.o.Pinned != nil {
		var pinned []string
		for _, t := range tenants {
			if c.o.Pinned(t.Slug) {
				pinned = append(pinned, t.Slug)
			}
		}
		slices.Sort(pinned) // so that it is always the same ones that are left out
		if omitted = len(pinned) - maxPinned; omitted > 0 {
			pinned = pinned[:maxPinned]
		}
		for _, slug := range pinned {
			now[slug] = true
		}
	}
	c.selected = now
	return max(0, omitted)
}

func (c *Collection) migrations(ctx context.Context, _ *pgx.Conn, s *samples) error {
	newest, err := c.o.Newest(ctx)
	if err != nil {
		c.newest = nil
		return err
	}
	c.newest = &newest
	s.gauge("crmctl_newest_version", float64(newest))
	return nil
}

func (c *Collection) tenants(ctx context.Context, conn *pgx.Conn, s *samples) error {
	n, err := c.o.Registry.Count(ctx, conn)
	if err != nil {
		return err
	}
	for _, status := range registry.Statuses() {
		s.gauge("crmctl_tenants", float64(n.Statuses[status]), string(status))
	}
	s.gauge("crmctl_dirty_tenants", float64(n.Dirty))
	s.gauge("crmctl_purges_overdue", float64(n.PurgesOverdue))
	behind, older := 0, 0
	versions := slices.Sorted(maps.Keys(n.Versions))
	slices.Reverse(versions)
	for i, v := range versions {
		if c.newest != nil && v < *c.newest {
			behind += n.Versions[v]
		}
		if i >= maxVersions {
			older += n.Versions[v]
			continue
		}
		s.gauge("crmctl_tenants_at_version", float64(n.Versions[v]), strconv.FormatInt(v, 10))
	}
	if older > 0 {
		s.gauge("crmctl_tenants_at_version", float64(older), "older")
	}
	if c.newest != nil {
		s.gauge("crmctl_tenants_behind", float64(behind))
	}
	if len(c.selected) == 0 {
		return nil
	}
	found, err := c.o.Registry.List(ctx, conn, registry.Filter{Slugs: slices.Sorted(maps.Keys(c.selected))})
	for _, t := range found {
		s.gauge("crmctl_selected_tenant_schema_version", float64(t.Version), t.Slug)
	}
	return err
}

func (c *Collection) sessions(ctx context.Context, conn *pgx.Conn, s *samples) error {
	found, err := stats.ReadSessions(ctx, conn, c.o.Registry)
	if err != nil {
		return err
	}
	var blocked int
	var waited, oldest time.Duration
	for _, one := range found.Sessions {
		if one.Waits {
			blocked, waited = blocked+1, max(waited, one.Waited)
		}
		if one.IsClient() || one.PID == 0 {
			oldest = max(oldest, one.InTransaction)
		}
	}
	s.gauge("crmctl_blocked_sessions", float64(blocked))
	s.gauge("crmctl_longest_lock_wait_seconds", waited.Seconds())
	s.gauge("crmctl_oldest_transaction_seconds", oldest.Seconds())
	s.gauge("crmctl_connections_free", float64(found.Room.Left()))
	var all stats.TenantConnections
	for _, t := range found.ByTenant() {
		all.Connections += t.Connections
		all.Active += t.Active
		all.Idle += t.Idle
		all.InTransaction += t.InTransaction
		if c.selected[t.Tenant] {
			states(t, func(v float64, state string) { s.gauge("crmctl_selected_tenant_connections", v, t.Tenant, state) })
			s.gauge("crmctl_selected_tenant_oldest_transaction_seconds", t.LongestTransaction.Seconds(), t.Tenant)
		}
	}
	states(all, func(v float64, state string) { s.gauge("crmctl_connections", v, state) })
	return nil
}

// states tells the connections of each state. What the server hides, or does not know yet,
// is unknown.
func states(t stats.TenantConnections, tell func(v float64, state string)) {
	tell(float64(t.Active), "active")
	tell(float64(t.Idle), "idle")
	tell(float64(t.InTransaction), "idle in transaction")
	tell(float64(t.Connections-t.Active-t.Idle-t.InTransaction), "unknown")
}

// growingCatalogs are those that grow with the number of tables; the sizes of all others are
// one sample, since each version of the server has others.
var growingCatalogs = []string{"pg_attrdef", "pg_attribute", "pg_class", "pg_constraint", "pg_depend",
	"pg_description", "pg_index", "pg_namespace", "pg_proc", "pg_rewrite", "pg_sequence", "pg_shdepend",
	"pg_statistic", "pg_trigger", "pg_type"}

func (c *Collection) server(ctx context.Context, conn *pgx.Conn, s *samples) error {
	found, err := stats.ReadServer(ctx, conn)
	if err != nil {
		return err
	}
	catalogs := map[string]int64{}
	for _, t := range found.Tables {
		name := t.Name
		if !slices.Contains(growingCatalogs, name) {
			name = "other"
		}
		catalogs[name] += t.Bytes
	}
	for _, name := range slices.Sorted(maps.Keys(catalogs)) {
		s.gauge("crmctl_catalog_bytes", float64(catalogs[name]), name)
	}
	s.gauge("crmctl_lock_slots", float64(found.Locks.Used), "used")
	s.gauge("crmctl_lock_slots", float64(max(0, found.Locks.Slots-found.Locks.Used)), "free")
	s.gauge("crmctl_xid_age", float64(found.Database.XIDs))
	s.gauge("crmctl_multixact_age", float64(found.Database.Multixs))
	return nil
}

func (c *Collection) runs(ctx context.Context, conn *pgx.Conn, s *samples) error {
	found, err := c.o.Registry.LastRuns(ctx, conn)
	if err != nil {
		return err
	}
	running := 0
	for _, r := range found {
		if r.Outcome == "running" {
			running += r.Runs
			continue
		}
		s.gauge("crmctl_last_run_timestamp_seconds", seconds(r.At), r.Kind, r.Outcome)
	}
	s.gauge("crmctl_running_runs", float64(running))
	return nil
}

func (c *Collection) backups(ctx context.Context, conn *pgx.Conn, s *samples) error {
	found, err := c.o.Registry.LastBackups(ctx, conn)
	if err != nil {
		return err
	}
	now, never := c.o.Now(), 0
	var oldest time.Time
	for _, slug := range slices.Sorted(maps.Keys(found)) {
		at := found[slug]
		if at.IsZero() {
			never++
			continue
		}
		if oldest.IsZero() || at.Before(oldest) {
			oldest = at
		}
		if c.selected[slug] {
			s.gauge("crmctl_selected_tenant_backup_timestamp_seconds", seconds(at), slug)
		}
	}
	s.gauge("crmctl_tenants_without_backup", float64(never))
	if !oldest.IsZero() {
		s.gauge("crmctl_oldest_backup_age_seconds", max(0, now.Sub(oldest).Seconds()))
	}
	return nil
}
