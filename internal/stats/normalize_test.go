package stats

import (
	"strings"
	"testing"
)

func testSchemas() schemas {
	return schemas{
		tenants: map[string]string{"tenant_1": "one", "tenant_2": "two", "Tenant-3": "three", "sales": "sales"},
		roles:   map[string]string{"tenant_1_role": "one"},
		others:  map[string]bool{"public": true, "pg_catalog": true, "extensions": true},
	}
}

// What programs of many kinds send for one tenant and for another is one statement: by
// object-relational mappers, each in its own way to name a schema.
func TestNormalizeMakesOneOfTenants(t *testing.T) {
	t.Parallel()
	for name, same := range map[string][]string{
		"search_path": {`SELECT * FROM contacts WHERE id = $1`, `select *  from contacts
			where id=$2`, `SELECT * FROM "contacts" WHERE "id" = $1;`},
		"qualified": {`SELECT * FROM contacts WHERE id = $1`, `SELECT * FROM tenant_1.contacts WHERE id = $1`,
			`SELECT * FROM "tenant_2"."contacts" WHERE id = $1`, `SELECT * FROM "Tenant-3".contacts WHERE id = $1`,
			`SELECT * FROM tenant_gone.contacts WHERE id = $1`},
		"ActiveRecord": {
			`SELECT "tenant_1"."users".* FROM "tenant_1"."users" WHERE "tenant_1"."users"."id" = $1 LIMIT $2`,
			`SELECT "users".* FROM "users" WHERE "users"."id" = $1 LIMIT $2 /*application:Shop,controller:home*/`},
		"TypeORM": {
			`SELECT "person"."id" AS "person_id" FROM "tenant_1"."person" "person" WHERE ( ("person"."id" IN ($1, $2)) )`,
			`SELECT "person"."id" AS "person_id" FROM "tenant_2"."person" "person" WHERE ( ("person"."id" IN ($1)) )`,
			`SELECT "person"."id" AS "person_id" FROM "gone"."person" "person" WHERE ( ("person"."id" IN ($1 /*, ... */)) )`},
		"Sequelize": {
			`SELECT "tenant_1.task"."id" FROM "tenant_1"."tasks" AS "tenant_1.task" WHERE "tenant_1.task"."done" = $1`,
			`SELECT "tenant_2.task"."id" FROM "tenant_2"."tasks" AS "tenant_2.task" WHERE "tenant_2.task"."done" = $1`},
		"rows": {`INSERT INTO tenant_1.tags (a, b) VALUES ($1, $2), ($3, $4), ($5, $6) ON CONFLICT (a) DO UPDATE SET b = excluded.b`,
			`INSERT INTO tags (a,b) VALUES ($1,$2) ON CONFLICT (a) DO UPDATE SET b = EXCLUDED.b`},
		"search path set": {`SET search_path TO tenant_1, public`, `SET search_path TO "tenant_2", public`,
			`SET search_path TO "Tenant-3",public`, `SET search_path TO tenant_gone, public`},
		"search path as a string": {`SET search_path = 'tenant_1'`, `SET search_path = 'tenant_2'`},
		"role":                    {`SET LOCAL ROLE tenant_1_role`, `SET LOCAL ROLE tenant_2`},
		"schema":                  {`CREATE SCHEMA IF NOT EXISTS tenant_1`, `create schema if not exists "tenant_2"`},
		"a trace": {`SELECT 1 /*traceparent='00-5bd66ef5095369c7b0d1f8f4bd33716a-c532cb4098ac3dd2-01'*/`, `SELECT 1 -- x`,
			`SELECT $1`},
		"a context":      {`SET LOCAL pghistory.context_id = '1'`, `SET LOCAL pghistory.context_id = '2'`},
		"savepoints":     {`SAVEPOINT active_record_1`, `SAVEPOINT active_record_12`},
		"cursors":        {`FETCH FORWARD 10 FROM "_django_curs_1401_sync_1"`, `FETCH FORWARD 100 FROM "_django_curs_77_sync_12"`},
		"DDL":            {`ALTER TABLE tenant_1.contacts ADD COLUMN x int`, `alter table "tenant_2".contacts add column x int`},
		"functions":      {`SELECT tenant_1.score(id) FROM tenant_1.contacts`, `SELECT tenant_2.score(id) FROM tenant_2.contacts`},
		"across tenants": {`SELECT id FROM tenant_1.a UNION ALL SELECT id FROM tenant_2.a`, `SELECT id FROM a UNION ALL SELECT id FROM a`},
	} {
		want := testSchemas().normalize(same[0])
		for _, text := range same[1:] {
			if got := testSchemas().normalize(text); got.key != want.key {
				t.Errorf("%s: %q\n%q", name, got.key, want.key)
			}
		}
	}
}

