//go:build !unix

package config

import "io/fs"

// checkOwner has nothing to ask where files have no mode bits.
func checkOwner(string, fs.FileInfo) error { return nil }

func othersMayRead(fs.FileInfo) bool { return false }

func checkProjectFile(string) error { return nil }
