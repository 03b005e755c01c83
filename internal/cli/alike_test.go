package cli

import (
	"strings"
	"testing"
)

func TestSetAside(t *testing.T) {
	t.Parallel()
	own := []OwnWord{{"tenant_acme", "<schema>"}, {"", "<none>"}, {"acme", "<tenant>"}}
	for _, tt := range []struct{ text, want string }{
		{`permission denied for schema tenant_acme (42501)`, `permission denied for schema <schema> (42501)`},
		{`tenant "acme" is suspended`, `tenant "<tenant>" is suspended`},
		{`relation "tenant_acme.x", tenant_acme`, `relation "<schema>.x", <schema>`},
		{`acme-corp, acme_x, tenant_acme_corp and acme2 are others`, `acme-corp, acme_x, tenant_acme_corp and acme2 are others`},
		{`acme`, `<tenant>`},
		{`acmeacme acme`, `acmeacme <tenant>`},
		{`éacme acmeé`, `éacme acmeé`},
		{``, ``},
	} {
		same(t, tt.text, SetAside(tt.text, own), tt.want)
	}
}

// Rows that differ in nothing but whose they are become one, from as many on as a few names
// do not tell; the others keep their lines.
func TestAlikeRowsAreOne(t *testing.T) {
	t.Parallel()
	var rows []reasoned
	for name := range strings.SplitSeq("a b c d e f", " ") {
		rows = append(rows, reasoned{name, "Title of " + name, "permission denied for schema tenant_" + name})
	}
	rows = append(rows, reasoned{"g", "", "permission denied for schema tenant_a"},
		reasoned{"h", "", "disk full"}, reasoned{"i", "", "disk full"}, reasoned{"j", "", "disk full"}, reasoned{"k", "", "disk full"})
	together := false
	list := func() List[reasoned] {
		l := reasons()
		l.Alike = &Alike[reasoned]{Noun: "tenant", Blank: []string{"title"}, Together: &together,
			Own: func(r reasoned) []OwnWord {
				return []OwnWord{{"tenant_" + r.name, "<schema>"}, {r.name, "<tenant>"}}
			},
			Each: func() string { return "crmctl x -o wide" }}
		return l
	}
	d := &papers{}
	p := newPrinter(d, "table")
	p.Terminal, p.Width = true, 60
	if err := PrintList(p, list(), rows); err != nil {
		t.Fatal(err)
	}
	same(t, "a terminal", d.out.String(), `NAME          VERSION         WHY
6 tenants     20261124091500  permission denied for schema
  a                           <schema>
  b
  c
  and 3 more
g             20261124091500  permission denied for schema
                              tenant_a
h             20261124091500  disk full
i             20261124091500  disk full
j             20261124091500  disk full
k             20261124091500  disk full

each tenant: crmctl x -o wide
`)
	if !together {
		t.Error("it is not told that rows were put together")
	}
	for _, format := range []string{"table", "csv", "json", "ndjson", "yaml"} {
		d := &papers{}
		if err := PrintList(newPrinter(d, format), list(), rows); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(d.out.String(), "6 tenants") || !strings.Contains(d.out.String(), "schema tenant_f") {
			t.Errorf("%s in a pipe has not every row:\n%s", format, d.out.String())
		}
	}
	d = &papers{}
	p = newPrinter(d, "wide")
	p.Terminal = true
	if err := PrintList(p, list(), rows); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(d.out.String(), "\n"); n != len(rows)+1 {
		t.Errorf("-o wide has %d lines:\n%s", n, d.out.String())
	}
	d = &papers{}
	piped := list()
	piped.Alike.Piped = true
	if err := PrintList(newPrinter(d, "table"), piped, rows[:6]); err != nil {
		t.Fatal(err)
	}
	same(t, "the end of a log", d.out.String(),
		"NAME\tTITLE\tVERSION\tWHY\n6 tenants: a, b, c and 3 more\t\t20261124091500\tpermission denied for schema <schema>\n")
}
