//go:build unix

package main

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// TestKilledGroups: two runs at once, in which tenants share transactions, are killed at
// any moment again and again. Every tenant is at a whole version all the time, and each
// migration is applied once.
func TestKilledGroups(t *testing.T) {
	t.Parallel()
	const tenants, versions, kills = 60, 4, 8
	files := map[string]string{"00001_a.sql": "create table a1 (x int);\ncreate table b1 (x int);"}
	for v := 2; v <= versions; v++ {
		files[fmt.Sprintf("%05d_x.sql", v)] = fmt.Sprintf("create table a%d (x int);\ncreate table b%[1]d (x int);\ncreate "+
			"index on a%[1]d (x);", v)
	}
	dir := writeFiles(t, files)
	f := fleetOf(t, tenants, dir)
	for range kills {
		var wg sync.WaitGroup
		for range 2 {
			cmd := program(t, f, "migrate", "all-tenants", "--migrations-dir", dir, "--concurrency", "2", "--group", "6")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			wg.Go(func() {
				time.Sleep(time.Duration(rand.IntN(400)) * time.Millisecond)
				_ = cmd.Process.Kill()
				_ = cmd.Wait()
			})
		}
		wg.Wait()
		settle(t, f)
		checkVersions(t, f, tenants, versions)
	}
	if out, err := program(t, f, "migrate", "all-tenants", "--migrations-dir", dir, "--group",
		"6").CombinedOutput(); err != nil {
		t.Errorf("the last run: %v\n%s", err, out)
	}
	if done := checkVersions(t, f, tenants, versions); done != tenants {
		t.Errorf("%d of %d tenants at the head in the end", done, tenants)
	}
	if n := f.Int(t, `select count(*) from (select from public.tenants group by xmin::text having count(*) > 1) g`); n == 0 {
		t.Error("no tenants shared a transaction: the test shows nothing")
	}
}
