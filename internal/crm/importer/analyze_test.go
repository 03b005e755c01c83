package importer

import (
	"strconv"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
)

// The number of contacts is known right after an import, also one into a table that has
// rows already; a few rows more do not cost an analysis of all.
func TestContactsAreKnownAfterAnImport(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, "alter table contacts set (autovacuum_enabled = false)",
		"insert into contacts (name) values ('first')")
	known := func() string {
		return crmtest.List(t, conn, schema, "select reltuples::text from pg_class where oid = 'contacts'::regclass")[0]
	}
	file := func(from, to int) string {
		var text strings.Builder
		text.WriteString("name,email\n")
		for i := from; i < to; i++ {
			n := strconv.Itoa(i)
			text.WriteString("n" + n + ",a" + n + "@example.org\n")
		}
		return text.String()
	}
	for _, c := range []struct {
		text   string
		dryRun bool
		want   string
	}{
		{file(0, 300), true, "-1"},
		{file(0, 300), false, "301"},
		{file(300, 310), false, "301"},
		{file(400, 600), false, "511"},
	} {
		importText(t, conn, c.text, Options{Schema: schema, DryRun: c.dryRun})
		if got := known(); got != c.want {
			t.Errorf("after %d bytes (dry run %t) %s contacts are known, want %s", len(c.text), c.dryRun, got, c.want)
		}
	}
}
