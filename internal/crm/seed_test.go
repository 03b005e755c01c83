package crm

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/crm/crmtest"
	"github.com/crmctl/crmctl/internal/db"
)

func TestSeed(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 20, 15, 4, 0, time.UTC)
	seed := func(seed uint64) ([]string, SeedResult) {
		conn, schema := crmtest.Tenant(t)
		var r SeedResult
		err := db.InTx(t.Context(), conn, db.Locals{Schema: schema}, func(ctx context.Context, q db.Querier) (err error) {
			r, err = Seed(ctx, q, SeedOptions{Schema: schema, Contacts: 300, RandSeed: seed, Now: func() time.Time {
				return at
			}})
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		var all []string
		for _, table := range []string{"contacts", "conversations", "messages"} {
			all = append(all, crmtest.List(t, conn, schema, "select x::text from "+table+" x order by id")...)
		}
		late := crmtest.List(t, conn, schema, "select count(*) from messages m join conversations v on v.id = "+
			"m.conversation_id join contacts c on c.id = v.contact_id where m.created_at > '2026-11-23 20:15:04Z' or "+
			"v.created_at < c.created_at or m.created_at < v.created_at or v.updated_at < m.created_at")
		if late[0] != "0" {
			t.Errorf("%s messages are out of their time", late[0])
		}
		return all, r
	}
	one, r := seed(1)
	if r.Contacts != 300 || r.Conversations < 100 || r.Messages < 2*r.Conversations || int64(len(one)) != r.Contacts+
		r.Conversations+r.Messages {
		t.Errorf("made %+v, %d rows in all", r, len(one))
	}
	same, _ := seed(1)
	crmtest.SameLines(t, "the same seed", same, one)
	if other, _ := seed(2); strings.Join(other, "") == strings.Join(one, "") {
		t.Error("another seed makes the same data")
	}
}

func TestSeedTwice(t *testing.T) {
	t.Parallel()
	conn, schema := crmtest.Tenant(t)
	err := db.InTx(t.Context(), conn, db.Locals{Schema: schema}, func(ctx context.Context, q db.Querier) error {
		for range 2 {
			if _, err := Seed(ctx, q, SeedOptions{Schema: schema, Contacts: 5}); err != nil {
				return err
			}
		}
		return nil
	})
	if db.SQLState(err) != db.CodeUniqueViolation {
		t.Errorf("got %v, want a unique violation", err)
	}
	if n := crmtest.List(t, conn, schema, "select count(*) from contacts"); n[0] != "0" {
		t.Errorf("%s contacts are left", n[0])
	}
}
