//go:build unix

package app

import (
	"fmt"
	"io/fs"
)

// privateFile refuses a file that everybody can read.
func privateFile(path string, info fs.FileInfo) error {
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return fmt.Errorf("%s is open to everybody (mode %#o); nobody but its owner may read the key", path, mode)
	}
	return nil
}
