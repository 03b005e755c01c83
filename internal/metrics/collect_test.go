package metrics_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/metrics"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// options are those of a fleet whose newest file is that of its tenants.
func options(f *fleettest.Fleet) metrics.Options {
	return metrics.Options{Connect: f.Dial, Version: "1.4.0",
		Newest: func(context.Context) (int64, error) { return 4, nil }}
}

// scrape returns a collection as the reader of Prometheus has it: a value by its name and
// its labels, as `crmctl_tenants{active}`.
func scrape(t testing.TB, r metrics.Result) map[string]float64 {
	t.Helper()
	var text bytes.Buffer
	if err := metrics.Write(&text, r.Families); err != nil {
		t.Fatal(err)
	}
	problems, err := promlint.New(bytes.NewReader(text.Bytes())).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("%v %v", problems, err)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(&text)
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]metrics.Family{}
	for _, f := range metrics.Families() {
		known[f.Name] = f
	}
	out := map[string]float64{}
	for name, f := range families {
		if f.GetHelp() != known[name].Help || f.GetHelp() == "" {
			t.Errorf("%s: help %q", name, f.GetHelp())
		}
		for _, m := range f.GetMetric() {
			key := name
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if values != nil {
				key += "{" + strings.Join(values, ",") + "}"
			}
			if _, twice := out[key]; twice {
				t.Errorf("%s is there twice", key)
			}
			if h := m.GetHistogram(); h != nil {
				out[key+"_count"], out[key+"_sum"] = float64(h.GetSampleCount()), h.GetSampleSum()
				continue
			}
			out[key] = m.GetGauge().GetValue()
		}
	}
	return out
}

func expect(t testing.TB, got, want map[string]float64) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(want)) {
		if v, there := got[name]; !there || v != want[name] {
			t.Errorf("%s is %v (%v), want %v", name, v, there, want[name])
		}
	}
}

// failed returns the names of the collectors that failed.
func failed(r metrics.Result) string {
	var out []string
	for _, f := range r.Failed {
		out = append(out, f.Collector)
	}
	return strings.Join(out, " ")
}

// hold runs statements on a connection that stays open.
func hold(t testing.TB, f *fleettest.Fleet, statements ...string) *pgx.Conn {
	t.Helper()
	conn := f.Connect(t)
	for _, sql := range statements {
		if _, err := conn.Exec(t.Context(), sql); err != nil {
			t.Fatalf("%s: %v", sql, err)
		}
	}
	return conn
}

// newFleet makes five tenants: one behind, one deleted and overdue, one suspended.
func newFleet(t testing.TB) *fleettest.Fleet {
	t.Helper()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex", "initech", "hooli", "piper")
	f.Exec(t, `insert into tenant_globex.contacts (name, email) select 'n' || i, i || '@example.com'
			from generate_series(1, 3000) i`, "analyze tenant_globex.contacts",
		"update public.tenants set schema_version = 2 where slug = 'initech'",
		`update public.tenants set status = 'deleted', deleted_at = now() - interval '40 days',
			purge_after = now() - interval '10 days' where slug = 'hooli'`,
		"update public.tenants set status = 'suspended' where slug = 'piper'",
		`insert into public.tenant_events (tenant_id, slug, action, actor, occurred_at)
			select id, slug, 'backup', 'x', now() - case slug when 'acme' then interval '3 hours' else interval '1 hour' end
			from public.tenants where slug in ('acme', 'globex')`,
		`insert into public.tenant_events (tenant_id, slug, action, actor, occurred_at)
			select id, slug, 'backup', 'x', now() - interval '9 hours' from public.tenants where slug = 'acme'`,
		`insert into public.migration_runs (kind, actor, target_version, tenants, succeeded, failed, started_at, finished_at,
			state) values ('migrate', 'x', 4, 5, 5, 0, to_timestamp(1000), to_timestamp(1010), 'finished'),
			('migrate', 'x', 4, 5, 5, 0, to_timestamp(900), to_timestamp(910), 'finished'),
			('migrate', 'x', 4, 5, 4, 1, to_timestamp(800), to_timestamp(810), 'finished'),
			('we"ird\
kind', 'x', 4, 5, 4, 1, to_timestamp(800), to_timestamp(820), 'stopped')`,
		`insert into public.migration_runs (kind, actor, target_version, tenants, started_at, heartbeat_at)
			values ('redo', 'x', 4, 5, now(), now())`)
	return f
}

