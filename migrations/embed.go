// Package migrations holds the SQL files that crmctl ships: the registry's in
// the root, a tenant's in tenant/. They are goose files.
package migrations

import (
	"embed"
	"io/fs"
)

//go:embed *.sql tenant/*.sql
var files embed.FS

// Public returns the migrations of the registry in the schema public.
func Public() fs.FS { return files }

// Tenant returns the migrations of a tenant's schema.
func Tenant() fs.FS {
	sub, err := fs.Sub(files, "tenant")
	if err != nil {
		panic(err) // the embedded directory is there or the build failed
	}
	return sub
}
