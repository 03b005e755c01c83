package metrics_test

import (
	"encoding/json"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/crmctl/crmctl/internal/metrics"
)

// check reports every name in an expression, and every label that it takes from one, or that
// a text beside it does ("{{tenant}}", "$labels.tenant"), which a collection does not have.
func check(t *testing.T, where, expression string, texts ...string) {
	t.Helper()
	labels := []string{"instance", "job", "le"}
	names := regexp.MustCompile(`\bcrmctl_\w+`).FindAllString(expression, -1)
	if len(names) == 0 {
		t.Errorf("%s: no metric in %q", where, expression)
	}
	for _, name := range names {
		i := slices.IndexFunc(metrics.Families(), func(f metrics.Family) bool {
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if f.Histogram && name == f.Name+suffix {
					return true
				}
			}
			return !f.Histogram && name == f.Name
		})
		if i < 0 {
			t.Errorf("%s: there is no %s", where, name)
			continue
		}
		labels = append(labels, metrics.Families()[i].Labels...)
	}
	taken := regexp.MustCompile(`\{\{ *(\w+) *\}\}|\$labels\.(\w+)`)
	for _, m := range taken.FindAllStringSubmatch(strings.Join(texts, "\n"), -1) {
		if label := m[1] + m[2]; !slices.Contains(labels, label) {
			t.Errorf("%s: no metric of it has the label %s", where, label)
		}
	}
	for _, m := range regexp.MustCompile(`(\w+)(?:=~|!=|=)"|\b(?:by|on) \(([^)]*)\)`).FindAllStringSubmatch(expression, -1) {
		for label := range strings.SplitSeq(m[1]+m[2], ", ") {
			if label != "" && !slices.Contains(labels, label) {
				t.Errorf("%s: no metric of it has the label %s: %s", where, label, expression)
			}
		}
	}
}

func TestExampleAlerts(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../examples/alerts.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Groups []struct {
			Name  string
			Rules []struct {
				Alert, Expr, For    string
				Labels, Annotations map[string]string
			}
		}
	}
	decoder := yaml.NewDecoder(strings.NewReader(string(text)))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil {
		t.Fatal(err)
	}
	if len(file.Groups) != 1 || len(file.Groups[0].Rules) < 10 {
		t.Fatalf("%d groups", len(file.Groups))
	}
	for _, rule := range file.Groups[0].Rules {
		check(t, rule.Alert, rule.Expr, rule.Annotations["summary"], rule.Annotations["description"])
		if s := rule.Labels["severity"]; s != "page" && s != "ticket" || rule.Annotations["summary"] == "" ||
			rule.Annotations["description"] == "" {
			t.Errorf("%s: %v %v", rule.Alert, rule.Labels, rule.Annotations)
		}
	}
}

func TestExampleDashboard(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../examples/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	type source struct{ Type, UID string }
	var board struct {
		Title, UID string
		Annotations,
		Templating struct {
			List []struct {
				Name, Type, Definition, Expr string
				Datasource                   *source
			}
		}
		Panels []struct {
			ID          int
			Title, Type string
			Datasource  *source
			GridPos     struct{ X, Y, W, H int }
			Targets     []struct {
				Datasource         *source
				Expr, LegendFormat string
			}
		}
	}
	if err := json.Unmarshal(text, &board); err != nil {
		t.Fatal(err)
	}
	ours := source{"prometheus", "${datasource}"}
	seen, at := map[int]bool{}, map[[2]int]string{}
	for _, p := range board.Panels {
		if seen[p.ID] {
			t.Errorf("%s: number %d is there twice", p.Title, p.ID)
		}
		seen[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := at[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%s stands over %s", p.Title, other)
				}
				at[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource == nil || *p.Datasource != ours || len(p.Targets) == 0 {
			t.Errorf("%s: %v", p.Title, p.Datasource)
		}
		for _, target := range p.Targets {
			check(t, p.Title, target.Expr, target.LegendFormat)
			if target.Datasource == nil || *target.Datasource != ours {
				t.Errorf("%s: %v", p.Title, target.Datasource)
			}
			if !strings.Contains(target.Expr, `job=~"$job",instance=~"$instance"`) {
				t.Errorf("%s: not of what is chosen above: %s", p.Title, target.Expr)
			}
		}
	}
	if len(seen) < 25 {
		t.Errorf("%d panels", len(seen))
	}
	variables := map[string]bool{}
	for _, v := range board.Templating.List {
		variables[v.Name] = true
		if v.Type == "query" {
			check(t, v.Name, v.Definition)
		}
		if v.Type == "query" && (v.Datasource == nil || *v.Datasource != ours) {
			t.Errorf("%s: %v", v.Name, v.Datasource)
		}
	}
	for _, a := range board.Annotations.List {
		check(t, a.Name, a.Expr)
	}
	for _, used := range regexp.MustCompile(`\$\{?(\w+)\}?`).FindAllStringSubmatch(string(text), -1) {
		if !variables[used[1]] && used[1] != "__all" {
			t.Errorf("the variable %s is not there", used[0])
		}
	}
}

// The page about monitoring names every metric, with its labels, and no other.
func TestMonitoringPage(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(crmctl_[^`]*)` \\|").FindAllStringSubmatch(string(text), -1) {
		rows[m[1]] = true
	}
	for _, f := range metrics.Families() {
		name := f.Name
		if len(f.Labels) > 0 {
			name += "{" + strings.Join(f.Labels, ",") + "}"
		}
		if !rows[name] {
			t.Errorf("docs/monitoring.md has no row for %s", name)
		}
		delete(rows, name)
	}
	for name := range rows {
		t.Errorf("docs/monitoring.md: there is no %s", name)
	}
}
