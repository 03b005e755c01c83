package app

import (
	"context"
	"time"

	"github.com/crmctl/crmctl/internal/registry"
)

// RegistryMoveOptions say where the registry moves to.
type RegistryMoveOptions struct {
	To          registry.Registry
	LockTimeout time.Duration
	DryRun      bool
}

// MoveRegistry moves the registry to another schema and returns what moved, or would. The
// error is an *InputError where it stands there already.
func (a *App) MoveRegistry(ctx context.Context, o RegistryMoveOptions) ([]string, error) {
	if o.To == a.Registry {
		return nil, inputErrorf("the registry stands in schema %s already", o.To.Schema())
	}
	if err := a.Changing(ctx, o.DryRun); err != nil {
		return nil, err
	}
	// Whatever is in the way of an upgrade where it stands need not keep it there.
	conn, err := a.Unchecked(ctx)
	if err != nil {
		return nil, err
	}
	defer closeConn(ctx, conn)
	return a.Registry.Move(ctx, conn, o.To, a.Config.TrustedOwners, o.LockTimeout, o.DryRun)
}
