package db

import (
	"context"
	"crypto/sha256"
	"encoding/binary"

	"github.com/jackc/pgx/v5"
)

// Key returns the number of the advisory lock for something that is no tenant: the
// first 8 bytes of SHA-256 of "crmctl:" and its name, big-endian. Advisory locks are
// per database, so the database is not part of it.
func Key(what string) int64 {
	sum := sha256.Sum256([]byte("crmctl:" + what))
	return int64(binary.BigEndian.Uint64(sum[:8]))
}

// HoldKey takes an advisory lock for the length of a transaction that does nothing
// else, however long that is, so that no two runs of ours do the same work. The error
// is a *BusyError where somebody else has it.
//
// Anybody who can log in may take any advisory lock. So one that is held by a login
// is not known counts as free, and nothing that must not be done twice may rest on this
// lock alone. known is the condition for a session a of pg_stat_activity.
func HoldKey(ctx context.Context, q Querier, key int64, known string) error {
	const tries = 3 // its holder may be gone by the time somebody looks
	for range tries {
		var (
			got bool
			p   Pipeline
		)
		p.QueryRow([]any{&got}, `select pg_catalog.pg_try_advisory_xact_lock($1)`, key)
		p.Rest()
		if err := p.Run(ctx, q); err != nil || got {
			return err
		}
		type holder struct {
			Blocker

			known bool
		}
		found, err := Select(ctx, q, func(r pgx.CollectableRow) (h holder, err error) {
			h.Blocker, err = scanBlocker(r, &h.known)
			return h, err
		}, `select `+known+`, `+blockerColumns+` from pg_locks l
			join pg_stat_activity a on a.pid = l.pid
			left join pg_prepared_xacts g on false
			where l.locktype = 'advisory' and l.granted and l.objsubid = 1
				and l.database = (select d.oid from pg_database d where d.datname = current_database())
				and (l.classid::bigint << 32) | l.objid::bigint = $1`, key)
		switch {
		case err != nil:
			return err
		case len(found) > 0 && found[0].known:
			return &BusyError{Blockers: []Blocker{found[0].Blocker}}
		case len(found) > 0:
			return nil
		}
	}
	return &BusyError{}
}
