package crm

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Segment is a part of a snippet.
type Segment struct {
	Text string
	Hit  bool // it is one of the words that were searched for
}

// Hit is a message that was found.
type Hit struct {
	Message // its Content is empty

	Rank    float64   // the higher the better
	Snippet []Segment // of the content, around the words
}

// Hits are the messages that were found, the best first.
type Hits struct {
	Rows []Hit
	// Ranked is how many messages were compared. Partial tells that more than those may
	// have the words: of very many only some, the newer ones rather, are compared.
	Ranked  int
	Partial bool
}

const (
	// sampled is about how many messages are looked at where very many have the words,
	// ranked how many of them are compared, the newest.
	sampled = 600
	ranked  = 100
	// searched is how many characters of a message are ranked and shown: the words of a
	// message of megabytes take seconds to be found again.
	searched = 20_000
	// MaxHits is how many messages a search returns at most.
	MaxHits = ranked
)

// The marks of a hit in a snippet are characters for private use, of which the content is
// rid before.
const (
	hitBegins = "\uE000"
	hitEnds   = "\uE001"
)

// SearchMessages returns up to limit messages that have the words of a text, as people type
// it: "a phrase", or, -without. The words are those of English, as in the index.
//
// The index is asked for all messages with the words. Where one word is in very many, the
// server may leave some out (gin_fuzzy_search_limit); which of several words stand
// together must not be left to chance, so there it never does.
func (r *Reader) SearchMessages(ctx context.Context, text string, limit int) (Hits, error) {
	m, err := r.messages("created_at")
	if err != nil {
		return Hits{}, err
	}
	if !storable(text) {
		return Hits{}, &InvalidError{Field: "words", Reason: "not text in UTF-8"}
	}
	if limit <= 0 {
		limit = DefaultLimit
	}
	var nodes int
	var p db.Pipeline
	p.QueryRow([]any{&nodes}, "select pg_catalog.numnode("+tsquery+")", text)
	p.Exec(`select pg_catalog.set_config('gin_fuzzy_search_limit', case when pg_catalog.numnode(`+tsquery+
		`) operator(pg_catalog.=) 1 then $2::pg_catalog.text else '0' end, true)`, text, strconv.Itoa(sampled))
	if err := p.Run(ctx, r.q); err != nil {
		return Hits{}, db.Plain(err)
	}
	if nodes == 0 {
		return Hits{}, &InvalidError{Field: "words", Value: text, Reason: "no word that can be searched for"}
	}
	return r.rankedHits(ctx, m, text, min(limit, MaxHits))
}

// tsquery is what is searched for, $1 as people type it.
const tsquery = "pg_catalog.websearch_to_tsquery('pg_catalog.english'::pg_catalog.regconfig, $1::pg_catalog.text)"

// searchSQL finds messages m of the table %[1]s. $2 is how many are looked at, $3 how many are
// compared, $4 how many are returned; %[2]s are the columns.
const searchSQL = `
with alike as materialized (
	select m.id, m.created_at from %[1]s m
	where pg_catalog.to_tsvector('pg_catalog.english'::pg_catalog.regconfig, m.content) operator(pg_catalog.@@) ` +
	tsquery + ` limit $2
), newest as materialized (
	select s.id from alike s order by s.created_at desc limit $3
), best as materialized (
	select m.id, pg_catalog.ts_rank(pg_catalog.to_tsvector('pg_catalog.english'::pg_catalog.regconfig,
		pg_catalog.left(m.content, %[3]d)), ` + tsquery + `) as rank
	from newest n join %[1]s m on m.id operator(pg_catalog.=) n.id
	order by 2 desc, m.created_at desc, m.id limit $4
)
select %[2]s, b.rank::pg_catalog.float8, pg_catalog.ts_headline('pg_catalog.english'::pg_catalog.regconfig,
	pg_catalog.translate(pg_catalog.left(m.content, %[3]d), $5, ''), ` + tsquery + `, $6),
	(select pg_catalog.count(*) from alike), (select pg_catalog.count(*) from newest)
from best b join %[1]s m on m.id operator(pg_catalog.=) b.id order by b.rank desc, m.created_at desc, m.id`

func (r *Reader) rankedHits(ctx context.Context, m table, text string, limit int) (Hits, error) {
	var out Hits
	sql := strings.NewReplacer("%[1]s", m.name, "%[2]s", messageColumns(m, 1), "%[3]d", strconv.Itoa(searched)).
		Replace(searchSQL)
	options := `StartSel="` + hitBegins + `", StopSel="` + hitEnds + `", MaxWords=25, MinWords=10, MaxFragments=2, ` +
		`FragmentDelimiter=" ... "`
	found := 0
	rows, err := collect(ctx, r.q, func(row pgx.CollectableRow) (Hit, error) {
		var h Hit
		var created *time.Time
		var snippet string
		err := row.Scan(append(messageFields(&h.Message, &created), &h.Rank, &snippet, &found, &out.Ranked)...)
		h.CreatedAt, h.Content, h.Snippet = orZero(created), "", segments(snippet)
		return h, err
	}, sql, text, sampled, ranked, limit, hitBegins+hitEnds, options)
	out.Rows, out.Partial = rows, found > out.Ranked
	return out, err
}

// segments cuts a snippet at the marks.
func segments(snippet string) []Segment {
	var out []Segment
	add := func(text string, hit bool) {
		if text != "" {
			out = append(out, Segment{text, hit})
		}
	}
	for snippet != "" {
		plain, rest, found := strings.Cut(snippet, hitBegins)
		add(plain, false)
		if !found {
			break
		}
		hit, after, _ := strings.Cut(rest, hitEnds)
		add(hit, true)
		snippet = after
	}
	return out
}
