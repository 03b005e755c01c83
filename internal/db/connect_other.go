//go:build !linux

package db

import "syscall"

// limitUnacknowledged does nothing here: only Linux has TCP_USER_TIMEOUT. The
// keep-alive probes still bound the wait for an answer.
func limitUnacknowledged(string, string, syscall.RawConn) error { return nil }
