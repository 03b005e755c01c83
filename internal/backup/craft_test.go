package backup

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/tenant"
)

// craft returns a container with another manifest or other rows, and every checksum
// right: what somebody with this package's own writer would put into a directory.
func craft(t testing.TB, file []byte, change func(m *Manifest, rows map[string]string)) []byte {
	t.Helper()
	r, err := NewReader(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string]string{}
	for {
		table, data, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(data)
		if err != nil {
			t.Fatal(err)
		}
		rows[table.Name] = string(text)
	}
	m, err := r.Finish()
	if err != nil {
		t.Fatal(err)
	}
	change(m, rows)
	texts := make([]string, len(m.Tables))
	for i := range m.Tables {
		texts[i] = rows[m.Tables[i].Name]
		m.Tables[i].Rows, m.Tables[i].Bytes, m.Tables[i].SHA256 = 0, 0, ""
	}
	return container(t, m, texts...)
}

// restores is what a restore needs in these tests, with the program's rules for the
// names and settings of tenants.
func restores(plan *migrate.Plan) NewTenant {
	return NewTenant{
		Limits: Limits{LockTimeout: 5 * time.Second},
		Build: func(versions []int64) ([]db.Statement, error) {
			var only migrate.Plan
			for _, m := range plan.Migrations {
				if slices.Contains(versions, m.Version) {
					only.Migrations = append(only.Migrations, m)
				}
			}
			if len(only.Migrations) != len(versions) {
				return nil, errors.New("a file is missing")
			}
			return only.Build()
		},
		Versions: func(versions []int64) ([]db.Statement, error) {
			var only migrate.Plan
			for _, m := range plan.Migrations {
				if slices.Contains(versions, m.Version) {
					only.Migrations = append(only.Migrations, m)
				}
			}
			return only.Versions(), nil
		},
		Judge: func(t Tenant) error {
			if slug, err := registry.Slug(t.Slug); err != nil || slug != t.Slug {
				return errors.Join(errors.New("no name of a tenant"), err)
			}
			return nil
		},
		Audit: func(p *db.Pipeline, e registry.Event) error {
			return registry.Default().QueueEvent(p, registry.Event{TenantID: e.TenantID, Slug: e.Slug, Action: "restore",
				Actor: "test", After: e.After, Detail: e.Detail})
		},
		Roles: tenant.Roles{},
	}
}

// world is everything in a database that a restore could leave behind.
func world(t *testing.T, f *fleettest.Fleet) string {
	t.Helper()
	var text string
	f.Scan(t, []any{&text}, `select pg_catalog.concat_ws(E'\n',
		(select pg_catalog.string_agg(nspname || ' ' || coalesce(nspacl::text, ''), E'\n' order by nspname)
			from pg_catalog.pg_namespace where nspname !~ '^pg_temp|^pg_toast_temp'),
		(select pg_catalog.string_agg(n.nspname || '.' || c.relname || ' ' || c.relowner || coalesce(c.relacl::text, ''),
			E'\n' order by n.nspname, c.relname)
			from pg_catalog.pg_class c join pg_catalog.pg_namespace n on n.oid = c.relnamespace where n.nspname !~ '^pg_'),
		(select pg_catalog.string_agg(n.nspname || '.' || p.proname, E'\n' order by n.nspname, p.proname)
			from pg_catalog.pg_proc p join pg_catalog.pg_namespace n on n.oid = p.pronamespace where n.nspname !~ '^pg_'),
		(select pg_catalog.string_agg(t::text, E'\n' order by slug) from public.tenants t),
		(select pg_catalog.count(*)::text from public.tenant_events),
		(select pg_catalog.string_agg(rolname, E'\n' order by rolname) from pg_catalog.pg_roles where rolname ~ '^crmctl_'),
		(select pg_catalog.count(*)::text from pg_catalog.pg_largeobject_metadata))`)
	return text
}

