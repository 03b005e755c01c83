package registry

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/db"
)

// Actions of the audit.
const (
	ActionCreate   = "create"
	ActionAdopt    = "adopt"
	ActionSuspend  = "suspend"
	ActionActivate = "activate"
	ActionRename   = "rename"
	ActionSet      = "set"
	ActionDelete   = "delete"
	ActionUndelete = "undelete"
	// ActionPurging says that a large tenant's tables begin to go, ActionPurge
	// that everything of it is gone. The latter is all that stays of a tenant.
	ActionPurging = "purging"
	ActionPurge   = "purge"
	ActionImport  = "import"
	// ActionImportUndo says that an import was taken back, or some of it.
	ActionImportUndo = "import_undo"
	ActionSeed       = "seed"
	// ActionEdit is one contact, conversation or message that was made, changed or removed.
	ActionEdit = "edit"
	// ActionDedupe says that contacts which are there twice were merged, ActionDedupeUndo that
	// this was taken back, or some of it.
	ActionDedupe     = "dedupe"
	ActionDedupeUndo = "dedupe_undo"
	// ActionErase says that the data of a person was erased; it names a keyed hash alone.
	ActionErase  = "erase"
	ActionBackup = "backup"
	// ActionRestore and ActionClone are how a tenant begins that is made out of the
	// data of another, in the place of ActionCreate.
	ActionRestore = "restore"
	ActionClone   = "clone"
	// ActionPool and ActionUnpool tell of a schema of the pool, which is made or
	// dropped while no tenant has it.
	ActionPool   = "pool"
	ActionUnpool = "unpool"
	ActionExec   = "exec"   // SQL that may have changed something
	ActionRepair = "repair" // what doctor has mended
	// ActionSync is a row that was made to follow what the application says of a tenant.
	ActionSync = "sync"
	// ActionAccept and ActionUnaccept tell of differences from the migrations that are
	// wanted from then on, or not any more.
	ActionAccept   = "accept"
	ActionUnaccept = "unaccept"
	// ActionDisconnect says that sessions were ended: those of a tenant, or under the
	// name "-" those that are no single tenant's.
	ActionDisconnect = "disconnect"
	// ActionNode says that a tenant of a cluster stands on another node.
	ActionNode = "node"
	// ActionRelocate says that a tenant's tables go to another tablespace.
	ActionRelocate = "relocate"
	// ActionTransfer tells of a move to another registry: its detail says how far it is.
	ActionTransfer = "transfer"
)

// Actions returns every action of the audit.
func Actions() []string {
	return []string{
		ActionCreate, ActionAdopt, ActionSuspend, ActionActivate, ActionRename, ActionSet,
		ActionDelete, ActionUndelete, ActionPurging, ActionPurge, ActionImport, ActionImportUndo, ActionSeed, ActionEdit,
		ActionDedupe, ActionDedupeUndo, ActionErase,
		ActionBackup, ActionRestore, ActionClone, ActionPool, ActionUnpool, ActionExec, ActionRepair,
		ActionSync,
		ActionAccept, ActionUnaccept, ActionDisconnect, ActionNode, ActionRelocate,
		ActionTransfer,
	}
}

// Event is a row of the audit: who did what to which tenant. The database adds
// when, as which role, and from which address.
type Event struct {
	TenantID string
	Slug     string
	Action   string
	Actor    string // "alice@host"
	Program  string // "crmctl 1.2.3"; "" when not known
	RunID    int64  // of the ledger; 0 for none
	// Before and After hold the fields of the registry that changed.
	Before, After map[string]any
	Detail        map[string]any // becomes a JSON object
	// Role is the role as which the tenant's schema was worked on, "" for the session's; the
	// detail has it as "role".
	Role string
}

// QueueEvent adds the event to a pipeline, within whose transaction it stands or
// falls with what it tells of.
func (r Registry) QueueEvent(p *db.Pipeline, e Event) error {
	if e.Role != "" {
		e.Detail = maps.Clone(e.Detail)
		if e.Detail == nil {
			e.Detail = map[string]any{}
		}
		e.Detail["role"] = e.Role
	}
	detail, err := jsonObject(e.Detail)
	if err != nil {
		return fmt.Errorf("audit of %s: %w", e.Slug, err)
	}
	var before, after any
	if len(e.Before)+len(e.After) > 0 {
		if before, err = jsonObject(e.Before); err == nil {
			after, err = jsonObject(e.After)
		}
		if err != nil {
			return fmt.Errorf("audit of %s: %w", e.Slug, err)
		}
	}
	user, host := e.Actor, ""
	if at := strings.LastIndexByte(e.Actor, '@'); at >= 0 {
		user, host = e.Actor[:at], e.Actor[at+1:]
	}
	p.Exec(`insert into `+r.Events()+`
		(tenant_id, slug, action, actor, os_user, host, program, run_id, before, after, detail)
		values ($1, $2, $3, $4, $5, $6, $7, $8, $9::pg_catalog.jsonb, $10::pg_catalog.jsonb, $11::pg_catalog.jsonb)`,
		e.TenantID, e.Slug, e.Action, e.Actor, orNull(user), orNull(host), orNull(e.Program), orNull(e.RunID), before,
		after, detail)
	return nil
}

func jsonObject(m map[string]any) (string, error) {
	if len(m) == 0 {
		return "{}", nil
	}
	text, err := json.Marshal(m)
	return string(text), err
}

// Changes returns the fields in which two rows of a tenant differ.
func Changes(before, after Tenant) (from, to map[string]any) {
	from, to = map[string]any{}, map[string]any{}
	b, a := Fields(before), Fields(after)
	for name, value := range b {
		if a[name] != value {
			from[name], to[name] = asJSON(name, value), asJSON(name, a[name])
		}
	}
	return from, to
}

// InitialFields returns what the audit keeps of a new tenant.
func InitialFields(t Tenant) map[string]any {
	fields := map[string]any{
		"slug": t.Slug, "display_name": t.DisplayName, "schema": t.Schema.String(), "status": string(t.Status),
	}
	if t.Role != "" {
		fields["role"] = t.Role
	}
	if len(t.Settings) > 0 && string(t.Settings) != "{}" {
		fields["settings"] = asJSON("settings", canonical(t.Settings))
	}
	return fields
}

// asJSON returns a field as it goes into the audit: settings as an object.
func asJSON(name string, value any) any {
	if text, ok := value.(string); ok && name == "settings" && json.Valid([]byte(text)) {
		return json.RawMessage(text)
	}
	return value
}

// Fields returns what of a tenant a move may change, as comparable values.
func Fields(t Tenant) map[string]any {
	return map[string]any{
		"slug": t.Slug, "display_name": t.DisplayName, "schema": t.Schema.String(),
		"role":   orNull(cmp.Or(t.Role, t.ForeignRole)),
		"status": string(t.Status), "deleted_at": instant(t.DeletedAt), "purge_after": instant(t.PurgeAfter),
		"purge_started_at": instant(t.PurgeStartedAt), "settings": canonical(t.Settings),
	}
}

// canonical returns JSON without white space and with sorted names, as it was where
// it cannot be read.
func canonical(text json.RawMessage) string {
	var value any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	if d.Decode(&value) != nil || d.More() {
		return string(text)
	}
	out, err := json.Marshal(value)
	if err != nil {
		return string(text)
	}
	return string(out)
}

func orNull[T comparable](s T) any {
	var zero T
	if s == zero {
		return nil
	}
	return s
}

func instant(t *time.Time) any {
	if t == nil {
		return nil
	}
	return t.UTC().Format(time.RFC3339Nano)
}
