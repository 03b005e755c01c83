package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/migrations"
)

// writePeerFiles writes the tenants' migrations, and one more, in the format of
// each peer: dir/PEER/base and dir/PEER/more. The statements are the same.
func writePeerFiles(ctx context.Context, dir string) error {
	more := filepath.Join(dir, "goose", "more")
	if err := copyGoose(more, addedMigration); err != nil {
		return err
	}
	if err := copyGoose(filepath.Join(dir, "goose", "base"), ""); err != nil {
		return err
	}
	plan, err := migrate.Compile(ctx, os.DirFS(more))
	if err != nil {
		return err
	}
	last := len(plan.Migrations) - 1
	for i, m := range plan.Migrations {
		up, down := script(m.Up), script(m.Down)
		javascript, err := knexMigration(up, down)
		if err != nil {
			return err
		}
		for name, text := range map[string]string{
			"migrate/%s/" + m.Name() + ".up.sql":   up,
			"migrate/%s/" + m.Name() + ".down.sql": down,
			"tern/%s/" + m.Name() + ".sql":         up + "---- create above / drop below ----\n" + down,
			"knex/%s/" + m.Name() + ".js":          javascript,
		} {
			for _, set := range []string{"base", "more"} {
				if set == "base" && i == last {
					continue
				}
				if err := writeFile(filepath.Join(dir, fmt.Sprintf(name, set)), []byte(text)); err != nil {
					return err
				}
			}
		}
	}
	return nil
}

// copyGoose writes the built-in files, and one more unless it is empty.
func copyGoose(dir, added string) error {
	source := migrations.Tenant()
	files, err := fs.Glob(source, "*.sql")
	if err != nil {
		return err
	}
	for _, name := range files {
		text, err := fs.ReadFile(source, name)
		if err != nil {
			return err
		}
		if err := writeFile(filepath.Join(dir, name), text); err != nil {
			return err
		}
	}
	if added == "" {
		return nil
	}
	return writeFile(filepath.Join(dir, "00005_bench.sql"), []byte(added))
}

func script(statements []db.Statement) string {
	var text strings.Builder
	for _, s := range statements {
		text.WriteString(strings.TrimRight(s.SQL, "; \n") + ";\n")
	}
	return text.String()
}

func knexMigration(up, down string) (string, error) {
	var lines []string
	for _, direction := range []struct{ name, sql string }{{"up", up}, {"down", down}} {
		quoted, err := json.Marshal(direction.sql)
		if err != nil {
			return "", err
		}
		lines = append(lines, "exports."+direction.name+" = (knex) => knex.raw("+string(quoted)+")\n")
	}
	return strings.Join(lines, ""), nil
}

func writeFile(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}
