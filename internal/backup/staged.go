package backup

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/mention"
	"github.com/crmctl/crmctl/internal/staging"
)

// build makes the schema where that takes several transactions, before the one that
// fills it and makes it a tenant's. The registry may have the name for a tenant whose
// schema is gone, or a deleted one has it: then the schema gets its name in the end.
func (t *target) build(ctx context.Context, script []db.Statement, o NewTenant) error {
	schema, slug := t.schema, t.row.Slug
	if t.ghost || t.aside {
		var err error
		if schema, err = db.RegisteredSchema(ownPrefix + "build_" + strings.ToLower(rand.Text())); err != nil {
			return err
		}
	}
	if t.trial {
		slug = ""
	}
	site, err := staging.Open(ctx, t.conn, staging.Options{
		Registry: o.Registry,
		Schema:   schema, Slug: slug, LockTimeout: o.LockTimeout, StatementTimeout: o.StatementTimeout, Direct: o.Direct,
		Tablespace: t.tablespace(),
	})
	if err != nil {
		return t.explain(o.Registry, err)
	}
	t.site = site
	return site.Run(ctx, script)
}

// judgeBuilt refuses a schema that was renamed and holds the name it had before.
func (t *target) judgeBuilt(ctx context.Context, o NewTenant) error {
	if t.site == nil || t.site.Schema == t.schema {
		return nil
	}
	var own, tenants db.Pipeline
	own.OwnPath()
	if err := own.Run(ctx, t.conn); err != nil {
		return db.Plain(err)
	}
	found, err := mention.Find(ctx, t.conn, t.site.Schema.String(), t.schema)
	if err != nil {
		return err
	}
	if len(found) > 0 {
		return fmt.Errorf("%s names its schema in %s, and the migrations need more than one transaction: "+
			"the tenant can be restored under another name", found[0].Object, found[0].Where)
	}
	tenants.StandIn(t.schema, o.path())
	return db.Plain(tenants.Run(ctx, t.conn))
}

// clear takes away what was built.
func (t *target) clear(ctx context.Context, err error) error {
	if t.site == nil {
		return err
	}
	return errors.Join(err, t.site.Clear(ctx))
}
