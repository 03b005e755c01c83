//go:build !linux

package pgtest

func temporaryRoot() string { return "" }
