package source_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/source"
)

// tenants reads "slug schema status" for each tenant; its id is the schema with an i.
func tenants(t *testing.T, lines ...string) []registry.Tenant {
	t.Helper()
	var out []registry.Tenant
	for _, line := range lines {
		f := strings.Fields(line)
		schema, err := db.RegisteredSchema(f[1])
		if err != nil {
			t.Fatal(err)
		}
		tn := registry.Tenant{ID: "i" + f[1], Slug: f[0], DisplayName: f[0], Schema: schema, Status: registry.Status(f[2])}
		if len(f) > 3 {
			tn.DeletedFrom = registry.Status(f[3])
		}
		out = append(out, tn)
	}
	return out
}

// rows reads "slug schema [status]" for each row; - is null.
func rows(lines ...string) source.Rows {
	var out source.Rows
	for _, line := range lines {
		cells := strings.Fields(line)
		at := func(i int) *string {
			if i >= len(cells) || cells[i] == "-" {
				return nil
			}
			return &cells[i]
		}
		out.HasStatus = out.HasStatus || len(cells) > 2
		out.All = append(out.All, source.Row{Slug: at(0), Schema: at(1), Status: at(2)})
	}
	return out
}

func lines(c source.Comparison) []string {
	var out []string
	for _, ch := range c.Changes {
		line := fmt.Sprintf("%s %s %s %s", ch.Kind, ch.To.Slug, ch.To.Schema, ch.To.Status)
		if ch.From.ID != "" && ch.From.Slug != ch.To.Slug {
			line += " from " + ch.From.Slug
		}
		if ch.Err != nil {
			line = fmt.Sprintf("%s %s %s: %v", ch.Kind, ch.To.Slug, ch.To.Schema, ch.Err)
		}
		out = append(out, line)
	}
	return out
}

func TestCompare(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		registry []string
		missing  []string // schemas that are not there
		rows     []string
		want     []string
	}{
		"the same": {[]string{"a sa active", "b sb suspended"}, nil, []string{"a sa", "B sb"}, nil},
		"new": {nil, nil, []string{"A_b sa", "b sb frozen", "c sc deleted"},
			[]string{"new a-b sa active", "new b sb suspended"}},
		"not there yet":       {nil, []string{"sa"}, []string{"a sa"}, []string{"waiting a sa active"}},
		"gone":                {[]string{"a sa active", "b sb suspended"}, nil, []string{"a sa"}, []string{"gone b sb gone"}},
		"gone by its word":    {[]string{"a sa active"}, nil, []string{"a sa Deleted"}, []string{"gone a sa gone"}},
		"gone already":        {[]string{"a sa gone", "b sb deleted"}, nil, nil, nil},
		"back as it was":      {[]string{"a sa gone suspended"}, nil, []string{"a sa"}, []string{"back a sa suspended"}},
		"back as it is said":  {[]string{"a sa gone suspended"}, nil, []string{"a sa active"}, []string{"back a sa active"}},
		"another state":       {[]string{"a sa active"}, nil, []string{"a sa paused"}, []string{"changed a sa suspended"}},
		"no column of states": {[]string{"a sa suspended"}, nil, []string{"a sa"}, nil},
		"another slug":        {[]string{"a sa active"}, nil, []string{"b sa"}, []string{"changed b sa active from a"}},
		"a chain of slugs": {[]string{"a sa active", "b sb active"}, nil, []string{"b sa", "c sb"},
			[]string{"changed c sb active from b", "changed b sa active from a"}},
		"a slug passed on to a new one": {[]string{"a sa active"}, nil, []string{"a sx", "b sa"},
			[]string{"changed b sa active from a", "new a sx active"}},
		"a circle of slugs": {[]string{"a sa active", "b sb active", "c sc active"}, nil, []string{"b sa", "c sb", "a sc"},
			[]string{"changed isa sa active from a", "changed a sc active from c", "changed c sb active from b",
				"changed b sa active from isa"}},
		"another schema": {[]string{"a sa suspended"}, []string{"sa"}, []string{"a sx"}, []string{"changed a sx suspended"}},
		"another schema, and the former one": {[]string{"a sa active"}, nil, []string{"a sx"},
			[]string{`refused a sx: belongs to another tenant: slug "a" is that of schema sa, which is still there`,
				"gone a sa gone"}},
		"the slug of one that was deleted": {[]string{"a sa deleted"}, nil, []string{"a sx"},
			[]string{`refused a sx: belongs to another tenant: slug "a" is that of a tenant that was deleted`}},
		"deleted and named": {[]string{"a sa deleted"}, nil, []string{"a sa"},
			[]string{"refused a sa: was deleted, and the application still names it: schema sa is kept until it is purged"}},
		"a slug that another keeps": {[]string{"a sa active", "b sb active"}, nil, []string{"b sa", "b sb"},
			[]string{`refused b sa: the application does not name a tenant by it: slug "b" is named for the schemas sa, sb`,
				`refused b sb: the application does not name a tenant by it: slug "b" is named for the schemas sa, sb`}},
		"one schema twice": {[]string{"a sa active"}, nil, []string{"a sa", "b sa"},
			[]string{"refused a sa: the application does not name a tenant by it: schema sa is named for a, b",
				"refused b sa: the application does not name a tenant by it: schema sa is named for a, b"}},
		"one row twice":        {[]string{"a sa active"}, nil, []string{"a sa", "A sa"}, nil},
		"an old row beside it": {[]string{"a sa active"}, nil, []string{"b sa deleted", "a sa active"}, nil},
		"nulls": {[]string{"a sa active", "b sb active"}, nil, []string{"- sa", "b -", "- -"}, []string{
			`refused  sa: the application does not name a tenant by it: the slug of schema "sa" is null`,
			"refused b : the application does not name a tenant by it: schema is null",
			"refused  : the application does not name a tenant by it: slug and schema are null"}},
		"no tenants": {nil, nil, []string{"a public", "b own", "c pg_x", "-x sx"}, []string{
			`refused a : the application does not name a tenant by it: invalid schema name: "public" does not hold a tenant`,
			"refused b own: the application does not name a tenant by it: schema own is the registry's",
			`refused c : the application does not name a tenant by it: invalid schema name: "pg_x" does not hold a tenant`,
			`refused  sx: the application does not name a tenant by it: invalid tenant name "-x": starts with a hyphen, like a flag`}},
	} {
		own, err := db.RegisteredSchema("own")
		if err != nil {
			t.Fatal(err)
		}
		schemaOf := func(s string) bool { return !strings.Contains(" "+strings.Join(c.missing, " ")+" ", " "+s+" ") }
		found := source.Compare(rows(c.rows...), source.Known{Tenants: tenants(t, c.registry...), Exists: schemaOf, Own: own})
		sorted := lines(found)
		if got, want := strings.Join(sorted, "\n"), strings.Join(c.want, "\n"); !sameLines(name, got, want) {
			t.Errorf("%s:\n%s\nwant\n%s", name, got, want)
		}
	}
}

