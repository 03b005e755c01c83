package crm

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/db"
)

// fill makes contacts, of which two thirds share a time as after an import, a conversation
// with each, and messages of which a tenth have one common word, and five a rare one.
func fill(t testing.TB, conn *pgx.Conn, schema db.Schema, contacts, messages int) {
	t.Helper()
	crmtest.Exec(t, conn, schema,
		"drop index idx_messages_content", // made at once it takes a fraction
		fmt.Sprintf(`insert into contacts (id, email, phone, name, metadata, created_at)
			select md5('c' || g)::uuid, 'user' || g || '@example' || g %% 50 || '.com', '+4930' || g, 'User ' || g,
				jsonb_build_object('city', (array['Bonn', 'Bern', 'Wien'])[1 + g %% 3], 'number', g),
				case when g %% 3 = 0 then '2026-01-01Z'::timestamptz + g * interval '1 second' else '2026-01-02Z' end
			from generate_series(1, %d) g`, contacts),
		fmt.Sprintf(`insert into conversations (id, contact_id, channel, status, created_at)
			select md5('v' || g)::uuid, md5('c' || g)::uuid, 'email', case when g %% 20000 = 1 then 'pending'
					when g %% 2 = 0 then 'open' else 'closed' end,
				'2026-01-03Z'::timestamptz + g * interval '1 second' from generate_series(1, %d) g`, contacts),
		fmt.Sprintf(`insert into messages (conversation_id, direction, content, created_at)
			select md5('v' || 1 + g %% %d)::uuid, 'inbound', 'Dear user ' || g %% 1000 || ', about your order number ' || g ||
				case when g %% 10 = 0 then ' there is an invoice' when g %% %d = 1 then ' the needle' else ' all is well' end,
				'2026-01-04Z'::timestamptz + g * interval '1 second' from generate_series(1, %d) g`,
			contacts, messages/5, messages),
		"create index idx_messages_content on messages using gin (to_tsvector('english', content))",
		"analyze contacts", "analyze conversations", "analyze messages")
}

// Names of the reads of a tenant, which the plans and the benchmark take.
var reads = map[string]func(ctx context.Context, r *Reader, page Page) error{
	"contact": func(ctx context.Context, r *Reader, _ Page) error {
		_, err := r.Contact(ctx, "user9@example9.com")
		return err
	},
	"contacts": func(ctx context.Context, r *Reader, page Page) error {
		rows, end, err := r.Contacts(ctx, page)
		if err == nil && len(rows) == 0 || end == "" {
			err = fmt.Errorf("no contacts")
		}
		return err
	},
	"contacts deep": func(ctx context.Context, r *Reader, page Page) error {
		page.After = endOf("2026-01-02 00:00:00+00", "80000000-0000-0000-0000-000000000000")
		_, _, err := r.Contacts(ctx, page)
		return err
	},
	"contacts past": func(ctx context.Context, r *Reader, page Page) error {
		page.After = endOf("2026-01-02 00:00:00+00", "00000000-0000-0000-0000-000000000000")
		_, _, err := r.Contacts(ctx, page)
		return err
	},
	"address": func(ctx context.Context, r *Reader, page Page) error {
		_, _, err := r.FindContacts(ctx, ContactQuery{Page: page, EmailPrefix: "User99"})
		return err
	},
	"address, many": func(ctx context.Context, r *Reader, page Page) error {
		_, _, err := r.FindContacts(ctx, ContactQuery{Page: page, EmailPrefix: "u"})
		return err
	},
	"phone": func(ctx context.Context, r *Reader, page Page) error {
		_, _, err := r.FindContacts(ctx, ContactQuery{Page: page, Phone: "(030) 999"})
		return err
	},
	"metadata": func(ctx context.Context, r *Reader, page Page) error {
		_, _, err := r.FindContacts(ctx, ContactQuery{Page: page, Metadata: json.RawMessage(`{"number": 77}`)})
		return err
	},
	"metadata, many": func(ctx context.Context, r *Reader, page Page) error {
		_, _, err := r.FindContacts(ctx, ContactQuery{Page: page, Metadata: json.RawMessage(`{"city": "Bonn"}`)})
		return err
	},
	"conversations": func(ctx context.Context, r *Reader, page Page) error {
		_, _, err := r.Conversations(ctx, ConversationQuery{Page: page, Status: StatusOpen})
		return err
	},
	"conversations, rare": func(ctx context.Context, r *Reader, page Page) error {
		rows, end, err := r.Conversations(ctx, ConversationQuery{Page: page, Status: StatusPending})
		if err == nil && (len(rows) != 5 || end != "") {
			err = fmt.Errorf("got %d conversations", len(rows))
		}
		return err
	},
	"conversations of one": func(ctx context.Context, r *Reader, page Page) error {
		_, _, err := r.Conversations(ctx, ConversationQuery{Page: page, Contact: "user9@example9.com", Status: StatusOpen})
		return err
	},
	"messages": func(ctx context.Context, r *Reader, page Page) error {
		rows, _, err := r.Conversations(ctx, ConversationQuery{Page: Page{Limit: 1}})
		if err != nil {
			return err
		}
		var end string
		messages, err := r.Messages(ctx, MessageQuery{Page: page, Conversation: rows[0].ID}, &end)
		if err != nil {
			return err
		}
		for _, err := range messages {
			if err != nil {
				return err
			}
		}
		return nil
	},
	"search": func(ctx context.Context, r *Reader, page Page) error {
		return found(r.SearchMessages(ctx, "needle", page.Limit))
	},
	"search, many": func(ctx context.Context, r *Reader, page Page) error {
		return found(r.SearchMessages(ctx, "invoice", page.Limit))
	},
	"search, all": func(ctx context.Context, r *Reader, page Page) error {
		return found(r.SearchMessages(ctx, "dear", page.Limit))
	},
	"search, two": func(ctx context.Context, r *Reader, page Page) error {
		return found(r.SearchMessages(ctx, "invoice 50", page.Limit))
	},
}

