package placement_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/pelletier/go-toml/v2"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/placement"
	"github.com/crmctl/crmctl/internal/registry"
)

// row is a tenant of a registry, with the id of its transfer.
type row struct {
	slug, id string
	status   registry.Status
	transfer string
}

func side(profile string) registry.Side {
	return registry.Side{Profile: profile, Host: profile + ".example.com", Port: 5432, Database: "crm", Registry: "public"}
}

func seen(t *testing.T, profile string, rows ...row) placement.Seen {
	t.Helper()
	out := placement.Seen{Side: side(profile), Transfers: map[string]registry.Transfer{}}
	for _, r := range rows {
		schema, err := db.SchemaForSlug(r.slug)
		if err != nil {
			t.Fatal(err)
		}
		out.Tenants = append(out.Tenants, registry.Tenant{ID: r.id, Slug: r.slug, Schema: schema, Status: r.status,
			Version: 4})
		if r.transfer != "" {
			out.Transfers[r.id] = registry.Transfer{ID: r.transfer, Side: side("other")}
		}
	}
	return out
}

// TestOnePlace: at each step of a transfer a tenant lives in one place.
func TestOnePlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name        string
		here, there []row
		want        map[string]int // database by slug
		away        string
		twice       string
	}{
		{name: "apart", here: []row{{"a", "1", registry.Active, ""}}, there: []row{{"b", "2", registry.Suspended, ""}},
			want: map[string]int{"a": 0, "b": 1}},
		{name: "leaving", here: []row{{"a", "1", registry.Leaving, "x"}}, want: map[string]int{"a": 0}},
		{name: "copied", here: []row{{"a", "1", registry.Leaving, "x"}}, there: []row{{"a", "1", registry.Incoming, "x"}},
			want: map[string]int{"a": 0}},
		{name: "handed over", here: []row{{"a", "1", registry.Moved, "x"}},
			there: []row{{"a", "1", registry.Incoming, "x"}}, want: map[string]int{"a": 1}},
		{name: "open there", here: []row{{"a", "1", registry.Moved, "x"}}, there: []row{{"a", "1", registry.Active, "x"}},
			want: map[string]int{"a": 1}},
		{name: "the copy of another transfer", here: []row{{"a", "1", registry.Moved, "y"}},
			there: []row{{"a", "1", registry.Incoming, "x"}}, want: map[string]int{}, away: "a"},
		{name: "gone to a third", here: []row{{"a", "1", registry.Moved, "x"}}, want: map[string]int{}, away: "a"},
		{name: "another took the name", here: []row{{"a", "1", registry.Moved, "x"}, {"b", "2", registry.Active, ""}},
			there: []row{{"a", "1", registry.Active, "x"}}, want: map[string]int{"a": 1, "b": 0}},
		{name: "deleted", here: []row{{"a", "1", registry.Deleted, ""}}, want: map[string]int{}},
		{name: "gone from the application", here: []row{{"a", "1", registry.Gone, ""}}, want: map[string]int{"a": 0}},
		{name: "twice", here: []row{{"a", "1", registry.Active, ""}}, there: []row{{"a", "1", registry.Active, ""}},
			twice: `tenant "a" is both in profile here (here.example.com:5432/crm) and in profile there`},
		{name: "one name", here: []row{{"a", "1", registry.Active, ""}}, there: []row{{"a", "2", registry.Active, ""}},
			twice: `a tenant "a" is both`},
	} {
		p, away, err := placement.Find([]placement.Seen{seen(t, "here", c.here...), seen(t, "there", c.there...)})
		var twice *placement.TwiceError
		if c.twice != "" {
			if !errors.As(err, &twice) || !strings.Contains(err.Error(), c.twice) {
				t.Errorf("%s: %v", c.name, err)
			}
			continue
		}
		got, gone := map[string]int{}, ""
		for _, x := range p.Tenants {
			got[x.Slug] = x.Database
		}
		for _, a := range away {
			gone += a.Slug
		}
		if err != nil || !reflect.DeepEqual(got, c.want) || len(got) != len(p.Tenants) || gone != c.away {
			t.Errorf("%s: %v, away %q, %v", c.name, got, gone, err)
		}
	}
}

// config is what of PgDog's own configuration we write, by the names of its source.
type config struct {
	Databases []struct {
		Name         string `toml:"name"`
		Host         string `toml:"host"`
		Port         uint16 `toml:"port"`
		DatabaseName string `toml:"database_name"`
		Shard        uint   `toml:"shard"`
	} `toml:"databases"`
	ShardedSchemas []struct {
		Database string `toml:"database"`
		Name     string `toml:"name"`
		Shard    uint   `toml:"shard"`
	} `toml:"sharded_schemas"`
}

func TestPgDog(t *testing.T) {
	t.Parallel()
	one, two := seen(t, "here", row{"a", "1", registry.Active, ""}), seen(t, "there", row{"b-b", "2", registry.Active, ""})
	two.Database = "the \"other\"\\\nbase\x7f"
	p, _, err := placement.Find([]placement.Seen{one, two})
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	if err := placement.Write(&text, p, placement.PgDog, "crm \"x\""); err != nil {
		t.Fatal(err)
	}
	var got config
	in := toml.NewDecoder(strings.NewReader(text.String()))
	if err := in.DisallowUnknownFields().Decode(&got); err != nil {
		t.Fatalf("%v\n%s", err, &text)
	}
	if d := got.Databases; len(d) != 2 || d[0].Name != `crm "x"` || d[0].Host != "here.example.com" || d[0].Port != 5432 ||
		d[0].DatabaseName != "crm" || d[0].Shard != 0 || d[1].DatabaseName != two.Database || d[1].Shard != 1 {
		t.Errorf("databases: %+v", d)
	}
	if s := got.ShardedSchemas; len(s) != 2 || s[0].Database != `crm "x"` || s[0].Name != "tenant_a" || s[0].Shard != 0 ||
		s[1].Name != "tenant_b_b" || s[1].Shard != 1 {
		t.Errorf("schemas: %+v", s)
	}

	// What a router cannot take is refused whole.
	local := p
	local.Databases = []registry.Side{p.Databases[0], {Profile: "there", Host: "/run/postgresql"}}
	same := p
	same.Tenants = append([]placement.Tenant{}, p.Tenants...)
	same.Tenants[1].Schema = same.Tenants[0].Schema
	var socket *placement.SocketError
	var twice *placement.TwiceError
	text.Reset()
	if err := placement.Write(&text, local, placement.PgDog, "crm"); !errors.As(err, &socket) || text.Len() > 0 {
		t.Errorf("a socket: %v", err)
	}
	if err := placement.Write(&text, same, placement.PgDog, "crm"); !errors.As(err, &twice) || text.Len() > 0 {
		t.Errorf("a schema twice: %v", err)
	}
	if !local.ReachBy("there", "10.0.0.1", 6432) || local.ReachBy("nobody", "x", 1) {
		t.Error("addresses go to the wrong database")
	}
	if err := placement.Write(&text, local, placement.PgDog, "crm"); err != nil {
		t.Error(err)
	}
}
