package main

import (
	"context"
	"errors"
	"sync"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// registryCheck is the look at whose the registry is. It comes before anything else is
// read, once: names that are taken by ours cannot be taken by others later.
type registryCheck struct {
	mu   sync.Mutex
	done bool
}

// checked returns conn, or closes it and fails where a role that is not trusted has put
// something into public under a name of the registry's: to read it would run its code.
func (f *factory) checked(ctx context.Context, conn *pgx.Conn) (*pgx.Conn, error) {
	f.ownership.mu.Lock()
	defer f.ownership.mu.Unlock()
	if f.ownership.done {
		return conn, nil
	}
	cfg, err := f.config()
	if err == nil {
		err = f.registry().RefuseForeign(ctx, conn, cfg.TrustedOwners)
	}
	if _, is := errors.AsType[*db.WorkerError](err); is {
		err = cli.WithCode(err, cli.ExitUsage)
	}
	if err != nil {
		closeConn(ctx, conn)
		return nil, err
	}
	f.ownership.done = true
	return conn, nil
}

// explainForeign says whose it is, and how it is trusted.
func explainForeign(e *registry.ForeignError) []cli.Hint {
	return []cli.Hint{
		{Label: "whose it is", Command: "crmctl doctor --check registry"},
		{Label: "if that role makes the registry", Command: "CRMCTL_TRUSTED_OWNERS=" + cli.Visible(e.Objects[0].Owner)},
	}
}
