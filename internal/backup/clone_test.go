package backup_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/backup"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleettest"
	"github.com/crmctl/crmctl/internal/migrate"
	"github.com/crmctl/crmctl/internal/registry"
)

func clone(t *testing.T, f *fleettest.Fleet, plan *migrate.Plan, src registry.Tenant,
	o backup.CloneOptions) (db.Schema, error) {
	t.Helper()
	o.NewTenant = newTenant(plan, "clone")
	made, err := backup.Clone(t.Context(), f.Connect(t), f.Connect(t), source(src), o)
	if err != nil {
		return db.Schema{}, err
	}
	schema, err := db.RegisteredSchema(made.Tenant.Schema)
	if err != nil {
		t.Fatal(err)
	}
	return schema, nil
}

func TestCloneIsEqual(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.Plan(t, everything())
	src := f.Create(t, plan, "acme")[0]
	in(t, f, src.Schema, rows...)
	f.Exec(t, `update public.tenants set settings = '{"tier": 2}' where slug = 'acme'`)
	before := hashes(t, f, src.Schema)

	schema, err := clone(t, f, plan, src, backup.CloneOptions{Slug: "copy", DisplayName: "A copy"})
	if err != nil {
		t.Fatal(err)
	}
	wantEqual(t, before, hashes(t, f, schema))
	wantEqual(t, before, hashes(t, f, src.Schema))
	if n := f.Int(t, `select count(*) from public.tenants where slug = 'copy' and display_name = 'A copy'
		and settings = '{"tier": 2}' and schema_version = 4`); n != 1 {
		t.Error("the registry row is not right")
	}
	if n := f.Int(t, `select count(*) from public.tenant_events where slug = 'copy' and action = 'clone'
		and detail ->> 'from' = 'acme'`); n != 1 {
		t.Errorf("%d audit rows", n)
	}
	if _, err := clone(t, f, plan, src, backup.CloneOptions{Slug: "copy"}); !errors.Is(err, registry.ErrExists) {
		t.Errorf("the second clone: %v, want ErrExists", err)
	}
	if _, err := clone(t, f, plan, src, backup.CloneOptions{Slug: "acme"}); !errors.Is(err, registry.ErrExists) {
		t.Errorf("a clone onto itself: %v, want ErrExists", err)
	}

	empty, err := clone(t, f, plan, src, backup.CloneOptions{Slug: "empty", SchemaOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if got := hashes(t, f, empty); !strings.HasPrefix(got["zoo"], "0 ") || !strings.HasPrefix(got["settings"], "2 ") ||
		got["zoo_id_seq"] != "1 false" {
		t.Errorf("schema only: %v", got)
	}
}

// An anonymized clone holds no text of a person, and what belonged together still
// does.
func TestCloneAnonymized(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.TenantPlan(t, 0)
	src := f.Create(t, plan, "acme")[0]
	in(t, f, src.Schema,
		`insert into contacts (email, phone, name, company, metadata)
			select 'person' || g || '@secret.org', '+4930' || 1000000 + g, 'Person Number' || g, 'Secret Works' || g % 10,
				jsonb_build_object('own_iban', 'DE-iban-' || g || '-end', 'nested', jsonb_build_array('hidden' || g))
					from generate_series(1, 300) g`,
		`insert into contacts (name) values (E'Tab\tNew\nLine\\N'), (''), (null)`,
		`insert into conversations (contact_id, channel, subject) select id, 'email', 'About ' || name from contacts
			where email is not null`,
		`insert into conversations (contact_id, channel) select id, '+49 30 1234567' from contacts limit 1`,
		`insert into messages (conversation_id, direction, sender, content)
			select c.id, 'inbound', p.email, 'My secret number' || p.phone || ' and the address ' || p.email
				from conversations c join contacts p on p.id = c.contact_id`)
	originals := texts(t, f, src.Schema, `select email from contacts union select phone from contacts union select name
		from contacts union select company from contacts
		union select subject from conversations union select sender from messages union select content from messages union
			select metadata ->> 'own_iban' from contacts
		union select 'hidden1' union select 'secret' union select 'Person' union select '+49 30 1234567' union
			select 'own_iban'`)
	f.Exec(t, `update public.tenants set settings = '{"owner": "ada@secret.org"}', display_name = 'Secret Inc'
		where slug = 'acme'`)

	schema, err := clone(t, f, plan, src, backup.CloneOptions{Slug: "staging",
		Anonymizer: backup.NewAnonymizer("seed", nil)})
	if err != nil {
		t.Fatal(err)
	}
	dump := strings.Join(texts(t, f, schema, `select c::text from contacts c union all select c::text from conversations c
		union all select m::text from messages m
		union all select t::text from public.tenants t where slug = 'staging' union all select e::text
			from public.tenant_events e where slug = 'staging'`), "\n")
	for _, original := range originals {
		if strings.TrimSpace(original) != "" && strings.Contains(strings.ToLower(dump), strings.ToLower(original)) {
			t.Errorf("%q is left", original)
		}
	}
	for name, want := range map[string]string{
		"select count(*)::text from contacts":                                         "303",
		"select count(distinct email)::text from contacts":                            "300",
		"select count(distinct phone)::text from contacts":                            "300",
		"select count(distinct company)::text from contacts":                          "10",
		"select count(*)::text from contacts where name is null or name = ''":         "2",
		"select count(*)::text from contacts where metadata <> '{}'":                  "0",
		"select count(*)::text from messages m join contacts c on c.email = m.sender": "301",
		"select count(*)::text from conversations where channel = 'email'":            "300",
	} {
		if got := texts(t, f, schema, name); len(got) != 1 || got[0] != want {
			t.Errorf("%s: %v, want %s", name, got, want)
		}
	}
	// The same seed gives the same fakes, another one others.
	email := func(slug, seed string) string {
		schema, err := clone(t, f, plan, src, backup.CloneOptions{Slug: slug, Anonymizer: backup.NewAnonymizer(seed, nil)})
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprint(texts(t, f, schema, "select email from contacts where email is not null order by id"))
	}
	first := fmt.Sprint(texts(t, f, schema, "select email from contacts where email is not null order by id"))
	if email("again", "seed") != first || email("other", "another") == first {
		t.Error("fakes do not follow the seed")
	}
}

// What nobody has classified is refused, unless somebody takes it upon himself.
func TestAnonymizerRefusesUnknownColumns(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	plan := fleettest.Plan(t, fleettest.Files(map[string]string{
		"00001_a.sql": `create table contacts (id uuid primary key default gen_random_uuid(), email text, birthday date);
create table notes (id bigint, body text, kind text);`,
	}))
	src := f.Create(t, plan, "acme")[0]
	_, err := clone(t, f, plan, src, backup.CloneOptions{Slug: "a", Anonymizer: backup.NewAnonymizer("s",
		[]string{"notes.kind"})})
	if !errors.Is(err, backup.ErrUnknownColumns) || !strings.Contains(err.Error(), "contacts.birthday, notes.body") ||
		strings.Contains(err.Error(), "notes.kind") {
		t.Errorf("error %v", err)
	}
	if _, err := clone(t, f, plan, src, backup.CloneOptions{Slug: "a", Anonymizer: backup.NewAnonymizer("s",
		[]string{"notes.kid"})}); err == nil {
		t.Error("a misspelt column to keep is accepted")
	}
	all := []string{"notes.kind", "notes.body", "contacts.birthday"}
	if _, err := clone(t, f, plan, src, backup.CloneOptions{Slug: "a", Anonymizer: backup.NewAnonymizer("s",
		all)}); err != nil {
		t.Error(err)
	}
	if n := f.Int(t, "select count(*) from public.tenants"); n != 2 {
		t.Errorf("%d tenants, want 2", n)
	}
}

// texts returns the first column of a query within a schema, without nulls.
func texts(t *testing.T, f *fleettest.Fleet, schema db.Schema, sql string) []string {
	t.Helper()
	var out []string
	err := db.InTx(t.Context(), f.Connect(t), db.Locals{Schema: schema}, func(ctx context.Context, q db.Querier) error {
		found, err := q.Query(ctx, sql)
		if err != nil {
			return err
		}
		var text *string
		_, err = pgx.ForEachRow(found, []any{&text}, func() error {
			if text != nil {
				out = append(out, *text)
			}
			return nil
		})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