func TestCollect(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	hold(t, f, "set application_name = 'crmctl:acme'", "begin", "select 1")
	reader := hold(t, f, "begin", "select count(*) from tenant_acme.contacts")
	blocked := f.Connect(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = blocked.Exec(ctx, "alter table tenant_acme.contacts add column later int")
	}()
	t.Cleanup(func() { cancel(); <-done })
	for f.Int(t, "select count(*) from pg_locks where not granted and relation = 'tenant_acme.contacts'::regclass") == 0 {
		time.Sleep(10 * time.Millisecond)
	}
	o := options(f)
	o.Top, o.Pinned = 1, func(slug string) bool { return slug == "acme" }
	r := metrics.New(o).Collect(t.Context())
	if r.Up != nil || len(r.Failed) > 0 {
		t.Fatalf("%v %v", r.Up, r.Failed)
	}
	got := scrape(t, r)
	expect(t, got, map[string]float64{
		"crmctl_up": 1, "crmctl_build_info{1.4.0}": 1, "crmctl_collector_success{sizes}": 1,
		"crmctl_tenants{active}": 3, "crmctl_tenants{suspended}": 1, "crmctl_tenants{deleted}": 1,
		"crmctl_tenants{gone}": 0, "crmctl_newest_version": 4, "crmctl_tenants_behind": 1,
		"crmctl_tenants_at_version{4}": 3, "crmctl_tenants_at_version{2}": 1, "crmctl_purges_overdue": 1,
		"crmctl_dirty_tenants": 0, "crmctl_tenant_size_bytes_count": 5, "crmctl_tenants_without_schema": 0,
		"crmctl_blocked_sessions": 1, "crmctl_connections{idle in transaction}": 2, "crmctl_connections{active}": 1,
		"crmctl_selected_tenant_connections{acme,idle in transaction}": 2,
		"crmctl_selected_tenant_connections{acme,active}":              1,
		"crmctl_last_run_timestamp_seconds{migrate,succeeded}":         1010,
		"crmctl_last_run_timestamp_seconds{migrate,failed}":            810,
		"crmctl_last_run_timestamp_seconds{we\"ird\\\nkind,stopped}":   820, "crmctl_running_runs": 1,
		"crmctl_tenants_without_backup": 2, "crmctl_selected_tenant_contacts{globex}": 3000,
		"crmctl_selected_tenant_schema_version{globex}": 4,
	})
	if sum := got["crmctl_size_bytes{table}"] + got["crmctl_size_bytes{index}"]; sum != got["crmctl_tenant_size_bytes_sum"] ||
		got["crmctl_selected_tenant_size_bytes{globex,table}"] < 100_000 || sum < 500_000 {
		t.Errorf("sizes: %v", got)
	}
	if age := got["crmctl_oldest_backup_age_seconds"]; math.Abs(age-3*3600) > 60 {
		t.Errorf("the oldest of the latest backups is %v s old", age)
	}
	if at := got["crmctl_selected_tenant_backup_timestamp_seconds{acme}"]; math.Abs(float64(time.Now().Unix())-at-3*3600) > 60 {
		t.Errorf("acme's latest backup: %v", at)
	}
	if got["crmctl_lock_slots{used}"] < 2 || got["crmctl_lock_slots{free}"] < 1000 || got["crmctl_xid_age"] < 1 ||
		got["crmctl_catalog_bytes{pg_attribute}"] < 100_000 || got["crmctl_connections_free"] < 1 ||
		got["crmctl_oldest_transaction_seconds"] <= 0 {
		t.Errorf("%v", got)
	}
	for name := range got {
		if strings.Contains(name, "initech") || strings.Contains(name, "piper") {
			t.Errorf("%s: nobody selected it", name)
		}
	}
	_ = reader
}

