package registry

import (
	"errors"
	"fmt"

	"github.com/crmctl/crmctl/internal/db"
)

// Errors about the registry.
var (
	// ErrNotFound is wrapped by *NotFoundError.
	ErrNotFound = errors.New("no such tenant")
	// ErrNoRegistry says that the database has no table of tenants.
	ErrNoRegistry = errors.New("this database has no registry yet")
	// ErrOldRegistry says that the registry lacks tables or columns this program needs.
	ErrOldRegistry = errors.New("the registry is older than this crmctl")
	// ErrExists says that the slug or the schema is taken.
	ErrExists = errors.New("it exists already")
	// ErrState is wrapped by *StateError.
	ErrState = errors.New("not possible in the tenant's state")
	// ErrInvalidRow is wrapped by *InvalidRowError.
	ErrInvalidRow = errors.New("the tenant's row in the registry is not valid")
)

// NotFoundError names the tenant that is not there, and one whose name is close.
type NotFoundError struct {
	Slug    string
	Similar string // "" when none is close
}

// Error returns `no tenant "acme"`, with a suggestion where there is one.
func (e *NotFoundError) Error() string {
	if e.Similar != "" {
		return fmt.Sprintf("no tenant %q; did you mean %q?", e.Slug, e.Similar)
	}
	return fmt.Sprintf("no tenant %q", e.Slug)
}

// Is makes errors.Is(err, ErrNotFound) true.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// RenamedError says that a tenant has another name, or stands in another schema, than when
// its row was read.
type RenamedError struct {
	Slug   string // what it was called
	Now    string
	Schema db.Schema // where it stood
	In     string
}

// Error returns `tenant "acme" is "globex" by now`.
func (e *RenamedError) Error() string {
	if e.Slug != e.Now {
		return fmt.Sprintf("tenant %q is %q by now", e.Slug, e.Now)
	}
	return fmt.Sprintf("tenant %q stands in schema %s by now, and not in %s", e.Slug, e.In, e.Schema)
}

// Is makes errors.Is(err, ErrNotFound) true: what was asked for is not there any more.
func (e *RenamedError) Is(target error) bool { return target == ErrNotFound }

// Named makes the error one of Naming.
func (e *RenamedError) Named() string { return e.Slug }

// Err returns an *InvalidRowError.
func (r InvalidRow) Err() error { return &InvalidRowError{r} }

// InvalidRowError says that a tenant's row is an InvalidRow.
type InvalidRowError struct{ Row InvalidRow }

// Error returns `tenant "b": its row in the registry is not valid: ...`.
func (e *InvalidRowError) Error() string {
	return fmt.Sprintf("tenant %q: its row in the registry is not valid: %s", e.Row.Slug, e.Row.Why)
}

// Is makes errors.Is(err, ErrInvalidRow) true.
func (e *InvalidRowError) Is(target error) bool { return target == ErrInvalidRow }

// StateError says that a tenant's state does not allow a move.
type StateError struct {
	Slug  string
	State Status // what it is
	// Already tells that the tenant is there where the move would have put it.
	Already bool
	// Wanted is the only state that would do; "" where the way there is plain.
	Wanted Status
}

// Error returns `tenant "acme" is suspended: activate it first`.
func (e *StateError) Error() string {
	text := fmt.Sprintf("tenant %q is %s", e.Slug, e.State)
	switch {
	case e.Already:
		return text + " already"
	case e.Wanted != "":
		return text + ", not " + string(e.Wanted)
	}
	switch e.State {
	case Suspended:
		text += ": activate it first"
	case Gone:
		text += ": the application does not name it any more"
	case Leaving:
		text += ": a transfer to another database has begun, which goes on or is given up"
	case Incoming:
		text += ": its transfer from another database has not ended"
	case Moved:
		text += ": it lives in another database now"
	case Deleted:
		text += ": undelete it first"
	case Purging:
		text = fmt.Sprintf("tenant %q is being purged: there is no way back", e.Slug)
	}
	return text
}

// Is makes errors.Is(err, ErrState) true.
func (e *StateError) Is(target error) bool { return target == ErrState }

// ExistsError says what stands in the way of a new tenant.
type ExistsError struct {
	Slug   string
	Schema db.Schema
	// Registered tells that a tenant is in the way, and Status its state where that is
	// known; otherwise it is a schema that the registry does not know.
	Registered bool
	Status     Status
}

// Error names the tenant and what to do where that is not plain.
func (e *ExistsError) Error() string {
	switch {
	case !e.Registered:
		return fmt.Sprintf("schema %s exists, but the registry does not know it: rename or drop it first", e.Schema)
	case e.Status == Deleted:
		return fmt.Sprintf("tenant %q exists and is deleted: undelete it, or purge it first", e.Slug)
	case e.Status == Purging:
		return fmt.Sprintf("tenant %q exists and is being purged: let the purge end first", e.Slug)
	case e.Status == Moved:
		return fmt.Sprintf("tenant %q exists: it has moved to another database, and what is left of it stands here", e.Slug)
	}
	return fmt.Sprintf("tenant %q exists already", e.Slug)
}

// Is makes errors.Is(err, ErrExists) true.
func (e *ExistsError) Is(target error) bool { return target == ErrExists }

// Naming is an error whose text names the tenant that it is about, so that nobody who
// tells of it need name the tenant again.
type Naming interface {
	error
	// Named returns the tenant's slug, "" where the text does not name it after all.
	Named() string
}

// Named makes the error one of Naming.
func (e *NotFoundError) Named() string { return e.Slug }

// Named makes the error one of Naming.
func (e *InvalidRowError) Named() string { return e.Row.Slug }

// Named makes the error one of Naming.
func (e *StateError) Named() string { return e.Slug }

// Named makes the error one of Naming.
func (e *ExistsError) Named() string {
	if !e.Registered {
		return "" // it names the schema
	}
	return e.Slug
}
