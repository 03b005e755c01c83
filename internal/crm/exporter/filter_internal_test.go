package exporter

import (
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
)

// What is searched for is in no statement, whose text the server keeps and shows, but on a
// cluster, where it could be nowhere else.
func TestFilterValuesStandInNoStatement(t *testing.T) {
	t.Parallel()
	named := func(table string) string { return db.Quoted(table) }
	secret := "ann@example.com"
	for _, table := range []Table{Contacts, Conversations, Messages} {
		f := Filter{Since: time.Now(), Search: secret, Metadata: `{"x": "` + secret + `"}`, Status: []string{secret}}
		if table != Contacts {
			f.Contact = secret
		}
		for _, spread := range []bool{false, true} {
			c := newConditions(table, f, spread)
			if strings.Contains(c.where(named), secret) != spread || (len(c.settings) == 0) != spread {
				t.Errorf("%s, on a cluster %t: %s with %q", table, spread, c.where(named), c.settings)
			}
		}
	}
}
