package adopt_test

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/adopt"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// TestLookOverSeveralConnections reads so many schemas that others help: what is found is
// the same, also around a table that somebody has locked, and where the server cuts one of
// the connections.
func TestLookOverSeveralConnections(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	claims := gooseSchemas(t, f, 900, 1, 2)
	f.Exec(t, "insert into t0850.goose_db_version (version_id, is_applied) values (3, true)",
		"delete from t0100.goose_db_version where version_id = 2", "drop schema t0451 cascade")
	holder := f.Connect(t)
	for _, sql := range []string{"begin", "lock table t0500.goose_db_version in access exclusive mode"} {
		if _, err := holder.Exec(t.Context(), sql); err != nil {
			t.Fatal(err)
		}
	}
	o := adoptOptions()
	o.LockTimeout = 50 * time.Millisecond
	want := survey(t, f.Connect(t), threeFiles(t), claims, o).Adoptions

	var opened atomic.Int64
	o.Connect = func(ctx context.Context) (*pgx.Conn, error) {
		conn, err := f.Dial(ctx)
		if err == nil && opened.Add(1) == 2 { // the first asks how many there may be
			var pid uint32
			if err := conn.QueryRow(ctx, "select pg_backend_pid()").Scan(&pid); err != nil {
				return nil, err
			}
			f.Exec(t, fmt.Sprintf("select pg_terminate_backend(%d)", pid))
		}
		return conn, err
	}
	got := survey(t, f.Connect(t), threeFiles(t), claims, o).Adoptions
	if n := opened.Load(); n < 3 {
		t.Fatalf("%d connections were opened, want several", n)
	}
	if len(got) != len(want) {
		t.Fatalf("%d claims were looked at, want %d", len(got), len(want))
	}
	for i, g := range got {
		w := want[i]
		if g.Schema != w.Schema || g.State != w.State || g.Version != w.Version || (g.Err == nil) != (w.Err == nil) ||
			db.SQLState(g.Err) != db.SQLState(w.Err) {
			t.Errorf("%s: %s at %d, %v; want %s at %d, %v", g.Schema, g.State, g.Version, g.Err, w.State, w.Version, w.Err)
		}
	}
	refused := slices.DeleteFunc(got, func(a adopt.Adoption) bool { return a.State != adopt.Refused })
	if len(refused) != 2 || refused[0].Schema != "t0451" || refused[1].Schema != "t0500" {
		t.Errorf("refused: %v, want t0451 and t0500", refused)
	}
}