func found(hits Hits, err error) error {
	if err == nil && len(hits.Rows) == 0 {
		err = fmt.Errorf("nothing is found")
	}
	return err
}

// explained is a Querier that keeps the plans of all queries of a tenant's tables.
type explained struct {
	db.Querier

	options string // of EXPLAIN
	plans   *[]string
}

func (e explained) explain(ctx context.Context, sql string, args []any) error {
	if !strings.Contains(sql, "tenant_acme") { // a setting, or a table, which may decide about what follows
		_, err := e.Querier.Exec(ctx, sql, args...)
		return err
	}
	if strings.HasPrefix(sql, "lock ") {
		return nil
	}
	rows, err := e.Querier.Query(ctx, "explain "+e.options+sql, args...)
	if err != nil {
		return err
	}
	lines, err := pgx.CollectRows(rows, pgx.RowTo[string])
	*e.plans = append(*e.plans, strings.Join(lines, "\n"))
	return err
}

func (e explained) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if err := e.explain(ctx, sql, args); err != nil {
		return nil, err
	}
	return e.Querier.Query(ctx, sql, args...)
}

func (e explained) Exec(ctx context.Context, sql string, args ...any) (pgconn.CommandTag, error) {
	if err := e.explain(ctx, sql, args); err != nil {
		return pgconn.CommandTag{}, err
	}
	return e.Querier.Exec(ctx, sql, args...)
}

func (e explained) SendBatch(ctx context.Context, b *pgx.Batch) pgx.BatchResults {
	// A statement may need what those before it have made. The batch meets every error too.
	_, _ = e.Querier.Exec(ctx, "savepoint explained")
	for _, q := range b.QueuedQueries {
		if err := e.explain(ctx, q.SQL, q.Arguments); err == nil && strings.Contains(q.SQL, "tenant_acme") {
			_, _ = e.Querier.Exec(ctx, q.SQL, q.Arguments...)
		}
	}
	_, _ = e.Querier.Exec(ctx, "rollback to savepoint explained")
	return e.Querier.SendBatch(ctx, b)
}

// Every read of 100,000 contacts and as many messages uses an index.
func TestPlans(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	fill(t, conn, schema, 100_000, 100_000)
	checkPlans(t, conn, open(t, conn, schema))
}

