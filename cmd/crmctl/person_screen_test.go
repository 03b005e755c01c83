package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/fleettest"
)

// What is stored about somebody is a calm screen of 80 columns: facts and no JSON, messages under
// their conversation, the oldest first, long texts cut and that said.
func TestPersonScreen(t *testing.T) {
	t.Parallel()
	f := fleettest.New(t)
	f.Create(t, fleettest.TenantPlan(t, 0), "acme", "globex")
	f.Exec(t, `insert into tenant_acme.contacts (email, name, phone, metadata, created_at) values ('ann@example.com', 'Ann',
			'+49301234567', '{"city": "Bonn", "seats": 3, "emails": [{"type": "home", "value": "ann@example.org"}]}',
			'2026-01-02 03:04:05Z'),
			('bob@example.com', 'Bob', null, jsonb_build_object('private mail', 'ann@example.com', 'note', repeat('very long ', 30)),
			'2026-01-03 03:04:05Z')`,
		`insert into tenant_acme.conversations (contact_id, channel, subject, created_at) select id, 'email', s, d::timestamptz
			from tenant_acme.contacts, (values ('First', '2026-02-01 10:00Z'), ('Second', '2026-02-03 10:00Z')) x(s, d)
			where name = 'Ann'`,
		`insert into tenant_acme.messages (conversation_id, direction, sender, content, created_at)
			select v.id, m.d, m.s, m.c, m.t::timestamptz from tenant_acme.conversations v join (values
			('First', 'outbound', null, E'We are on it.\n\nYours', '2026-02-05 10:00Z'),
			('First', 'inbound', 'Ann <ann@example.com>', 'Where is'||chr(27)||'[2J it?', '2026-02-01 10:01Z'),
			('Second', 'inbound', 'ann@example.com', 'And this?', '2026-02-03 10:01Z')) m(v, d, s, c, t) on m.v = v.subject`,
		`create table tenant_globex.subscribers (id int, mail text, weekly bool)`,
		`insert into tenant_globex.subscribers values (7, 'ann@example.com', true)`)
	b := newBench(t).onTerminal().setenv("DATABASE_URL="+f.DSN, "NO_COLOR=1")
	b.Width = func() int { return 80 }
	if code := b.run("contacts", "person", "ANN@example.com", "--all-tenants", "--show", "--utc"); code != cli.ExitOK {
		t.Fatalf("exit code %d\n%s", code, b.err)
	}
	const want = `
TENANT  KIND          CREATED           STORED
acme    contact       2026-01-02 03:04  ann@example.com, Ann, +49301234567;
                                        city: Bonn; emails: ann@example.org
                                        (home); seats: 3
acme    contact       2026-01-03 03:04  bob@example.com, Bob; note: very long
                                        very long very long very long very long
                                        very long very long very long very long
                                        very long very long very long very long
                                        very long very long very long very long
                                        very long very long very long ... (299
                                        B); private mail: ann@example.com
acme    conversation  2026-02-01 10:00  open, email, First
acme    message       2026-02-01 10:01  inbound, Ann <ann@example.com>, Where
                                        is\x1b[2J it?
acme    message       2026-02-05 10:00  outbound, We are on it. Yours
acme    conversation  2026-02-03 10:00  open, email, Second
acme    message       2026-02-03 10:01  inbound, ann@example.com, And this?
globex  other                           id: 7; mail: ann@example.com; weekly:
                                        true

2 tenants: 2 contacts, 2 conversations and 3 messages; elsewhere 1 row
`
	if got := "\n" + b.out.String(); got != want {
		t.Errorf("got%s\nwant%s", got, want)
	}
	if errs := b.err.String(); !strings.Contains(errs, "long texts are cut") || !strings.Contains(errs, "not looked at: backups") {
		t.Error(errs)
	}

	// Programs get all of it.
	b = newBench(t).setenv("DATABASE_URL=" + f.DSN)
	if code := b.run("contacts", "person", "ann@example.com", "--tenant", "acme", "--show", "-o", "json"); code != cli.ExitOK {
		t.Fatalf("exit code %d\n%s", code, b.err)
	}
	var document struct {
		Rows []struct {
			Row struct{ Metadata map[string]any }
		}
	}
	if err := json.Unmarshal([]byte(b.out.String()), &document); err != nil || len(document.Rows) != 7 ||
		document.Rows[1].Row.Metadata["note"] != strings.Repeat("very long ", 30) {
		t.Errorf("%v\n%s", err, b.out)
	}
}
