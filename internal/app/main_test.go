package app_test

import (
	"os"
	"testing"

	"github.com/crmctl/crmctl/internal/pgtest"
)

func TestMain(m *testing.M) {
	if os.Getenv(transferEnv) != "" {
		os.Exit(transferChild())
	}
	os.Exit(pgtest.Main(m))
}
