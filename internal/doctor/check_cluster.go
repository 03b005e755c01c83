package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/db"
)

func checkNodes(ctx context.Context, x *examination) ([]Finding, error) {
	lost, err := cluster.Unreached(ctx, x.conn)
	from := map[string][]string{}
	for _, l := range lost {
		from[l.Node] = append(from[l.Node], l.From)
	}
	var out []Finding
	for node, others := range from {
		out = append(out, Finding{Severity: Error, Subject: node, What: "not reached from " + some(others),
			Command: "start it, then: crmctl cluster nodes"})
	}
	return out, err
}

func checkLocalTenants(ctx context.Context, x *examination) ([]Finding, error) {
	places, err := cluster.FindPlaces(ctx, x.conn)
	if err != nil {
		return nil, err
	}
	there, err := db.Select(ctx, x.conn, pgx.RowTo[string], `select s.slug from `+x.fleet.tenantSchemas()+` s
		where s.status not in ('deleted', 'gone', 'leaving', 'incoming', 'moved') order by 1`)
	var out []Finding
	for _, slug := range there {
		if places.Of(x.tenantNamed(slug).Schema.String()).Kind == cluster.Local {
			out = append(out, Finding{Severity: Warning, Subject: slug, Tenant: slug, What: "stands on the coordinator",
				Command: "crmctl tenant distribute " + slug})
		}
	}
	return out, err
}

// slugs returns the slugs of the tenants by their schemas' names.
func (x *examination) slugs() map[string]string {
	out := make(map[string]string, len(x.fleet.Tenants))
	for _, t := range x.fleet.Tenants {
		if !t.Schema.IsZero() {
			out[t.Schema.String()] = t.Slug
		}
	}
	return out
}

func checkLocalTables(ctx context.Context, x *examination) ([]Finding, error) {
	found, err := cluster.LocalTables(ctx, x.conn)
	slugs := x.slugs()
	var out []Finding
	for _, l := range found {
		slug, tenant := slugs[l.Schema]
		if !tenant {
			continue
		}
		command := "make it anew, by a statement of its own"
		if l.Beside != "" {
			command = fmt.Sprintf("select create_distributed_table(%s, null, colocate_with => %s)",
				db.Literal(db.Quoted(l.Schema, l.Table)), db.Literal(l.Beside))
		}
		out = append(out, Finding{Severity: Error, Subject: slug, Tenant: slug,
			What: "table " + l.Table + " stands on the coordinator, the others on a node", Command: command})
	}
	return out, err
}

func checkLeftovers(ctx context.Context, x *examination) ([]Finding, error) {
	left, err := cluster.Leftovers(ctx, x.conn)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, l := range left {
		f := Finding{Severity: Warning, Subject: l.Object, What: "left by a move that was cut short",
			Command: "call citus_cleanup_orphaned_resources()"}
		if l.Node != "" {
			f.What += ", on " + l.Node
		}
		out = append(out, f)
	}
	copies, err := cluster.Copies(ctx, x.conn)
	slugs := x.slugs()
	for schema, tables := range copies {
		if slug, tenant := slugs[schema]; tenant {
			out = append(out, Finding{Severity: Warning, Subject: slug, Tenant: slug,
				What:    "what it took before it went to its node is still on the coordinator: " + some(tables),
				Command: "crmctl tenant distribute " + slug})
		}
	}
	return out, err
}

func checkNodeLogin(ctx context.Context, x *examination) ([]Finding, error) {
	type row struct {
		Role    string
		Tenants int
	}
	rows, err := db.Select(ctx, x.conn, pgx.RowToStructByName[row], `
		select r.rolname::text as role, count(distinct s.oid)::int4 as tenants
		from `+x.fleet.tenantSchemas()+` s
		join pg_roles r on (r.oid = s.nspowner or r.rolname = s.role_name::name) and not r.rolcanlogin
		where s.status not in ('deleted', 'gone', 'leaving', 'incoming', 'moved')
		group by 1 order by 1`)
	var out []Finding
	for _, r := range rows {
		out = append(out, Finding{Severity: Error, Subject: r.Role,
			What:    fmt.Sprintf("role of %s, and may not log in", plural(r.Tenants, "tenant")),
			Command: "alter role " + db.Quoted(r.Role) + " login"})
	}
	return out, err
}

func checkSpread(ctx context.Context, x *examination) ([]Finding, error) {
	spreads, err := cluster.Spreads(ctx, x.conn)
	if err != nil || spreads {
		return nil, err
	}
	return []Finding{{Severity: Info, Subject: server, What: "citus.enable_schema_based_sharding is off",
		Command: "alter database " + db.Quoted(x.conn.Config().Database) +
			" set citus.enable_schema_based_sharding = on"}}, nil
}

// preparedOnWorkers is what checkPrepared finds on other nodes.
func (x *examination) preparedOnWorkers(ctx context.Context) ([]Finding, error) {
	found, lost, err := cluster.PreparedOnWorkers(ctx, x.conn)
	for _, node := range lost {
		x.notChecked("node %s did not answer", node)
	}
	var out []Finding
	for _, p := range found {
		age := x.o.now().Sub(p.Prepared)
		if age <= preparedPatience {
			continue
		}
		f := Finding{Severity: Warning, Subject: p.GID, What: fmt.Sprintf(
			"prepared on %s by %s %s ago, and neither committed nor rolled back", p.Node, p.Owner, age.Truncate(time.Minute)),
			Command: "ask its owner, then on that node: rollback prepared " + db.Literal(p.GID)}
		if p.Own {
			f.Command = "select recover_prepared_transactions()"
		}
		out = append(out, f)
	}
	return out, err
}
