package adopt_test

import (
	"os"
	"testing"

	"github.com/crmctl/crmctl/internal/pgtest"
)

const (
	first  = "create table a (x int);"
	second = "alter table a add y int;\ncreate index idx_a_y on a (y);"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }
