package stats_test

import (
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/stats"
)

func TestRecordAndGrowth(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex", "gone", "purged")
	fill(t, f, "tenant_acme", 100)
	f.Exec(t, "drop schema tenant_gone cascade", "analyze tenant_acme.contacts")
	conn := f.Connect(t)
	r := report(t, f, stats.SizeOptions{Mode: stats.Exact})
	f.Exec(t, "delete from public.tenants where slug = 'purged'")
	n, err := stats.Record(t.Context(), conn, registry.Default(), r)
	if err != nil || n != 2 {
		t.Fatalf("recorded %d, %v", n, err)
	}
	if n, err = stats.Record(t.Context(), conn, registry.Default(), r); err != nil || n != 0 {
		t.Errorf("the same again: %d, %v", n, err)
	}
	acme := sizes(t, f, stats.SizeOptions{Mode: stats.Exact})["acme"]
	same := f.Int(t, `select count(*) from public.tenant_size_samples s join public.tenants t on t.id = s.tenant_id
		where t.slug = 'acme' and s.table_bytes = $1 and s.index_bytes = $2 and s.total_bytes = $3 and s.contacts = 100
			and s.exact`,
		acme.TableBytes, acme.IndexBytes, acme.TotalBytes())
	if same != 1 {
		t.Errorf("the sample is not %+v", acme)
	}
	if n := f.Int(t, "select count(*) from public.tenant_size_samples s join public.tenants t on t.id = s.tenant_id "+
		"where t.slug = 'globex' and s.contacts = 0"); n != 1 {
		t.Error("no sample of globex")
	}

	// A sample made today says nothing about growth.
	if r = report(t, f, stats.SizeOptions{Mode: stats.Exact}); r.History {
		t.Errorf("history out of nothing: %+v", r)
	}
}

func TestBaseline(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	const day = 24 * time.Hour
	for _, c := range []struct {
		name    string
		samples string // days ago, bytes, exact
		mode    stats.Mode
		want    int64 // bytes of the sample it is compared with; 0 for none
		days    int
	}{
		{"none", "", stats.Exact, 0, 0},
		{"too young", "(0.9, 11, true)", stats.Exact, 0, 0},
		{"too old", "(61, 11, true)", stats.Exact, 0, 0},
		{"the newest that is 30 days old", "(50, 11, true), (31, 12, true), (29, 13, true), (2, 14, true)",
			stats.Exact, 12, 31},
		{"the oldest younger than that", "(70, 11, true), (29, 13, true), (2, 14, true), (0.5, 15, true)",
			stats.Exact, 13, 29},
		{"a measure with a measure", "(31, 11, false), (20, 12, true)", stats.Exact, 12, 20},
		{"an estimate with an estimate", "(31, 11, false), (20, 12, true)", stats.Estimate, 11, 31},
		{"nothing alike", "(31, 11, false)", stats.Exact, 0, 0},
	} {
		f.Exec(t, "delete from public.tenant_size_samples")
		if c.samples != "" {
			f.Exec(t, `insert into public.tenant_size_samples (tenant_id, sampled_at, table_bytes, index_bytes, total_bytes,
				exact)
				select t.id, now() - s.days * interval '1 day', 1, 1, s.bytes, s.exact
				from public.tenants t, (values `+c.samples+`) s (days, bytes, exact)`)
		}
		r := report(t, f, stats.SizeOptions{Mode: c.mode})
		s := r.Tenants[0]
		switch {
		case c.want == 0 && (s.Growth != nil || r.History):
			t.Errorf("%s: %+v", c.name, s.Growth)
		case c.want == 0:
		case s.Growth == nil || !r.History:
			t.Errorf("%s: nothing to compare with", c.name)
		case s.Growth.Bytes != s.TotalBytes()-c.want:
			t.Errorf("%s: compared with %d", c.name, s.TotalBytes()-s.Growth.Bytes)
		case r.At.Sub(s.Growth.Since).Round(day) != time.Duration(c.days)*day:
			t.Errorf("%s: since %v", c.name, s.Growth.Since)
		}
	}
}
