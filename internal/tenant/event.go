package tenant

import (
	"encoding/json"
	"fmt"

	"github.com/crmctl/crmctl/internal/db"
)

// Actions of the audit.
const (
	ActionCreate   = "create"
	ActionAdopt    = "adopt"
	ActionDelete   = "delete"
	ActionUndelete = "undelete"
	ActionPurge    = "purge"
	ActionImport   = "import"
	ActionSeed     = "seed"
)

// Event is a row of the audit: who did what to which tenant. The database adds
// when, and the role it was done with.
type Event struct {
	TenantID string
	Slug     string
	Action   string
	Actor    string         // "alice@host"
	Detail   map[string]any // becomes a JSON object
}

// QueueEvent adds the event to a pipeline, within whose transaction it stands or
// falls with what it tells of.
func QueueEvent(p *db.Pipeline, e Event) error {
	detail := []byte("{}")
	if len(e.Detail) > 0 {
		var err error
		if detail, err = json.Marshal(e.Detail); err != nil {
			return fmt.Errorf("audit of %s: %w", e.Slug, err)
		}
	}
	p.Exec(`insert into public.tenant_events (tenant_id, slug, action, actor, detail) values ($1, $2, $3, $4, $5::pg_catalog.jsonb)`,
		e.TenantID, e.Slug, e.Action, e.Actor, string(detail))
	return nil
}