// TestCraftedManifests: what a file says of its tenant is judged as a user's words
// are. Each is refused by name and leaves nothing.
func TestCraftedManifests(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{
		"00001_a.sql": "create table items (id int primary key, body text);",
		"00002_b.sql": "create table more (id bigserial);",
	}))
	made := f.Create(t, plan, "acme", "globex")
	f.Exec(t, "insert into tenant_acme.items values (1, 'x')", "create table public.users (id int)",
		"insert into public.users values (1)")
	var file bytes.Buffer
	if _, err := Write(t.Context(), f.Connect(t), Source{ID: made[0].ID, Slug: "acme", Schema: made[0].Schema}, &file,
		WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	f.Exec(t, "drop schema tenant_acme cascade", "delete from public.tenants where slug = 'acme'")
	var me string
	f.Scan(t, []any{&me}, "select current_user::text")
	before := world(t, f)
	for name, c := range map[string]struct {
		want   string
		change func(m *Manifest, rows map[string]string)
	}{
		"schema public": {"does not hold a tenant", func(m *Manifest, _ map[string]string) {
			m.Tenant.Schema = "public"
		}},
		"schema pg_catalog": {"does not hold a tenant", func(m *Manifest, _ map[string]string) {
			m.Tenant.Schema = "pg_catalog"
		}},
		"schema information_schema": {"does not hold a tenant", func(m *Manifest, _ map[string]string) {
			m.Tenant.Schema = "information_schema"
		}},
		"schema of the pool": {"no tenant's", func(m *Manifest, _ map[string]string) {
			m.Tenant.Schema = "crmctl_pool_x"
		}},
		"schema with a newline": {"control characters", func(m *Manifest, _ map[string]string) {
			m.Tenant.Schema = "a\nb"
		}},
		"schema of 64 bytes": {"bytes", func(m *Manifest, _ map[string]string) {
			m.Tenant.Schema = strings.Repeat("x", 64)
		}},
		"schema of another":   {"exists", func(m *Manifest, _ map[string]string) { m.Tenant.Schema = "tenant_globex" }},
		"schema of this role": {"role with rights", func(m *Manifest, _ map[string]string) { m.Tenant.Schema = me }},
		"no schema":           {"empty", func(m *Manifest, _ map[string]string) { m.Tenant.Schema = "" }},
		"slug of another":     {"exists", func(m *Manifest, _ map[string]string) { m.Tenant.Slug = "globex" }},
		"slug with capitals": {"no name of a tenant", func(m *Manifest, _ map[string]string) {
			m.Tenant.Slug = "ACME"
		}},
		"slug with a slash": {"no name of a tenant", func(m *Manifest, _ map[string]string) {
			m.Tenant.Slug = "a/b"
		}},
		"status": {"no state", func(m *Manifest, _ map[string]string) { m.Tenant.Status = "root" }},
		"settings": {"settings", func(m *Manifest, _ map[string]string) {
			m.Tenant.Settings = json.RawMessage("[]")
		}},
		"display name": {"display name", func(m *Manifest, _ map[string]string) {
			m.Tenant.DisplayName = "a\x00b"
		}},
		"an unknown version": {"missing", func(m *Manifest, _ map[string]string) {
			m.Versions[1].Version, m.SchemaVersion = 99, 99
		}},
		"a version below zero":   {"no version", func(m *Manifest, _ map[string]string) { m.Versions[1].Version = -1 }},
		"another newest version": {"newest", func(m *Manifest, _ map[string]string) { m.SchemaVersion = 1 }},
		"a year": {"year", func(m *Manifest, _ map[string]string) {
			m.TakenAt = time.Date(12, 1, 1, 0, 0, 0, 0, time.UTC)
		}},
		"other version rows": {"not the versions", func(_ *Manifest, rows map[string]string) {
			rows[versionTable] = strings.Replace(rows[versionTable], "\t2\tt", "\t77\tt", 1)
		}},
		"no version rows":   {"not the versions", func(_ *Manifest, rows map[string]string) { rows[versionTable] = "" }},
		"a table of public": {"no table", func(m *Manifest, _ map[string]string) { m.Tables[0].Name = "users" }},
		"a qualified table": {"no table", func(m *Manifest, _ map[string]string) { m.Tables[0].Name = "public.users" }},
		"a quoted table": {"no table", func(m *Manifest, _ map[string]string) {
			m.Tables[0].Name = `items" from stdin; drop table public.users; --`
		}},
		"a column of SQL": {"no column", func(m *Manifest, _ map[string]string) {
			columnOf(m, "items").Name = `id) from program 'id'; --`
		}},
		"a type of SQL": {"has type", func(m *Manifest, _ map[string]string) {
			columnOf(m, "items").Type = "int); drop table public.users; --"
		}},
		"a sequence of SQL": {"no sequence", func(m *Manifest, _ map[string]string) {
			m.Sequences[0].Name = "x'); drop table public.users; --"
		}},
		"a sequence too far":  {"out of bounds", func(m *Manifest, _ map[string]string) { m.Sequences[0].LastValue = -5 }},
		"rows of two columns": {"extra data", func(_ *Manifest, rows map[string]string) { rows["items"] = "1\ta\tb\n" }},
		"rows twice": {"duplicate key", func(_ *Manifest, rows map[string]string) {
			rows["items"] = "1\ta\n1\tb\n"
		}},
		"an end of data": {"", func(_ *Manifest, rows map[string]string) { rows["items"] = "\\.\nselect 1\n" }},
	} {
		t.Run(name, func(t *testing.T) {
			bad := craft(t, file.Bytes(), c.change)
			conn := f.Connect(t)
			_, err := Restore(context.Background(), conn, bytes.NewReader(bad), RestoreOptions{NewTenant: restores(plan)})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if after := world(t, f); after != before {
				t.Errorf("something was left behind:\n%s\nbefore:\n%s", after, before)
			}
			if err := conn.Ping(t.Context()); err != nil {
				t.Errorf("the connection: %v", err)
			}
		})
	}
	// The file itself is right.
	if _, err := Restore(t.Context(), f.Connect(t),
		bytes.NewReader(craft(t, file.Bytes(), func(*Manifest, map[string]string) {})),
		RestoreOptions{NewTenant: restores(plan)}); err != nil {
		t.Error(err)
	}
}

