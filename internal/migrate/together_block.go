package migrate

import (
	"strconv"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// All that a group does in its tenants' schemas is one DO block where that is possible. It
// costs the server a third less than the same statements one by one, half of which say
// where the next tenant is. What an error in it says of a statement is lost, but nobody
// reads it: the group falls apart.

// groupTextMost is how long the text for one tenant may be, in bytes. It is sent for each.
const groupTextMost = 1 << 16

const (
	// groupBegin is the first statement that it runs. The server plans each index for
	// several processes otherwise, and finds the table too small.
	groupBegin = "set local max_parallel_maintenance_workers = 0"
	// groupEnd is the last: the transaction stands in no tenant's schema then.
	groupEnd = "set local search_path = " + db.OwnPath
)

// queueBlock adds the block that takes each of the tenants along its change, where it can be
// one. The transaction stands in no tenant's schema after it.
func (p *Plan) queueBlock(run *db.Pipeline, tenants []registry.Tenant, changes []Change, o ApplyOptions) bool {
	var script strings.Builder
	script.WriteString(groupBegin + ";\n")
	wanted := map[versions][]db.Schema{}
	for i, t := range tenants {
		before := script.Len()
		p.addGroupText(&script, t, changes[i], o)
		if script.Len()-before > groupTextMost {
			return false
		}
		if o.Owners.Of(t.Schema).Versions == "" {
			v := p.versionsAfter(t, changes[i])
			wanted[v] = append(wanted[v], t.Schema)
		}
	}
	script.WriteString(groupEnd)
	for v, schemas := range wanted {
		script.WriteString(";\n" + tenantVersions.all(schemas, v))
	}
	run.Nested(unexpected(db.CodeDivisionByZero), script.String())
	run.Exec("set local row_security = off")
	return true
}

// versions are those of a tenant whose change has been made: how many it had, the newest of
// them, and how many were added. All that were added are newer.
type versions struct {
	Known  int
	Newest int64
	Added  int
}

// versionsAfter returns what a tenant has after a change, if the registry is right about it.
func (p *Plan) versionsAfter(t registry.Tenant, c Change) versions {
	return versions{len(p.Migrations) - len(p.After(t.Version)), t.Version, len(c.Applied)}
}

// all returns the statement that fails with division_by_zero unless all the schemas have the
// versions. One statement for many costs half of what one for each does. It is asked after the
// change, and so counts the earlier versions apart: a tenant that lacks one of them and had a
// later one has as many in all.
func (v versionTable) all(schemas []db.Schema, want versions) string {
	var rows strings.Builder
	for i, s := range schemas {
		if i > 0 {
			rows.WriteString(" union all ")
		}
		rows.WriteString("select " + strconv.Itoa(i) + " as tenant, version_id from " + v.in(s) +
			" where is_applied and version_id > 0")
	}
	earlier := " filter (where version_id <= " + strconv.FormatInt(want.Newest, 10) + ")"
	return "select 1 / (count(*) = " + strconv.Itoa(len(schemas)) + ")::int4 from (select from (" + rows.String() +
		") v group by tenant having count(*) = " + strconv.Itoa(want.Known+want.Added) + " and count(*)" + earlier +
		" = " + strconv.Itoa(want.Known) + " and coalesce(max(version_id)" + earlier + ", 0) = " +
		strconv.FormatInt(want.Newest, 10) + ") t"
}

// addGroupText adds what the block does for a tenant. It fails with division_by_zero where
// the transaction does not stand in its schema after the migrations, and where the tenant,
// if its versions are another role's to read, was not at the version that the registry has:
// nothing is left of these then.
func (p *Plan) addGroupText(script *strings.Builder, t registry.Tenant, c Change, o ApplyOptions) {
	as := o.Owners.Of(t.Schema)
	add := func(parts ...string) {
		for _, part := range parts {
			script.WriteString(part)
		}
		script.WriteString("\n;\n") // a statement may end with a comment
	}
	add("set local search_path = ", p.path.Behind(t.Schema))
	if t.Tablespace != "" {
		add("set local default_tablespace = ", db.Literal(t.Tablespace))
	}
	if as.Work != "" {
		add("set local role ", db.Quoted(as.Work))
	}
	for _, s := range c.Applied {
		for _, statement := range s.Script() {
			add(statement.SQL)
		}
	}
	switch as.Versions {
	case as.Work:
	case "":
		add("reset role")
	default:
		add("set local role ", db.Quoted(as.Versions))
	}
	for i, s := range c.Applied {
		version, home := strconv.FormatInt(s.Version, 10), db.Literal(t.Schema.String())
		switch {
		case i > 0:
		case as.Versions != "":
			add(tenantVersions.guarded(t.Schema, version, home,
				strconv.Itoa(len(p.Migrations)-len(p.After(t.Version))), strconv.FormatInt(t.Version, 10)))
			continue
		default:
			version += " operator(pg_catalog./) (pg_catalog.current_schema() operator(pg_catalog.=) " + home +
				"::pg_catalog.text)::pg_catalog.int4"
		}
		add("insert into ", tenantVersions.in(t.Schema), " (version_id, is_applied) values (", version, ", true)")
	}
	if as.Versions != "" {
		add("reset role")
	}
	if t.Tablespace != "" {
		add(usualTablespace)
	}
}