// Whatever a collector cannot have, the others do not lose.
func TestACollectorFailsAlone(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	role := fmt.Sprintf("scraper_%d", time.Now().UnixNano())
	f.Exec(t, "create role "+role+" login", "grant select on public.tenants, public.tenant_dirty, public.migration_runs to "+role)
	t.Cleanup(func() { f.Exec(t, "drop owned by "+role, "drop role "+role) })
	cfg, err := db.ParseConfig(f.DSN)
	if err != nil {
		t.Fatal(err)
	}
	cfg.User = role
	o := options(f)
	o.Connect = func(ctx context.Context) (*pgx.Conn, error) { return db.Connect(ctx, cfg.Copy()) }
	r := metrics.New(o).Collect(t.Context())
	got := scrape(t, r)
	if failed(r) != "backups" {
		t.Errorf("without a right on the audit: %v", r.Failed)
	}
	expect(t, got, map[string]float64{"crmctl_up": 1, "crmctl_collector_success{backups}": 0,
		"crmctl_collector_success{sizes}": 1, "crmctl_tenants{active}": 3})

	o = options(f)
	o.Newest = func(context.Context) (int64, error) { return 0, errors.New("no files") }
	c := metrics.New(o)
	locker := hold(t, f, "begin", "lock table public.tenants", "lock table pg_catalog.pg_description")
	r = c.Collect(t.Context())
	got = scrape(t, r)
	if failed(r) != "sizes migrations tenants server backups" {
		t.Errorf("with the registry locked away: %v", r.Failed)
	}
	if _, there := got["crmctl_tenants_behind"]; there || got["crmctl_connections{idle in transaction}"] != 1 {
		t.Errorf("%v", got)
	}
	if _, err := locker.Exec(t.Context(), "rollback"); err != nil {
		t.Fatal(err)
	}
	if r = c.Collect(t.Context()); failed(r) != "migrations" {
		t.Errorf("after it: %v", r.Failed)
	}
	if _, there := scrape(t, r)["crmctl_tenants_behind"]; there {
		t.Error("who is behind is told without the files")
	}
}

func TestTheDatabaseGoesAndComesBack(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	p := pgtest.NewProxy(t, f.DSN, 0)
	cfg, err := db.ParseConfig(p.DSN)
	if err != nil {
		t.Fatal(err)
	}
	o := options(f)
	away := false
	o.Connect = func(ctx context.Context) (*pgx.Conn, error) {
		if away {
			return nil, db.ErrUnreachable
		}
		return db.Connect(ctx, cfg.Copy())
	}
	c := metrics.New(o)
	if r := c.Collect(t.Context()); failed(r) != "" {
		t.Fatal(r.Failed)
	}
	away = true
	r := c.Collect(t.Context())
	got := scrape(t, r)
	if !errors.Is(r.Up, db.ErrUnreachable) || failed(r) != "sizes tenants sessions server runs backups" {
		t.Errorf("%v %v", r.Up, r.Failed)
	}
	expect(t, got, map[string]float64{"crmctl_up": 0, "crmctl_collector_success{sizes}": 0, "crmctl_newest_version": 4})
	if _, there := got["crmctl_size_bytes{table}"]; there {
		t.Error("former sizes are told of a database that is away")
	}
	away = false
	p.CutBefore("pg_locks", 1)
	if r = c.Collect(t.Context()); failed(r) != "sessions" || r.Up != nil {
		t.Errorf("a cut connection: %v %v", r.Up, r.Failed)
	}
	if r = c.Collect(t.Context()); failed(r) != "" || r.Up != nil {
		t.Errorf("and after it: %v %v", r.Up, r.Failed)
	}
}

