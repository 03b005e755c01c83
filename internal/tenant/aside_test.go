package tenant_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// The longest name finds another one, in whole letters, and each a name of its own.
func TestSetAsideOfLongNames(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	long := strings.Repeat("é", registry.MaxSlug/2)
	conn := f.Connect(t)
	for _, want := range []string{"-deleted-20261124", "-deleted-20261124-2", "-deleted-20261124-3"} {
		f.Exec(t, `insert into public.tenants (id, slug, display_name, schema_name, status, deleted_at, purge_after)
			values (gen_random_uuid(), '`+long+`', 'x', 'tenant_' || md5(random()::text), 'deleted', '2026-11-24 12:00Z', now())`)
		err := db.InTx(t.Context(), conn, db.Locals{}, func(ctx context.Context, q db.Querier) error {
			got, err := tenant.SetAside(ctx, q, long, db.Public, tenant.MoveOptions{LockTimeout: time.Second})
			if err == nil && (!strings.HasSuffix(got.Slug, want) || len(got.Slug) > registry.MaxSlug ||
				!strings.HasPrefix(long, strings.TrimSuffix(got.Slug, want))) {
				t.Errorf("it is called %q, want the beginning and %q", got.Slug, want)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
