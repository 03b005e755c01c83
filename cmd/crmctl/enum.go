package main

import (
	"slices"
	"strings"
)

// enumValue is a flag with a few allowed values.
type enumValue struct {
	target  *string
	allowed []string
}

func newEnum(target *string, value string, allowed []string) *enumValue {
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
	return wantError("want " + strings.Join(e.allowed[:len(e.allowed)-1], ", ") + " or " + e.allowed[len(e.allowed)-1])
}

// wantError says what a value should have been.
type wantError string

func (e wantError) Error() string { return string(e) }