// A server that says nothing any more ends a collection in its time.
func TestASilentServer(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	p := pgtest.NewProxy(t, f.DSN, 0)
	cfg, err := db.ParseConfig(p.DSN)
	if err != nil {
		t.Fatal(err)
	}
	o := options(f)
	o.Timeout = 2 * time.Second
	o.Connect = func(ctx context.Context) (*pgx.Conn, error) {
		conn, err := db.Connect(ctx, cfg.Copy())
		p.Stall()
		return conn, err
	}
	begun := time.Now()
	r := metrics.New(o).Collect(t.Context())
	if took := time.Since(begun); took > 10*time.Second || failed(r) == "" {
		t.Errorf("%s, %v", took, r.Failed)
	}
	scrape(t, r)
}

func TestBehindAPooler(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	cfg, err := db.ParseConfig(pgtest.Pooler(t, f.DSN))
	if err != nil {
		t.Fatal(err)
	}
	o := options(f)
	o.Top = 3
	o.Connect = func(ctx context.Context) (*pgx.Conn, error) { return db.Connect(ctx, cfg.Copy()) }
	c := metrics.New(o)
	for range 3 {
		r := c.Collect(t.Context())
		if failed(r) != "" {
			t.Fatal(r.Failed)
		}
		expect(t, scrape(t, r), map[string]float64{"crmctl_tenants{active}": 3, "crmctl_tenants_behind": 1})
	}
}

// The number of series is that of a small fleet, whatever the fleet is.
func TestSeriesOf10000Tenants(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	for i := range 10 {
		f.Exec(t, fmt.Sprintf(`do $$ begin for i in %d..%d loop execute 'create schema tenant_t' || i;
			execute 'create table tenant_t' || i || '.contacts (i int)'; end loop; end $$`, i*1000, i*1000+999))
	}
	f.Exec(t, `insert into public.tenants (id, slug, display_name, schema_name, schema_version)
		select gen_random_uuid(), 't' || i, 't', 'tenant_t' || i, i from generate_series(0, 9999) i`,
		"create table public.rows as select * from generate_series(1, 100)", "vacuum analyze")
	o := options(f)
	o.Top, o.Pinned, o.Newest = 10, func(string) bool { return true }, func(context.Context) (int64, error) { return 9999, nil }
	c := metrics.New(o)
	begun := time.Now()
	r := c.Collect(t.Context())
	t.Logf("collected in %s", time.Since(begun))
	if failed(r) != "" {
		t.Fatal(r.Failed)
	}
	got := scrape(t, r)
	expect(t, got, map[string]float64{"crmctl_tenants{active}": 10000, "crmctl_tenants_behind": 9999,
		"crmctl_tenants_at_version{9999}": 1, "crmctl_tenants_at_version{older}": 9980,
		"crmctl_tenant_size_bytes_count": 10000, "crmctl_selected_tenants_omitted": 9900})
	// 110 selected tenants have at most 10 each, and everything else is some hundred.
	if n := len(metrics.Samples(r.Families)); n > 1300 {
		t.Errorf("%d series", n)
	}
	o.Pinned = nil
	if n := len(metrics.Samples(metrics.New(o).Collect(t.Context()).Families)); n > 250 {
		t.Errorf("%d series with the 10 largest", n)
	}
}

