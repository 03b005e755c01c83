package maintain_test

import (
	"os"
	"testing"

	"github.com/crmctl/crmctl/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
