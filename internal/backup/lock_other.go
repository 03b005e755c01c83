//go:build !unix

package backup

import "os"

// tryLock is false here: what a dead writer has left stays.
func tryLock(*os.File) bool { return false }

// isInvalid is true here: a directory cannot be flushed.
func isInvalid(error) bool { return true }

// locked is false here: there is no lock.
func locked(*os.File) bool { return false }
