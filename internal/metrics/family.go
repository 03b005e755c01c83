package metrics

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Family describes the samples of one name.
type Family struct {
	Name, Help string
	Labels     []string
	Histogram  bool // and otherwise a gauge
	Collector  string
}

// The collectors, each of which succeeds or fails for itself.
const (
	Sizes      = "sizes"
	Migrations = "migrations"
	Tenants    = "tenants"
	Sessions   = "sessions"
	Server     = "server"
	Runs       = "runs"
	Backups    = "backups"
	Drift      = "drift"
)

// Families returns every family that a collection may have, by name.
func Families() []Family {
	tenant, of := []string{"tenant"}, " This and all crmctl_selected_* are of chosen tenants only."
	list := []Family{
		{Name: "crmctl_up", Help: "Whether the database answered."},
		{Name: "crmctl_build_info", Help: "The program; always 1.", Labels: []string{"version"}},
		{Name: "crmctl_collector_success", Help: "Whether the collector succeeded.", Labels: []string{"collector"}},
		{Name: "crmctl_collector_duration_seconds", Help: "How long the collector took.", Labels: []string{"collector"}},
		{Name: "crmctl_collector_timestamp_seconds", Help: "When the samples of the collector were taken.",
			Labels: []string{"collector"}},

		{Name: "crmctl_size_bytes", Help: "What all tenants take, estimated.", Labels: []string{"kind"}, Collector: Sizes},
		{Name: "crmctl_tenant_size_bytes", Help: "What tenants take, estimated: how many take how much.", Histogram: true,
			Collector: Sizes},
		{Name: "crmctl_tenants_without_schema", Help: "Tenants whose schema is gone.", Collector: Sizes},
		{Name: "crmctl_selected_tenant_size_bytes", Help: "What the tenant takes, estimated." + of,
			Labels: []string{"tenant", "kind"}, Collector: Sizes},
		{Name: "crmctl_selected_tenant_contacts", Help: "Contacts of the tenant, estimated.", Labels: tenant,
			Collector: Sizes},
		{Name: "crmctl_selected_tenants_omitted", Help: "Tenants that were named, but are too many to be selected.",
			Collector: Sizes},

		{Name: "crmctl_newest_version", Help: "Version of the newest migration file.", Collector: Migrations},
		{Name: "crmctl_tenants", Help: "Tenants in the registry.", Labels: []string{"status"}, Collector: Tenants},
		{Name: "crmctl_tenants_at_version", Help: "Active and suspended tenants by the version of their schema; all but " +
			"the newest versions are one sample, older.", Labels: []string{"version"}, Collector: Tenants},
		{Name: "crmctl_tenants_behind", Help: "Active and suspended tenants with pending migrations.", Collector: Tenants},
		{Name: "crmctl_dirty_tenants", Help: "Tenants in the middle of a migration that runs without a transaction.",
			Collector: Tenants},
		{Name: "crmctl_purges_overdue", Help: "Deleted tenants whose retention is over.", Collector: Tenants},
		{Name: "crmctl_selected_tenant_schema_version", Help: "Version of the tenant's schema.", Labels: tenant,
			Collector: Tenants},

		{Name: "crmctl_connections", Help: "Connections of clients to the database.", Labels: []string{"state"},
			Collector: Sessions},
		{Name: "crmctl_connections_free", Help: "How many more clients may connect.", Collector: Sessions},
		{Name: "crmctl_blocked_sessions", Help: "Sessions that wait for a lock.", Collector: Sessions},
		{Name: "crmctl_longest_lock_wait_seconds", Help: "How long a session has waited for a lock, the longest.",
			Collector: Sessions},
		{Name: "crmctl_oldest_transaction_seconds", Help: "How long a transaction has been open, the longest; prepared " +
			"ones too.", Collector: Sessions},
		{Name: "crmctl_selected_tenant_connections", Help: "Connections that are known to be the tenant's.",
			Labels: []string{"tenant", "state"}, Collector: Sessions},
		{Name: "crmctl_selected_tenant_oldest_transaction_seconds", Help: "How long a transaction of the tenant has been " +
			"open, the longest.", Labels: tenant, Collector: Sessions},

		{Name: "crmctl_catalog_bytes", Help: "What catalogs take with their indexes.", Labels: []string{"relation"},
			Collector: Server},
		{Name: "crmctl_lock_slots", Help: "Places of the lock table, about.", Labels: []string{"state"}, Collector: Server},
		{Name: "crmctl_xid_age", Help: "How many transaction ids ago the oldest of the database was given out.",
			Collector: Server},
		{Name: "crmctl_multixact_age", Help: "How many multixact ids ago the oldest of the database was given out.",
			Collector: Server},

		{Name: "crmctl_last_run_timestamp_seconds", Help: "When a run over the fleet last ended so.",
			Labels: []string{"kind", "outcome"}, Collector: Runs},
		{Name: "crmctl_running_runs", Help: "Runs over the fleet that are under way.", Collector: Runs},

		{Name: "crmctl_oldest_backup_age_seconds", Help: "Age of the latest backup of a tenant, the oldest.",
			Collector: Backups},
		{Name: "crmctl_tenants_without_backup", Help: "Active and suspended tenants that were never backed up.",
			Collector: Backups},
		{Name: "crmctl_selected_tenant_backup_timestamp_seconds", Help: "When the tenant was last backed up.",
			Labels: tenant, Collector: Backups},

		{Name: "crmctl_drifted_tenants", Help: "Tenants that differ from what their migrations make, at the latest " +
			"comparison.", Collector: Drift},
	}
	slices.SortFunc(list, func(a, b Family) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// samples are those of a collector, by the name of the family.
type samples struct {
	known map[string]Family
	of    map[string]*dto.MetricFamily
}

func newSamples(known map[string]Family) *samples {
	return &samples{known: known, of: map[string]*dto.MetricFamily{}}
}

// gauge adds a sample; values are those of the labels of its family.
func (s *samples) gauge(name string, v float64, values ...string) {
	s.add(name, &dto.Metric{Gauge: &dto.Gauge{Value: new(v)}}, values)
}

func (s *samples) add(name string, m *dto.Metric, values []string) {
	f, known := s.known[name]
	if !known || len(values) != len(f.Labels) {
		panic(fmt.Sprintf("metrics: %s with %d labels is no family", name, len(values)))
	}
	for i, label := range f.Labels {
		m.Label = append(m.Label, &dto.LabelPair{Name: new(label), Value: new(strings.ToValidUTF8(values[i], "\uFFFD"))})
	}
	family := s.of[name]
	if family == nil {
		kind := dto.MetricType_GAUGE
		if f.Histogram {
			kind = dto.MetricType_HISTOGRAM
		}
		family = &dto.MetricFamily{Name: new(name), Help: new(f.Help), Type: &kind}
		s.of[name] = family
	}
	family.Metric = append(family.Metric, m)
}

// histogram adds the distribution of values over buckets that end at bounds.
func (s *samples) histogram(name string, bounds, values []float64) {
	h := &dto.Histogram{SampleCount: new(uint64(len(values))), SampleSum: new(float64)}
	counts := make([]uint64, len(bounds))
	for _, v := range values {
		*h.SampleSum += v
		for i, bound := range bounds {
			if v <= bound {
				counts[i]++
			}
		}
	}
	for i, bound := range bounds {
		h.Bucket = append(h.Bucket, &dto.Bucket{UpperBound: new(bound), CumulativeCount: new(counts[i])})
	}
	s.add(name, &dto.Metric{Histogram: h}, nil)
}

// sorted returns the families in the order of their names.
func (s *samples) sorted() []*dto.MetricFamily {
	out := make([]*dto.MetricFamily, 0, len(s.of))
	for _, name := range slices.Sorted(maps.Keys(s.of)) {
		out = append(out, s.of[name])
	}
	return out
}

// Write writes families in the text format of Prometheus.
func Write(w io.Writer, families []*dto.MetricFamily) error {
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(w, f); err != nil {
			return fmt.Errorf("write the metrics: %w", err)
		}
	}
	return nil
}

// SelectedIn returns the tenants that a text of Write has samples of; none where it is
// something else.
func SelectedIn(text []byte) []string {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil
	}
	var out []string
	for _, m := range families["crmctl_selected_tenant_size_bytes"].GetMetric() {
		for _, l := range m.GetLabel() {
			if l.GetName() == "tenant" && !slices.Contains(out, l.GetValue()) {
				out = append(out, l.GetValue())
			}
		}
	}
	return out
}

// Sample is one number, for a table.
type Sample struct {
	Name   string // of a histogram with its suffix
	Labels []Label
	Value  float64
}

// Label is a name and a value.
type Label struct{ Name, Value string }

// Samples returns families as single numbers.
func Samples(families []*dto.MetricFamily) []Sample {
	var out []Sample
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []Label
			for _, l := range m.GetLabel() {
				labels = append(labels, Label{l.GetName(), l.GetValue()})
			}
			h := m.GetHistogram()
			if h == nil {
				out = append(out, Sample{f.GetName(), labels, m.GetGauge().GetValue()})
				continue
			}
			for _, b := range h.GetBucket() {
				out = append(out, Sample{f.GetName() + "_bucket",
					append(slices.Clip(labels), Label{"le", number(b.GetUpperBound())}), float64(b.GetCumulativeCount())})
			}
			out = append(out,
				Sample{f.GetName() + "_bucket", append(slices.Clip(labels), Label{"le", "+Inf"}), float64(h.GetSampleCount())},
				Sample{f.GetName() + "_sum", labels, h.GetSampleSum()},
				Sample{f.GetName() + "_count", labels, float64(h.GetSampleCount())})
		}
	}
	return out
}
