package registry

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// ShapeKey says what the script of a final shape was made from and for. Where any of it
// changes, the same migrations may make another schema.
type ShapeKey struct {
	Plan  string // digest of the history
	Major int    // of the server
	Owner string // the role that runs the migrations
	// Environment is SHA-256, in hexadecimal, over what else of the database and the
	// session migrations depend on: default privileges, extensions, event triggers,
	// functions that no tenant has, types and roles that the migrations name,
	// settings, the server's full version (what stands in a catalog may change in a
	// minor release) and this program's.
	Environment string
}

// String returns a digest of the key, 64 hexadecimal digits: what is not of the same
// key has another.
func (k ShapeKey) String() string {
	sum := sha256.Sum256(fmt.Appendf(nil, "%q %d %q %q", k.Plan, k.Major, k.Owner, k.Environment))
	return hex.EncodeToString(sum[:])
}

// Shape is what the registry keeps of the end of a history; package shape says what
// the fields mean.
type Shape struct {
	Script                     []string
	Fingerprint, Reason, Fixed string // "" for none
	// Stale tells of a reason that it is a day old, and asked for again.
	Stale bool
}

// Shape returns what is kept under a key, and whether anything is.
func (r Registry) Shape(ctx context.Context, q db.Querier, k ShapeKey) (kept Shape, found bool, err error) {
	all, err := db.Select(ctx, q, pgx.RowToStructByName[Shape], `
		select script, coalesce(fingerprint, '') as fingerprint, coalesce(reason, '') as reason, coalesce(fixed, '') as fixed,
			script is null and made_at <= pg_catalog.now() - interval '1 day' as stale
		from `+r.Shapes()+`
		where plan_checksum = $1 and server_major = $2 and owner = $3 and environment = $4`, k.Plan, k.Major, k.Owner,
		k.Environment)
	switch {
	case err != nil:
		return kept, false, fmt.Errorf("look for the final shape of the migrations: %w", err)
	case len(all) == 0:
		return kept, false, nil
	}
	return all[0], true, nil
}

// KeepShape remembers a shape, and forgets the oldest of the same owner and server. One
// that is still asked for and forgotten is made again.
func (r Registry) KeepShape(ctx context.Context, conn *pgx.Conn, k ShapeKey, version int64, s Shape) error {
	err := db.InTx(ctx, conn, db.Locals{}, func(ctx context.Context, q db.Querier) error {
		var p db.Pipeline
		p.Exec(`insert into `+r.Shapes()+`
				(plan_checksum, server_major, owner, environment, version, script, fingerprint, reason, fixed)
			values ($1, $2, $3, $4, $5, $6, nullif($7, ''), nullif($8, ''), nullif($9, ''))
			on conflict (plan_checksum, server_major, owner, environment) do update
			set script = excluded.script, fingerprint = excluded.fingerprint, reason = excluded.reason,
				fixed = excluded.fixed, made_at = pg_catalog.now()`,
			k.Plan, k.Major, k.Owner, k.Environment, version, s.Script, s.Fingerprint, s.Reason, s.Fixed)
		p.Exec(`delete from `+r.Shapes()+` where (plan_checksum, server_major, owner, environment) in (
				select plan_checksum, server_major, owner, environment from `+r.Shapes()+`
				where server_major = $1 and owner = $2
				order by made_at desc, plan_checksum offset 50)`, k.Major, k.Owner)
		return p.Run(ctx, q)
	})
	if err != nil {
		return fmt.Errorf("keep the final shape of the migrations: %w", err)
	}
	return nil
}
