package registry

import (
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Imported says when a file was imported and by whom.
type Imported struct {
	At    time.Time // zero for never
	Actor string
}

// ImportSum is the name in an import's Detail of the SHA-256 of its file, in hexadecimal.
const ImportSum = "sha256"

// QueueImported adds the reading of when a tenant last got the file with a checksum.
func (r Registry) QueueImported(p *db.Pipeline, tenantID, sum string, out *Imported) {
	p.Query(func(rows pgx.Rows) error {
		found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Imported])
		if len(found) > 0 {
			*out = found[0]
		}
		return err
	}, `select occurred_at, actor from `+r.Events()+`
		where tenant_id operator(pg_catalog.=) $1 and action operator(pg_catalog.=) $2
			and (detail operator(pg_catalog.->>) $3) operator(pg_catalog.=) $4
		order by occurred_at desc limit 1`, tenantID, ActionImport, ImportSum, sum)
}