func checkPlans(t testing.TB, conn *pgx.Conn, tenant *Tenant) {
	t.Helper()
	scan := regexp.MustCompile(`Seq Scan on (contacts|conversations|messages)`)
	for name, do := range reads {
		var plans []string
		read(t, tenant, conn, func(ctx context.Context, r *Reader) error {
			r.q = explained{Querier: r.q, plans: &plans}
			return do(ctx, r, Page{Limit: 20})
		})
		all := strings.Join(plans, "\n--\n")
		if name == "search, all" {
			continue // a word of all messages is found at once without an index
		}
		if len(plans) == 0 || scan.MatchString(all) || !strings.Contains(all, "Index") {
			t.Errorf("%s:\n%s", name, all)
		}
	}
}

// serverTime returns how long the server works for a read, the least of some times.
func serverTime(t testing.TB, conn *pgx.Conn, tenant *Tenant, do func(context.Context, *Reader, Page) error) float64 {
	t.Helper()
	least := math.Inf(1)
	executed := regexp.MustCompile(`Execution Time: ([0-9.]+) ms`)
	for range 5 {
		var plans []string
		read(t, tenant, conn, func(ctx context.Context, r *Reader) error {
			r.q = explained{Querier: r.q, options: "(analyze, buffers) ", plans: &plans}
			return do(ctx, r, Page{Limit: 20})
		})
		sum := 0.0
		for _, found := range executed.FindAllStringSubmatch(strings.Join(plans, "\n"), -1) {
			ms, err := strconv.ParseFloat(found[1], 64)
			if err != nil {
				t.Fatal(err)
			}
			sum += ms
		}
		if sum < least {
			least = sum
		}
		if testing.Verbose() {
			t.Log(strings.Join(plans, "\n"))
		}
	}
	return least
}

// Each read of 100,000 contacts and 1,000,000 messages is to take less than 20 ms, of the
// server and in all.
func BenchmarkReads(b *testing.B) {
	conn, schema := crmtest.Tenant(b)
	fill(b, conn, schema, 100_000, 1_000_000)
	tenant := open(b, conn, schema)
	checkPlans(b, conn, tenant)
	for name, do := range reads {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				read(b, tenant, conn, func(ctx context.Context, r *Reader) error { return do(ctx, r, Page{Limit: 20}) })
			}
			b.ReportMetric(serverTime(b, conn, tenant, do), "server-ms")
		})
	}
}

// Taking a merge back does for no contact what it would have to do for each: the plans have no
// join whose rows are tried in pairs, and no question that reads a table for each row.
func TestUnmergePlans(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	crmtest.Exec(t, conn, schema, `insert into contacts (email, name) select 'p' || g || x || '@example.com', 'P' || g
		from generate_series(1, 5000) g, (values (''), ('+x')) v(x)`,
		"insert into conversations (contact_id, channel) select id, 'email' from contacts", "analyze contacts",
		"analyze conversations")
	tenant := open(t, conn, schema)
	done := merge(t, tenant, conn, key(1))
	crmtest.Exec(t, conn, schema, "analyze contacts", "analyze crmctl_import_undo")
	pairs := regexp.MustCompile(`Join Filter: .* OR `)
	each := regexp.MustCompile(`(?m)^ *SubPlan [0-9]+$(\n.*){1,3}Seq Scan`)
	var plans []string
	write(t, tenant, conn, func(ctx context.Context, w *Writer) error {
		w.q = explained{Querier: w.q, plans: &plans}
		back, err := w.UnmergeDoubles(ctx, key(1), done.XID)
		if back.Groups != 5000 || back.Restored != 5000 {
			t.Errorf("got %+v", back)
		}
		return err
	})
	if len(plans) < 5 {
		t.Fatalf("%d plans", len(plans))
	}
	for _, plan := range plans {
		if pairs.MatchString(plan) || each.MatchString(plan) && !strings.Contains(plan, "hashed SubPlan") {
			t.Error(plan)
		}
	}
	if testing.Verbose() {
		t.Log(strings.Join(plans, "\n--\n"))
	}
}
