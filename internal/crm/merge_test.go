package crm

import (
	"context"
	"crypto/rand"
	"fmt"
	mrand "math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/db"
)

// everything are the rows of a tenant as they are, but for what only the server sees.
func everything(t testing.TB, conn *pgx.Conn, schema db.Schema) []string {
	t.Helper()
	return crmtest.List(t, conn, schema, `select x from (select 'contact ' || to_jsonb(c)::text as x from contacts c
		union all select 'conversation ' || to_jsonb(v)::text from conversations v
		union all select 'message ' || to_jsonb(m)::text from messages m) x order by 1`)
}

func doubles(t testing.TB, tenant *Tenant, conn *pgx.Conn, o DoublesQuery) (out []string) {
	t.Helper()
	read(t, tenant, conn, func(ctx context.Context, r *Reader) error {
		for d, err := range r.Doubles(ctx, o) {
			if err != nil {
				return err
			}
			keep := ""
			if d.Keep {
				keep = " keep"
			}
			out = append(out, fmt.Sprintf("%d %s %s %s%s", d.Group, d.Rule, d.Confidence, d.Contact.Name+d.Email, keep))
		}
		return nil
	})
	return out
}

// Contacts are doubles by the address but for dots or a plus, by the number, and by the name
// at a company; the fullest is kept, of those the oldest.
func TestDoubles(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, `insert into contacts (name, email, phone, company, created_at) values
		('', 'a.n.n@gmail.com', null, null, '2026-01-02'), (null, 'ann+news@googlemail.com', null, null, '2026-01-01'),
		(null, 'bob@example.com', null, null, '2026-01-02'), (null, 'bob+x@example.com', '+491', null, '2026-01-02'),
		(null, 'b.ob@example.com', null, null, '2026-01-02'),
		('Cid ', null, '+4930111', null, '2026-01-02'), ('cid', null, '+4930111', 'X', '2026-01-02'),
		('Dan', null, '+4930222', null, '2026-01-02'), ('Eve', null, '+4930222', null, '2026-01-03'),
		('Fay', null, null, 'Acme', '2026-01-02'), (' FAY', null, null, 'acme', '2026-01-01'),
		('Gus', null, 'none', null, '2026-01-02'), ('Hal', null, 'none', null, '2026-01-02'),
		('Ida', null, null, null, '2026-01-02'), ('Ida', null, null, null, '2026-01-02')`,
		"insert into contacts (name, phone) select 'Desk ' || g, '+4930333' from generate_series(1, 6) g")
	tenant := open(t, conn, schema)
	crmtest.SameLines(t, "doubles", doubles(t, tenant, conn, DoublesQuery{}), []string{
		"1 address high a.n.n@gmail.com keep", "1 address high ann+news@googlemail.com",
		"2 address high bob+x@example.com keep", "2 address high bob@example.com",
		"3 phone high cid keep", "3 phone high Cid ",
		"4 phone medium Dan keep", "4 phone medium Eve", "5 name medium  FAY keep", "5 name medium Fay"})
	if got := doubles(t, tenant, conn, DoublesQuery{Least: High, Rules: []Rule{ByPhone}}); len(got) != 2 {
		t.Errorf("sure by the number: %q", got)
	}
	if got := doubles(t, tenant, conn, DoublesQuery{Least: Low}); len(got) != 16 {
		t.Errorf("unsure: %q", got)
	}
}

func merge(t testing.TB, tenant *Tenant, conn *pgx.Conn, keep string) (done Merged) {
	t.Helper()
	write(t, tenant, conn, func(ctx context.Context, w *Writer) (err error) {
		done, err = w.MergeDoubles(ctx, Merging{Keep: keep, DoublesQuery: DoublesQuery{Least: Low}})
		return err
	})
	return done
}

func unmerge(t testing.TB, tenant *Tenant, conn *pgx.Conn, keep, xid string) (back Unmerged) {
	t.Helper()
	write(t, tenant, conn, func(ctx context.Context, w *Writer) (err error) {
		back, err = w.UnmergeDoubles(ctx, keep, xid)
		return err
	})
	return back
}

func key(i int) string { return fmt.Sprintf("00000000-0000-4000-8000-%012d", i) }