// sameLines compares two texts; the order of lines counts where names are passed on.
func sameLines(name, got, want string) bool {
	if strings.Contains(name, "chain") || strings.Contains(name, "circle") || strings.Contains(name, "passed on") {
		return got == want
	}
	left := strings.Split(got, "\n")
	for line := range strings.SplitSeq(want, "\n") {
		found := false
		for i := range left {
			if left[i] == line {
				left, found = append(left[:i], left[i+1:]...), true
				break
			}
		}
		if !found {
			return false
		}
	}
	return len(left) == 0
}

func TestCheckLoss(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		living, lost int
		stops        bool
	}{{10, 1, false}, {10, 2, true}, {100, 5, false}, {100, 6, true}, {1, 1, true}, {2, 1, false}, {3, 3, true},
		{0, 0, false}} {
		var known, named []string
		for i := range c.living {
			known = append(known, fmt.Sprintf("t%d s%d active", i, i))
			if i >= c.lost {
				named = append(named, fmt.Sprintf("t%d s%d", i, i))
			}
		}
		found := source.Compare(rows(named...), source.Known{Tenants: tenants(t, known...), Exists: func(string) bool {
			return true
		}})
		err := found.CheckLoss(source.MayLose(found.Living))
		if _, stops := errors.AsType[*source.LossError](err); stops != c.stops {
			t.Errorf("%d of %d: %v", c.lost, c.living, err)
		}
	}
}

func TestStatusOf(t *testing.T) {
	t.Parallel()
	for word, want := range map[string]registry.Status{"": registry.Active, "active": registry.Active,
		" SUSPENDED ": registry.Suspended, "Archived": registry.Suspended, "deleted": registry.Gone,
		"churned": registry.Active} {
		status, known := source.StatusOf(&word)
		if status != want || known == (word == "churned") {
			t.Errorf("%q is %s, known %v", word, status, known)
		}
	}
	if status, known := source.StatusOf(nil); status != registry.Active || !known {
		t.Errorf("null is %s", status)
	}
}

// Slugs that are passed on, in the order that is the worst, and a circle of as many.
func TestCompareManyNames(t *testing.T) {
	t.Parallel()
	const n = 20_000
	var known, chain, circle []string
	for i := range n {
		known = append(known, fmt.Sprintf("t%05d s%d active", i, i))
		chain = append(chain, fmt.Sprintf("t%05d s%d", i+1, i))
		circle = append(circle, fmt.Sprintf("t%05d s%d", (i+1)%n, i))
	}
	all := tenants(t, known...)
	exists := func(string) bool { return true }
	for name, c := range map[string]struct {
		rows  []string
		steps int
	}{
		"a chain": {chain, n}, "a circle": {circle, n + 1},
	} {
		begun := time.Now()
		found := source.Compare(rows(c.rows...), source.Known{Tenants: all, Exists: exists})
		if took := time.Since(begun); took > 30*time.Second {
			t.Errorf("%s took %s", name, took)
		}
		if len(found.Changes) != c.steps {
			t.Errorf("%s: %d changes, want %d", name, len(found.Changes), c.steps)
		}
		held := map[string]string{}
		for _, known := range all {
			held[known.Slug] = known.Schema.String()
		}
		for _, ch := range found.Changes {
			if holder, taken := held[ch.To.Slug]; taken || ch.Kind != source.Changed {
				t.Fatalf("%s: %s of %s is %s's still: %v", name, ch.To.Slug, ch.To.Schema, holder, ch.Err)
			}
			delete(held, ch.From.Slug)
			held[ch.To.Slug] = ch.To.Schema.String()
		}
	}
}
