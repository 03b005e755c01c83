package registry

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/crmctl/crmctl/internal/db"
)

// Status is the state of a tenant in the registry.
type Status string

// A purged tenant has no row any more.
const (
	Active    Status = "active"
	Suspended Status = "suspended"
	// Gone is a tenant that the application does not name any more. It is left alone.
	Gone Status = "gone"
	// Leaving is a tenant that is being copied to another registry, and nobody's but ours
	// until it is Moved. Incoming is the copy there, and nobody's before that.
	Leaving  Status = "leaving"
	Incoming Status = "incoming"
	// Moved is a tenant that lives elsewhere; its data here is that of the moment when it
	// went.
	Moved   Status = "moved"
	Deleted Status = "deleted" // closed, kept until purge_after
	// Purging is Deleted with a purge that has begun: there is no way back. The
	// registry keeps it as deleted with purge_started_at; only State returns it.
	Purging Status = "purging"
)

// Statuses returns every status that a row of the registry has.
func Statuses() []Status { return []Status{Active, Suspended, Gone, Leaving, Incoming, Moved, Deleted} }

// Tenant is a row of the registry.
type Tenant struct {
	ID          string // uuid
	Slug        string
	DisplayName string
	Schema      db.Schema
	Status      Status
	Role        string // "" when it has none of its own
	// ForeignRole is a role that the registry names and that was not made for the
	// tenant: nothing is done with it. Role is "" then.
	ForeignRole string
	Version     int64 // cached schema version
	// Settings is an object. It is nil out of a list whose Filter asks for none.
	Settings json.RawMessage
	// Tablespace is the setting of that name: where the tenant's tables and indexes are made,
	// "" for wherever the database makes them. It is there in every list.
	Tablespace string
	CreatedAt  time.Time
	UpdatedAt  time.Time
	DeletedAt  *time.Time
	PurgeAfter *time.Time
	// DeletedFrom is the status that Undelete brings back, or the application that names
	// the tenant again; "" unless deleted or gone.
	DeletedFrom Status
	// PurgeStartedAt is when a purge began to drop its tables, if one has.
	PurgeStartedAt *time.Time

	// RoleUnmarked tells that Role has no mark, as those of older releases.
	RoleUnmarked bool
}

// SettingTablespace is the tenant's setting that says in which tablespace its tables are made.
const SettingTablespace = "tablespace"

// TablespaceOf returns what settings say of the tablespace, "" where they do not.
func TablespaceOf(settings json.RawMessage) string {
	var all map[string]json.RawMessage
	var name string
	if json.Unmarshal(settings, &all) != nil || json.Unmarshal(all[SettingTablespace], &name) != nil {
		return ""
	}
	return name
}

// WithTablespace returns settings that say so of the tablespace, "" for nothing.
func WithTablespace(settings json.RawMessage, name string) (json.RawMessage, error) {
	all := map[string]json.RawMessage{}
	if len(settings) > 0 {
		if err := json.Unmarshal(settings, &all); err != nil {
			return nil, fmt.Errorf("settings: %w", err)
		}
	}
	if name == "" {
		delete(all, SettingTablespace)
		return json.Marshal(all)
	}
	text, err := json.Marshal(name)
	if err != nil {
		return nil, err
	}
	all[SettingTablespace] = text
	return json.Marshal(all)
}

// State returns the status as people see it: Purging where a purge has begun.
func (t Tenant) State() Status {
	if t.PurgeStartedAt != nil {
		return Purging
	}
	return t.Status
}

// MayMigrate is a condition for a statement on the registry: a migration may bring the tenant
// with the status to another version. That is neither deleted nor on its way to or from another
// registry, where it would be said of a tenant that is not this one.
func MayMigrate(status string) string {
	return status + ` operator(pg_catalog.<>) all ('{deleted,leaving,incoming,moved}'::pg_catalog.text[])`
}

// Travels reports whether a tenant is on its way to or from another registry, or has gone
// there: its row is changed by transfers alone.
func (s Status) Travels() bool { return s == Leaving || s == Incoming || s == Moved }
