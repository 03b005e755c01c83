package tenant_test

import (
	"os"
	"testing"

	"github.com/crmctl/crmctl/internal/pgtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(stagedChild) != "" {
		os.Exit(child())
	}
	os.Exit(pgtest.Main(m))
}