// What is another statement stays one: a name before a dot need not be a schema.
func TestNormalizeKeepsApart(t *testing.T) {
	t.Parallel()
	for _, two := range [][2]string{
		{`SELECT * FROM contacts`, `SELECT * FROM public.contacts`},
		{`SELECT * FROM extensions.contacts`, `SELECT * FROM contacts`},
		{`SELECT c.id FROM contacts c`, `SELECT id FROM contacts c`},
		{`SELECT sales.id FROM orders sales`, `SELECT id FROM orders sales`},
		{`SELECT contacts.id FROM tenant_1.contacts`, `SELECT id FROM tenant_1.contacts`},
		{`WITH x AS (SELECT $1 AS id) SELECT x.id FROM x`, `WITH x AS (SELECT $1 AS id) SELECT id FROM x`},
		{`SELECT f($1) FROM a`, `SELECT f() FROM a`},
		{`SELECT sales FROM orders`, `SELECT total FROM orders`},
		{`SELECT "a.b" FROM c`, `SELECT "b" FROM c`},
		{`SELECT "A" FROM c`, `SELECT "a" FROM c`},
		{`SET LOCAL pghistory.context_id = '1'`, `SET LOCAL other.context_id = '1'`},
		{`SET search_path TO tenant_1, public`, `SET search_path TO public`},
		{`SET search_path TO "$user"`, `SET search_path TO tenant_1`},
		{`COMMENT ON COLUMN contacts.email IS ''`, `COMMENT ON COLUMN people.email IS ''`},
	} {
		a, b := testSchemas().normalize(two[0]), testSchemas().normalize(two[1])
		if a.key == b.key {
			t.Errorf("%q is %q: %q", two[0], two[1], a.key)
		}
	}
}

// People read the statement as it was written, on one line, without the schema; no string
// comes out, since utility commands have passwords in them.
func TestNormalizeShows(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]struct{ text, slug string }{
		"SELECT *\n  FROM \"tenant_1\".\"contacts\" -- all\n WHERE id IN ($1, $2,$3)": {`SELECT * FROM "contacts" WHERE id IN ($1, ...)`, "one"},
		`INSERT INTO tenant_2.a(b,c) VALUES ($1,$2),($3,$4)`:                          {`INSERT INTO a(b,c) VALUES ($1, ...), ...`, "two"},
		`SELECT id FROM tenant_1.a JOIN tenant_2.a USING (id)`:                        {`SELECT id FROM a JOIN a USING (id)`, ""},
		`SELECT id FROM contacts`:                                                     {`SELECT id FROM contacts`, ""},
		`ALTER ROLE app PASSWORD 'secret'`:                                            {`ALTER ROLE app PASSWORD $`, ""},
		`ALTER ROLE app PASSWORD E'sec\'ret`:                                          {`ALTER ROLE app PASSWORD $`, ""},
		`SET search_path TO tenant_1, public`:                                         {`SET search_path TO <tenant>, public`, "one"},
		`SELECT id FROM gone.contacts`:                                                {`SELECT id FROM contacts`, ""},
		`CREATE TABLE tenant_2.x (n numeric(10, 2))`:                                  {`CREATE TABLE x (n numeric(10, ...))`, "two"},
		``:  {``, ""},
		`;`: {``, ""},
	} {
		got := testSchemas().normalize(text)
		if got.text != want.text || got.slug != want.slug {
			t.Errorf("%q: %q of %q, want %q of %q", text, got.text, got.slug, want.text, want.slug)
		}
	}
}

// A text of a megabyte takes no longer than it must.
func TestNormalizeLongTexts(t *testing.T) {
	t.Parallel()
	long := "SELECT * FROM tenant_1.a WHERE id IN ($1" + strings.Repeat(", $2", 250_000) + ")"
	if got := testSchemas().normalize(long); got.text != "SELECT * FROM a WHERE id IN ($1, ...)" {
		t.Errorf("%.200q", got.text)
	}
	for _, text := range []string{strings.Repeat(".", 100_000), strings.Repeat("a.", 100_000),
		strings.Repeat("(", 100_000), strings.Repeat("$1,", 100_000), "\"" + strings.Repeat("x", 100_000)} {
		testSchemas().normalize(text)
	}
}
