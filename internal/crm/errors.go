package crm

import (
	"errors"
	"fmt"
	"strings"
)

// ErrNotFound is wrapped by *NotFoundError.
var ErrNotFound = errors.New("there is none")

// NotFoundError says that something is not there.
type NotFoundError struct {
	What string // "contact", "conversation"
	Ref  string // the id or the address that was asked for
}

// Error returns `no contact "ann@example.com"`.
func (e *NotFoundError) Error() string { return fmt.Sprintf("no %s %q", e.What, e.Ref) }

// Is makes errors.Is(err, ErrNotFound) true.
func (e *NotFoundError) Is(target error) bool { return target == ErrNotFound }

// AmbiguousError says that several contacts have an address.
type AmbiguousError struct {
	Ref string   // the address
	IDs []string // of two of them
}

// Error names two of them.
func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("more than one contact has the address %q: name one by its id, such as %s", e.Ref,
		strings.Join(e.IDs, " or "))
}

// TakenError says that another contact has an address already.
type TakenError struct {
	Email string
	ID    string // of that contact, "" where it was made in this moment
	Name  string // its name, "" for none
}

// Error names the contact that has the address.
func (e *TakenError) Error() string {
	text := "another contact has the address " + e.Email
	if e.ID != "" {
		text += ": " + e.ID
	}
	if e.Name != "" {
		text += " (" + e.Name + ")"
	}
	return text
}

// StateError says that a conversation is not in the state that something needs.
type StateError struct {
	ID     string
	Status string // what it is
}

// Error returns `conversation 0198… is closed`.
func (e *StateError) Error() string { return "conversation " + e.ID + " is " + e.Status }

// InvalidError says that a value cannot be stored.
type InvalidError struct {
	Field  string // "email"
	Value  string // "" where it says nothing
	Reason string
}

// Error names the field and says why.
func (e *InvalidError) Error() string {
	if e.Value == "" {
		return e.Field + ": " + e.Reason
	}
	return fmt.Sprintf("%s %q: %s", e.Field, e.Value, e.Reason)
}

// ReferredError says that another table refers to what was to be removed.
type ReferredError struct {
	What, ID string
	Err      error // the server's, which names the table
}

// Error names what is referred to, and by what.
func (e *ReferredError) Error() string {
	return fmt.Sprintf("%s %s stays, since another table refers to it: %v", e.What, e.ID, e.Err)
}

// Unwrap returns the server's error.
func (e *ReferredError) Unwrap() error { return e.Err }
