package registry

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// changes is the channel on which it is told that a tenant's row has changed in a way that
// matters to who works on the tenant: its name, schema, state, role or settings. A payload is
// the tenant's id, so that registries in one database need no channels of their own.
//
// New tenants and new versions are not told: nobody keeps what is not there, and a version is
// no part of how a tenant is found. Neither is the end of a row, since a tenant is deleted
// before that. So a run over the fleet tells nothing: each transaction that does waits for a
// lock of the whole server when it commits.
const changes = "crmctl_tenants"

func queueChanged(p *db.Pipeline, id string) {
	p.Exec("select pg_catalog.pg_notify('"+changes+"', $1)", id)
}

// Follow calls changed with the id of each tenant whose row has changed, until ctx or the
// connection ends, and once with "" when it begins to listen: what changed before was not
// heard. Anybody in the database can make it call changed. The error is db.ErrPooled where a
// pooler stands between, on whose connections nothing can be heard.
func (r Registry) Follow(ctx context.Context, conn *pgx.Conn, changed func(id string)) error {
	if err := db.RefusePooler(ctx, conn); err != nil {
		return err
	}
	if _, err := conn.Exec(ctx, "listen "+changes); err != nil {
		return fmt.Errorf("listen for changes of the registry: %w", err)
	}
	changed("")
	for {
		heard, err := conn.WaitForNotification(ctx)
		if err != nil {
			return fmt.Errorf("listen for changes of the registry: %w", err)
		}
		if heard.Channel == changes && heard.Payload != "" {
			changed(heard.Payload)
		}
	}
}