// A contact stays to which a key of several columns refers, or one that means its address: what
// such a key takes along with a contact, no merge could bring back.
func TestMergeLeavesWhatOtherKeysReferTo(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, `insert into contacts (name, email, created_at) values
		('Ann', 'ann@example.com', '2026-01-01'), (null, 'ann+1@example.com', '2026-01-02'),
		('Bob', 'bob@example.com', '2026-01-01'), (null, 'bob+1@example.com', '2026-01-02'),
		('Cid', 'cid@example.com', '2026-01-01'), (null, 'cid+1@example.com', '2026-01-02')`,
		"alter table contacts add unique (id, created_at)",
		`create table notes (contact_id uuid, at timestamptz,
			foreign key (contact_id, at) references contacts (id, created_at) on delete cascade)`,
		"create table letters (email text references contacts (email) on delete cascade on update cascade)",
		"insert into notes select id, created_at from contacts where email = 'ann+1@example.com'",
		"insert into letters values ('bob+1@example.com')")
	done := merge(t, open(t, conn, schema), conn, key(1))
	if done.Groups != 1 || done.Removed != 1 || done.Referred != 2 {
		t.Errorf("got %+v", done)
	}
	crmtest.SameLines(t, "what refers to them", crmtest.List(t, conn, schema,
		"select contact_id is not null from notes union all select email = 'bob+1@example.com' from letters"),
		[]string{"true", "true"})
}

// Merging fills what is missing, unites the metadata, moves the conversations, and keeps
// other addresses and numbers; whom another table refers to stays.
func TestMergeDoubles(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, `insert into contacts (name, email, phone, company, metadata, created_at) values
		('Ann', 'ann@example.com', null, null, '{"tags": ["a"], "city": "Bonn"}', '2026-01-01'),
		(null, 'ann+1@example.com', '+4930111', 'Acme', '{"tags": ["b"]}', '2026-01-02'),
		(null, 'ann+2@example.com', '+4930112', null, '{"city": "Bern"}', '2026-01-03'),
		('Bob', null, '+4930222', null, '{}', '2026-01-01'), ('Bob', 'bob@example.com', '+4930222', null, '{}', '2026-01-02'),
		('Bob', null, '+4930222', null, '{}', '2026-01-03')`,
		`insert into conversations (contact_id, channel, subject) select id, 'email', coalesce(email, name) from contacts`,
		"create table notes (id int, contact_id uuid references contacts)",
		"insert into notes select 1, id from contacts where name = 'Bob' and created_at = '2026-01-03'")
	tenant := open(t, conn, schema)
	before := everything(t, conn, schema)
	done := merge(t, tenant, conn, key(1))
	if done.Groups != 2 || done.Removed != 3 || done.Moved != 3 || done.Referred != 1 {
		t.Errorf("got %+v", done)
	}
	crmtest.SameLines(t, "merged", crmtest.List(t, conn, schema, `select name, email, phone, company, metadata::text, (
		select count(*) from conversations v where v.contact_id = c.id) from contacts c order by name, email`), []string{
		`Ann|ann@example.com|+4930111|Acme|{"city": "Bonn", "tags": ["a", "b"], "emails": [{"type": "other", "value": ` +
			`"ann+1@example.com"}, {"type": "other", "value": "ann+2@example.com"}], "phones": [{"type": "other", "value": ` +
			`"+4930112"}]}|3`,
		"Bob|bob@example.com|+4930222||{}|2", "Bob||+4930222||{}|1"})
	if back := unmerge(t, tenant, conn, key(1), done.XID); back != (Unmerged{Groups: 2, Restored: 3, Moved: 3}) {
		t.Errorf("got %+v back", back)
	}
	crmtest.SameLines(t, "taken back", everything(t, conn, schema), before)
	if back := unmerge(t, tenant, conn, key(1), done.XID); back != (Unmerged{}) {
		t.Errorf("a second time: %+v", back)
	}
}

