package crm

import (
	"context"
	"errors"
	"fmt"

	"github.com/crmctl/crmctl/internal/db"
)

// ErasePerson removes somebody's contacts with their conversations and messages, messages that
// the person has sent in those of others, and what imports and merges keep of them, and
// returns how much that was. Mentions and Others of it are what stays: rows that are about
// others too.
func (w *Writer) ErasePerson(ctx context.Context, a Address) (Held, error) {
	p, err := w.findPerson(ctx, a)
	if err != nil {
		return Held{}, err
	}
	return w.erase(ctx, p)
}

// ErasePersons removes every person for whose address is returns true. It looks at every contact.
func (w *Writer) ErasePersons(ctx context.Context, is func(address string) bool) (Held, error) {
	p := &somebody{Reader: &w.Reader, is: is}
	if err := p.find(ctx); err != nil {
		return Held{}, err
	}
	return w.erase(ctx, p)
}

// ErrStays says that rows of an erased person are still there.
var ErrStays = errors.New("rows stay that were erased: a trigger or a rule of the tenant keeps them")

// erase removes the children first, since not every table has keys that would do it.
func (w *Writer) erase(ctx context.Context, p *somebody) (Held, error) {
	done := Held{Mentions: int64(len(p.mentions))}
	queries := p.selects()
	for _, kind := range []string{"kept", "message", "conversation", "contact"} {
		for _, q := range queries {
			if q.kind != kind {
				continue
			}
			n, err := w.eraseRows(ctx, p, q)
			if err != nil {
				return done, fmt.Errorf("erase from %s: %w", q.table, err)
			}
			*done.of(kind) += n
		}
	}
	for _, q := range queries {
		if q.kind != "other" {
			continue
		}
		n, err := p.count(ctx, q)
		if err != nil {
			return done, err
		}
		done.Others += n
	}
	if done.Erasable() > 0 {
		w.did("contacts", "erase", "")
	}
	return done, nil
}

func (w *Writer) eraseRows(ctx context.Context, p *somebody, q personQuery) (int64, error) {
	var gone int64
	var erase db.Pipeline
	erase.Change(&gone, "delete from "+q.from, q.args...)
	if err := erase.Run(ctx, w.q); err != nil {
		return 0, db.Plain(err)
	}
	left, err := p.count(ctx, q)
	if err == nil && left > 0 {
		err = ErrStays
	}
	return gone, err
}

// EraseWithin is ErasePersons in a transaction that somebody else has begun, as the role that
// it has.
func EraseWithin(ctx context.Context, q db.Querier, schema db.Schema, path db.Path,
	is func(address string) bool) (Held, error) {
	w := &Writer{Reader: Reader{t: &Tenant{o: Options{Schema: schema, Path: path}}, q: q}}
	if err := w.ownPath(ctx, true); err != nil {
		return Held{}, err
	}
	var err error
	if w.t.tables, err = readTables(ctx, q, schema); err != nil {
		return Held{}, err
	}
	if err := w.ownPath(ctx, false); err != nil {
		return Held{}, err
	}
	return w.ErasePersons(ctx, is)
}
