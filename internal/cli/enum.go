package cli

import (
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

// enumValue is a flag with a few allowed values.
type enumValue struct {
	target  *string
	allowed []string
}

// NewEnum returns the value of a flag that is one of the allowed words.
func NewEnum(target *string, value string, allowed []string) pflag.Value {
	*target = value
	return &enumValue{target, allowed}
}

func (e *enumValue) String() string { return *e.target }
func (e *enumValue) Type() string   { return "string" }

func (e *enumValue) Set(s string) error {
	if slices.Contains(e.allowed, s) {
		*e.target = s
		return nil
	}
	return WantError("want " + strings.Join(e.allowed[:len(e.allowed)-1], ", ") + " or " + e.allowed[len(e.allowed)-1])
}

// WantError says what a value should have been.
type WantError string

func (e WantError) Error() string { return string(e) }
