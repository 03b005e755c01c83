package backup

import (
	"context"
	"fmt"

	"github.com/crmctl/crmctl/internal/db"
)

// SetAside gives the deleted tenant of a slug another name, so that one of that name
// can be made, in the caller's transaction: its schema too, where the new one is to be
// called so. It returns the name.
type SetAside func(ctx context.Context, q db.Querier, slug string, schema db.Schema) (string, error)

// lookAside finds out whether a deleted tenant has the name of the one to be made, and
// has its id or, where it has not, leaves that free.
func (t *target) lookAside(ctx context.Context, o NewTenant) error {
	if o.SetAside == nil || t.ghost {
		return nil
	}
	id, err := o.Registry.DeletedID(ctx, t.conn, t.row.Slug)
	if err != nil || id == "" {
		return err
	}
	t.aside = true
	if id == t.row.ID {
		return t.newID()
	}
	return nil
}

// setAside begins the transaction of p, and makes room in it. The statements that
// follow find the path as the transaction had it.
func (t *target) setAside(ctx context.Context, p *db.Pipeline, o NewTenant) error {
	if !t.aside {
		return nil
	}
	var path string
	p.QueryRow([]any{&path}, "select pg_catalog.current_setting('search_path')")
	p.OwnPath()
	if err := p.Run(ctx, t.conn); err != nil {
		return db.Plain(err)
	}
	var err error
	if t.kept, err = o.SetAside(ctx, t.conn, t.row.Slug, t.schema); err != nil {
		return fmt.Errorf("set the deleted tenant %q aside: %w", t.row.Slug, err)
	}
	*p = db.Pipeline{}
	p.Exec("select pg_catalog.set_config('search_path', $1, true)", path)
	return nil
}
