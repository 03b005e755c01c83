package importer

import (
	"bytes"
	"fmt"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
)

// childEnv makes the test binary import a file instead of running tests, so that
// a test can kill it; see TestKilledImportLeavesNothing.
const childEnv = "CRM_TEST_IMPORT_INTO"

func TestMain(m *testing.M) {
	if dsn := os.Getenv(childEnv); dsn != "" {
		os.Exit(importForever(dsn))
	}
	os.Exit(pgtest.Main(m))
}

const contactsSQL = "select email, phone, name, company, metadata::text from contacts order by email nulls last, " +
	"phone, name, company, metadata::text collate \"C\""

// contacts returns every contact, without what differs from run to run.
func contacts(t testing.TB, conn *pgx.Conn, schema db.Schema) []string {
	t.Helper()
	return crmtest.List(t, conn, schema, contactsSQL)
}

// importText imports a file and fails the test on an error.
func importText(t testing.TB, conn *pgx.Conn, text string, o Options) Result {
	t.Helper()
	r, err := Import(t.Context(), conn, bytes.NewReader([]byte(text)), o)
	if err != nil {
		t.Fatalf("import: %v", err)
	}
	if sum := r.Inserted + r.Updated + r.Unchanged + r.Repeated + r.Rejected; sum != r.Read {
		t.Errorf("the rows do not add up: %+v", r)
	}
	return r
}

// tally is the counts of a result, for comparing.
func tally(r Result) string {
	text := fmt.Sprintf("read %d inserted %d updated %d unchanged %d rejected %d", r.Read, r.Inserted, r.Updated,
		r.Unchanged, r.Rejected)
	if r.Repeated > 0 {
		text += fmt.Sprintf(" repeated %d", r.Repeated)
	}
	return text
}
