package registry

import (
	"encoding/json"
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
	Gone    Status = "gone"
	Deleted Status = "deleted" // closed, kept until purge_after
	// Purging is Deleted with a purge that has begun: there is no way back. The
	// registry keeps it as deleted with purge_started_at; only State returns it.
	Purging Status = "purging"
)

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
	Settings   json.RawMessage
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

// State returns the status as people see it: Purging where a purge has begun.
func (t Tenant) State() Status {
	if t.PurgeStartedAt != nil {
		return Purging
	}
	return t.Status
}