// A tenant that is selected as one of the largest stays so while it is nearly one.
func TestSelectedStay(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	slugs := []string{"a1", "a2", "a3", "a4", "a5"}
	f.Create(t, fleettest.TenantPlan(t, 0), slugs...)
	grow := func(slug string, rows int) {
		t.Helper()
		f.Exec(t, fmt.Sprintf("insert into tenant_%s.contacts (name) select 'n' || i from generate_series(1, %d) i", slug, rows),
			"vacuum analyze tenant_"+slug+".contacts")
	}
	grow("a1", 9000)
	grow("a2", 6000)
	now := time.Now()
	o := options(f)
	o.Top, o.Now = 2, func() time.Time { return now }
	c := metrics.New(o)
	chosen := func(c *metrics.Collection) string {
		t.Helper()
		var text bytes.Buffer
		if err := metrics.Write(&text, c.Collect(t.Context()).Families); err != nil {
			t.Fatal(err)
		}
		found := metrics.SelectedIn(text.Bytes())
		slices.Sort(found)
		return strings.Join(found, " ")
	}
	if got := chosen(c); got != "a1 a2" {
		t.Fatal(got)
	}
	grow("a3", 12000)
	if got := chosen(c); got != "a1 a2" {
		t.Errorf("sizes are looked up again within a minute: %s", got)
	}
	now = now.Add(2 * time.Minute)
	if got := chosen(c); got != "a1 a2 a3" {
		t.Errorf("a3 is the largest, a2 the third: %s", got)
	}
	if got := chosen(metrics.New(o)); got != "a1 a3" {
		t.Errorf("who knows nothing of before: %s", got)
	}
	o.Former = []string{"a1", "a2", "a9"}
	if got := chosen(metrics.New(o)); got != "a1 a2 a3" {
		t.Errorf("who knows it from a file: %s", got)
	}
	grow("a4", 20000)
	grow("a5", 20000)
	now = now.Add(2 * time.Minute)
	if got := chosen(c); got != "a1 a3 a4 a5" {
		t.Errorf("a2 is the fifth: %s", got)
	}
}

func TestSelectedInOther(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"", "<html>", "crmctl_up 1\n", "crmctl_selected_tenant_size_bytes{tenant=\"a", "\x00\xff"} {
		if got := metrics.SelectedIn([]byte(text)); len(got) > 0 {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestDrift(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	o := options(f)
	var fails error
	o.Drift = func(context.Context) (int, error) { return 2, fails }
	c := metrics.New(o)
	if _, there := scrape(t, c.Collect(t.Context()))["crmctl_drifted_tenants"]; there {
		t.Error("told without a comparison")
	}
	if err := c.CompareDrift(t.Context()); err != nil {
		t.Fatal(err)
	}
	expect(t, scrape(t, c.Collect(t.Context())), map[string]float64{"crmctl_drifted_tenants": 2, "crmctl_collector_success{drift}": 1})
	fails = errors.New("no")
	if c.CompareDrift(t.Context()) == nil {
		t.Error("no error")
	}
	r := c.Collect(t.Context())
	if _, there := scrape(t, r)["crmctl_drifted_tenants"]; there || failed(r) != "drift" {
		t.Errorf("told after a comparison that failed; %v", r.Failed)
	}
}

func TestHistogram(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	r := metrics.New(options(f)).Collect(t.Context())
	i := slices.IndexFunc(r.Families, func(m *dto.MetricFamily) bool { return m.GetName() == "crmctl_tenant_size_bytes" })
	h := r.Families[i].GetMetric()[0].GetHistogram()
	first, last := h.GetBucket()[0], h.GetBucket()[len(h.GetBucket())-1]
	if first.GetUpperBound() != 256<<10 || first.GetCumulativeCount() != 4 || last.GetUpperBound() != 1<<40 ||
		last.GetCumulativeCount() != 5 {
		t.Errorf("%v", h)
	}
	samples := metrics.Samples(r.Families[i : i+1])
	if n := len(samples); n != len(h.GetBucket())+3 || samples[n-3].Labels[0] != (metrics.Label{Name: "le", Value: "+Inf"}) ||
		samples[n-1].Name != "crmctl_tenant_size_bytes_count" || samples[n-1].Value != 5 {
		t.Errorf("%v", samples)
	}
}