func columnOf(m *Manifest, table string) *Column {
	i := slices.IndexFunc(m.Tables, func(t Table) bool { return t.Name == table })
	return &m.Tables[i].Columns[0]
}

// TestCraftedRegistries: a file of the registry fills the registry's own tables and no
// other, and its tenants are judged as those of their own files.
func TestCraftedRegistries(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme")
	tables := []string{"tenants", "tenant_events"}
	var file bytes.Buffer
	if _, err := WriteRegistry(t.Context(), f.Connect(t), tables, 7, &file, WriteOptions{}); err != nil {
		t.Fatal(err)
	}
	other := fleettest.New(t)
	other.Exec(t, "create table public.users (slug text)", "insert into public.users values ('ada')")
	var me string
	f.Scan(t, []any{&me}, "select current_user::text")
	before := world(t, other)
	swap := func(from, to string) func(*Manifest, map[string]string) {
		return func(_ *Manifest, rows map[string]string) {
			if !strings.Contains(rows["tenants"], from) {
				t.Errorf("no %q in %q", from, rows["tenants"])
			}
			rows["tenants"] = strings.ReplaceAll(rows["tenants"], from, to)
		}
	}
	for name, c := range map[string]struct {
		want   string
		change func(m *Manifest, rows map[string]string)
	}{
		"a table of the application": {"none of those", func(m *Manifest, rows map[string]string) {
			m.Tables = append(m.Tables, Table{Name: "users", Columns: []Column{{"slug", "text"}}})
			rows["users"] = "eve\n"
		}},
		"scripts": {"none of those", func(m *Manifest, _ map[string]string) {
			m.Tables = append(m.Tables, Table{Name: "tenant_shapes", Columns: []Column{{"plan_checksum", "text"}}})
		}},
		"a schema of the system": {"does not hold a tenant", swap("tenant_acme", "pg_catalog")},
		"a schema of the pool":   {"no tenant's", swap("tenant_acme", "crmctl_pool_a")},
		"a slug":                 {"no name of a tenant", swap("\tacme\t", "\t../acme\t")},
		"a powerful role":        {"rights of its own", roleOf(me)},
	} {
		t.Run(name, func(t *testing.T) {
			bad := craft(t, file.Bytes(), c.change)
			_, err := RestoreRegistry(context.Background(), other.Connect(t), bytes.NewReader(bad),
				RegistryOptions{Tables: tables, Judge: restores(&migrate.Plan{}).Judge})
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if after := world(t, other); after != before {
				t.Errorf("something was left behind:\n%s", after)
			}
			if n := other.Int(t, "select count(*) from public.users where slug = 'ada'"); n != 1 {
				t.Error("a table of the application was emptied")
			}
		})
	}
}

// roleOf gives every tenant of a registry's file a role.
func roleOf(role string) func(*Manifest, map[string]string) {
	return func(m *Manifest, rows map[string]string) {
		i := slices.IndexFunc(m.Tables, func(t Table) bool { return t.Name == "tenants" })
		at := slices.IndexFunc(m.Tables[i].Columns, func(c Column) bool { return c.Name == "role_name" })
		var out strings.Builder
		for line := range strings.Lines(maps.Clone(rows)["tenants"]) {
			fields := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
			fields[at] = role
			out.WriteString(strings.Join(fields, "\t") + "\n")
		}
		rows["tenants"] = out.String()
	}
}
