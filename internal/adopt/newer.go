package adopt

import "fmt"

// NewerError says that a schema is beyond the newest file.
type NewerError struct{ Version, Newest int64 }

// Error names both versions.
func (e *NewerError) Error() string {
	return fmt.Sprintf("%v: the schema is at version %d, the newest file is %d", ErrHistory, e.Version, e.Newest)
}

// Unwrap returns ErrHistory.
func (e *NewerError) Unwrap() error { return ErrHistory }