// What was changed since stays merged, and so does a group whose address somebody else has.
func TestUnmergeLeaves(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, `insert into contacts (name, email) select n, n || s || '@example.com'
		from unnest(array['a', 'b', 'c', 'd']) n, unnest(array['', '+x']) s`)
	tenant := open(t, conn, schema)
	first := merge(t, tenant, conn, key(1))
	if first.Groups != 4 {
		t.Fatalf("got %+v", first)
	}
	crmtest.Exec(t, conn, schema, "update contacts set company = 'X' where name = 'a'", "delete from contacts where "+
		"name = 'b'", "insert into contacts (email) select case when email = 'c@example.com' then 'c+x@example.com' else "+
		"'c@example.com' end from contacts where name = 'c'")
	back := unmerge(t, tenant, conn, key(1), first.XID)
	if back.Groups != 1 || back.Left != 3 || back.Restored != 1 {
		t.Errorf("got %+v", back)
	}
	// A merge that was taken back counts as none for the one before it.
	conn, schema = crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, `insert into contacts (name, email) values ('a', 'a@example.com'), (null, 'a+x@example.com')`)
	tenant, before := open(t, conn, schema), everything(t, conn, schema)
	one := merge(t, tenant, conn, key(1))
	crmtest.Exec(t, conn, schema, "insert into contacts (email) values ('a+y@example.com')")
	middle := everything(t, conn, schema)
	two := merge(t, tenant, conn, key(2))
	if back := unmerge(t, tenant, conn, key(1), one.XID); back.Left != 1 {
		t.Errorf("below another merge: %+v", back)
	}
	unmerge(t, tenant, conn, key(2), two.XID)
	crmtest.SameLines(t, "the second taken back", everything(t, conn, schema), middle)
	crmtest.Exec(t, conn, schema, "delete from contacts where email = 'a+y@example.com'")
	unmerge(t, tenant, conn, key(1), one.XID)
	crmtest.SameLines(t, "both taken back", everything(t, conn, schema), before)
}

// A merge that is taken back leaves everything as it was, whatever the contacts are; after
// merging until nothing is found there are no doubles.
func TestMergeTakenBackIsAsBefore(t *testing.T) {
	t.Parallel()
	var seed [32]byte
	_, _ = rand.Read(seed[:])
	r := mrand.New(mrand.NewChaCha8(seed))
	pick := func(from ...string) string { return from[r.IntN(len(from))] }
	for round := range 5 {
		conn, schema := crmtest.Tenant(t)
		for i := range 60 {
			email := fmt.Sprintf("'%s%s%d@%s'", pick("a", "a.b", "a.+b", "ab", "zed"), pick("", "+x", "+"), i, pick("gmail.com",
				"googlemail.com", "example.com"))
			if strings.Contains(email, "+") {
				email = strings.Replace(email, fmt.Sprint(i), "", 1) + " || " + fmt.Sprintf("'' where not exists (select "+
					"from contacts where email = %s)", strings.Replace(email, fmt.Sprint(i), "", 1))
			}
			values := fmt.Sprintf("%s, %s, %s, %s", pick("null", "'Ann'", "' ANN '", "'\u202EBob'", "'=cmd()'"),
				pick("null", "'+4930111'", "'+49302221'", "'none'"), pick("null", "''", "'Acme'", "'acme'"),
				pick("'{}'", `'{"emails": [{"value": "x"}], "a": 1}'`, `'{"emails": "text", "phones": [7]}'`,
					`'{"a": {"b": [1]}, "t": ["\\u0001"]}'`))
			crmtest.Exec(t, conn, schema, "insert into contacts (name, phone, company, metadata, email) select "+values+", "+
				pick("null", "null", email))
		}
		crmtest.Exec(t, conn, schema, `insert into conversations (contact_id, channel, status)
			select id, 'chat', 'closed' from contacts, generate_series(1, 2)`,
			`insert into messages (conversation_id, direction, content) select id, 'inbound', 'x' from conversations`)
		tenant := open(t, conn, schema)
		states, xids := [][]string{everything(t, conn, schema)}, []string{}
		for {
			done := merge(t, tenant, conn, key(len(xids)+1))
			if done.Groups == 0 {
				break
			}
			xids = append(xids, done.XID)
			states = append(states, everything(t, conn, schema))
		}
		if left := doubles(t, tenant, conn, DoublesQuery{Least: Low}); len(left) > 0 {
			t.Errorf("seed %x: %q are left", seed, left)
		}
		for i, xid := range slices.Backward(xids) {
			unmerge(t, tenant, conn, key(i+1), xid)
			crmtest.SameLines(t, fmt.Sprintf("seed %x, round %d, merge %d taken back", seed, round, i), everything(t, conn,
				schema), states[i])
		}
	}
}
