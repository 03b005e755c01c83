package crm

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"github.com/crmctl/crmctl/internal/db"
)

// SeedOptions says how much sample data to make.
type SeedOptions struct {
	Schema   db.Schema        // of the tenant
	Contacts int              // conversations and messages follow from it
	RandSeed uint64           // the same seed and time make the same data
	Now      func() time.Time // nil is time.Now; the data lies in the year before it
}

// SeedResult counts the rows made.
type SeedResult struct {
	Contacts, Conversations, Messages int64
}

// Seed fills a tenant, in the current transaction, with believable sample data,
// in three COPYs and without holding it in memory. Its addresses end in .example,
// which nobody owns. The same data twice violates the uniqueness of addresses.
func Seed(ctx context.Context, q db.Querier, o SeedOptions) (SeedResult, error) {
	if o.Contacts < 0 {
		return SeedResult{}, fmt.Errorf("seed: %d contacts", o.Contacts)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	s := seeder{seed: o.RandSeed, contacts: o.Contacts, now: o.Now().UTC().Truncate(time.Second)}
	var r SeedResult
	for _, table := range []struct {
		name    string
		columns []string
		rows    func() func() []any
		count   *int64
	}{
		{"contacts", []string{"id", "email", "phone", "name", "company", "metadata", "created_at", "updated_at"},
			s.contactRows, &r.Contacts},
		{"conversations", []string{"id", "contact_id", "channel", "status", "subject", "created_at", "updated_at"},
			s.conversationRows, &r.Conversations},
		{"messages", []string{"id", "conversation_id", "direction", "sender", "content", "created_at", "updated_at"},
			s.messageRows, &r.Messages},
	} {
		next := table.rows()
		n, err := q.CopyFrom(ctx, pgx.Identifier{o.Schema.String(), table.name}, table.columns,
			pgx.CopyFromFunc(func() ([]any, error) {
				return next(), nil
			}))
		if err != nil {
			return SeedResult{}, fmt.Errorf("seed %s: %w", table.name, err)
		}
		*table.count = n
	}
	return r, nil
}

// seeder makes the data. Everything about the contact i follows from the seed and
// i, so each table can be made by itself.
type seeder struct {
	seed     uint64
	contacts int
	now      time.Time
}

// person is a contact with what happened to it.
type person struct {
	id            pgtype.UUID
	first, last   string
	company       string
	email, phone  *string
	metadata      string
	created       time.Time
	conversations []talk
}

type talk struct {
	id                       pgtype.UUID
	channel, status, subject string
	messages                 []utterance
}

type utterance struct {
	id      pgtype.UUID
	inbound bool
	content string
	at      time.Time
}

func pick(r *rand.Rand, from []string) string { return from[r.IntN(len(from))] }

// person makes the contact i.
func (s seeder) person(i int) person {
	r := rand.New(rand.NewPCG(s.seed, uint64(i)))
	p := person{first: pick(r, seedFirstNames), last: pick(r, seedLastNames), company: pick(r, seedCompanies)}
	p.created = s.now.Add(-time.Duration(1+r.IntN(365*24*60)) * time.Minute)
	p.id = seedID(r, p.created)
	domain := strings.ToLower(strings.NewReplacer(" ", "", "&", "and", ".", "").Replace(p.company)) + ".example"
	if r.IntN(12) > 0 {
		email := fmt.Sprintf("%s.%s%d@%s", strings.ToLower(p.first), strings.ToLower(p.last), i+1, domain)
		p.email = &email
	}
	if p.email == nil || r.IntN(5) > 0 {
		phone := fmt.Sprintf("%s %07d", pick(r, seedPrefixes), r.IntN(10_000_000))
		p.phone = &phone
	}
	p.metadata = fmt.Sprintf(`{"city": %q, "source": %q, "tags": [%q], "score": %d}`,
		pick(r, seedCities), pick(r, seedSources), pick(r, seedTags), r.IntN(101))
	for range r.IntN(4) / 2 * (1 + r.IntN(2)) {
		p.conversations = append(p.conversations, s.talk(r, p))
	}
	return p
}

// talk makes a conversation between the making of the contact and now.
func (s seeder) talk(r *rand.Rand, p person) talk {
	at := p.created.Add(time.Duration(r.Int64N(int64(s.now.Sub(p.created)))))
	subject := pick(r, seedSubjects)
	t := talk{id: seedID(r, at), channel: pick(r, seedChannels), status: pick(r, seedStatuses), subject: subject}
	for n := range 1 + r.IntN(6) {
		u := utterance{id: seedID(r, at), inbound: n%2 == 0, at: at}
		if u.inbound {
			u.content = fmt.Sprintf(pick(r, seedQuestions), strings.ToLower(subject))
		} else {
			u.content = fmt.Sprintf(pick(r, seedAnswers), p.first)
		}
		t.messages = append(t.messages, u)
		if at = at.Add(time.Duration(2+r.IntN(300)) * time.Minute); at.After(s.now) {
			break
		}
	}
	return t
}

// seedID makes a UUID of version 7 for a moment.
func seedID(r *rand.Rand, at time.Time) pgtype.UUID {
	id := pgtype.UUID{Valid: true}
	binary.BigEndian.PutUint64(id.Bytes[:8], uint64(at.UnixMilli())<<16|7<<12|r.Uint64()&0xFFF)
	binary.BigEndian.PutUint64(id.Bytes[8:], 0b10<<62|r.Uint64()>>2)
	return id
}

func (s seeder) contactRows() func() []any {
	i := 0
	return func() []any {
		if i == s.contacts {
			return nil
		}
		p := s.person(i)
		i++
		return []any{p.id, p.email, p.phone, p.first + " " + p.last, p.company, p.metadata, p.created, p.created}
	}
}

// each returns the rows that one contact makes after another.
func (s seeder) each(rows func(person) [][]any) func() []any {
	i := 0
	var waiting [][]any
	return func() []any {
		for len(waiting) == 0 {
			if i == s.contacts {
				return nil
			}
			waiting = rows(s.person(i))
			i++
		}
		row := waiting[0]
		waiting = waiting[1:]
		return row
	}
}

func (s seeder) conversationRows() func() []any {
	return s.each(func(p person) (rows [][]any) {
		for _, t := range p.conversations {
			first, last := t.messages[0].at, t.messages[len(t.messages)-1].at
			rows = append(rows, []any{t.id, p.id, t.channel, t.status, t.subject, first, last})
		}
		return rows
	})
}

func (s seeder) messageRows() func() []any {
	return s.each(func(p person) (rows [][]any) {
		for _, t := range p.conversations {
			for _, u := range t.messages {
				direction, sender := "outbound", "Support"
				if u.inbound {
					direction, sender = "inbound", p.first+" "+p.last
				}
				rows = append(rows, []any{u.id, t.id, direction, sender, u.content, u.at, u.at})
			}
		}
		return rows
	})
}
