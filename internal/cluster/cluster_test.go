package cluster_test

import (
	"os"
	"testing"

	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/pgtest"
)

func TestMain(m *testing.M) { os.Exit(pgtest.Main(m)) }

func TestPostgreSQLIsAskedNothing(t *testing.T) {
	cfg, err := db.ParseConfig(pgtest.Empty(t))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := db.Connect(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	// Nothing can be asked of it any more.
	if err := conn.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Healthy(t.Context(), conn); err != nil {
		t.Error(err)
	}
	nodes, err := cluster.Nodes(t.Context(), conn)
	if err != nil || nodes != nil {
		t.Errorf("nodes %v, %v", nodes, err)
	}
	places, err := cluster.FindPlaces(t.Context(), conn)
	if err != nil || places != nil || places.Of("x") != (cluster.Place{}) {
		t.Errorf("places %v, %v", places, err)
	}
	if sizes, err := cluster.Sizes(t.Context(), conn); err != nil || sizes != nil {
		t.Errorf("sizes %v, %v", sizes, err)
	}
}
