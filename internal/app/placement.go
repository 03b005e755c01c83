package app

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/placement"
	"github.com/crmctl/crmctl/internal/registry"
)

// placementLooks is how often the registries are read again where a tenant was on its way
// between two of them meanwhile.
const placementLooks = 3

// Placement reads the registries of several databases, each with an application of its own,
// and says where each tenant lives. A database that is there twice counts once. The error is a
// *placement.TwiceError where a tenant is in two, and an *OtherSideError, which names the
// profile, where one cannot be read.
func Placement(ctx context.Context, apps []*App) (p placement.Placement, away []placement.Away, err error) {
	for range placementLooks {
		var seen []placement.Seen
		if seen, err = readPlacements(ctx, apps); err != nil {
			return p, nil, err
		}
		p, away, err = placement.Find(seen)
		if err == nil && len(away) == 0 {
			break
		}
		if _, twice := errors.AsType[*placement.TwiceError](err); err != nil && !twice {
			break
		}
	}
	return p, away, err
}

func readPlacements(ctx context.Context, apps []*App) ([]placement.Seen, error) {
	var out []placement.Seen
	var known []string
	for _, a := range apps {
		seen, is, err := a.readPlacement(ctx)
		switch {
		case err != nil && a.Config.Profile != "":
			return nil, &OtherSideError{Profile: a.Config.Profile, Err: err}
		case err != nil:
			return nil, err
		case !slices.Contains(known, is):
			known, out = append(known, is), append(out, seen)
		}
	}
	return out, nil
}

// readPlacement returns what a registry says, in one moment, and a text that is the same for the
// same registry however it is reached.
func (a *App) readPlacement(ctx context.Context) (seen placement.Seen, is string, err error) {
	conn, err := a.Connect(ctx)
	if err != nil {
		return seen, "", err
	}
	defer closeConn(ctx, conn)
	if is, err = databaseOf(ctx, conn); err != nil {
		return seen, "", err
	}
	seen.Side = a.side(conn)
	err = db.InTx(ctx, conn, db.Locals{Snapshot: true}, func(ctx context.Context, q db.Querier) error {
		var invalid []registry.InvalidRow
		var err error
		if seen.Tenants, invalid, err = a.Registry.ListAll(ctx, q, registry.Filter{}); err != nil {
			return err
		}
		if len(invalid) > 0 {
			a.Notify(InvalidRows{Rows: invalid})
		}
		if slices.ContainsFunc(seen.Tenants, func(t registry.Tenant) bool { return t.Status.Travels() }) {
			seen.Transfers, err = a.Registry.ListTransfers(ctx, q, nil)
		}
		return err
	})
	return seen, is + " " + a.Registry.Schema().String(), err
}

// databaseOf returns a text that no other database has, as long as its server runs.
func databaseOf(ctx context.Context, conn *pgx.Conn) (string, error) {
	found, err := db.Select(ctx, conn, pgx.RowTo[string], `select d.oid::text || ' ' ||
		extract(epoch from pg_postmaster_start_time())::text from pg_database d where d.datname = current_database()`)
	if err != nil {
		return "", fmt.Errorf("look which database this is: %w", err)
	}
	return found[0], nil
}
