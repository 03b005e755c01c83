package crm

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"strconv"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
)

// Rule says why contacts are taken for the same.
type Rule string

// The rules, the surest first. A contact is in the group of the first rule that finds it
// another.
const (
	// ByAddress: the addresses differ by what follows a plus, or at Gmail by dots.
	ByAddress Rule = "address"
	ByPhone   Rule = "phone" // the same number
	ByName    Rule = "name"  // the same name at the same company
)

// Rules returns all rules.
func Rules() []Rule { return []Rule{ByAddress, ByPhone, ByName} }

// Confidence says how sure it is that contacts are the same.
type Confidence string

// The degrees of confidence.
const (
	High   Confidence = "high"
	Medium Confidence = "medium"
	Low    Confidence = "low" // so many share it that it may be a switchboard, or a placeholder
)

// Confidences returns the degrees, the highest first.
func Confidences() []Confidence { return []Confidence{High, Medium, Low} }

const (
	// crowd is how many contacts of a group make it less sure.
	crowd = 5
	// maxGroup is how many contacts a group has at most: more are no doubles.
	maxGroup = 100
)

// DoublesQuery says which doubles are wanted.
type DoublesQuery struct {
	Rules []Rule     // nil for all
	Least Confidence // "" for Medium
}

// Double is a contact of a group of likely doubles.
type Double struct {
	Contact

	Group      int64 // of one answer, from 1
	Rule       Rule
	Confidence Confidence
	Keep       bool // the fullest of the group, of those the oldest: into which the others are merged
}

// doublesColumns are those that contacts need to be compared and merged.
var doublesColumns = []string{"email", "phone", "name", "company", "metadata", "created_at", "updated_at"}

// doublesSQL returns the likely doubles: grp, rule, confidence, rank within the group and
// id. It is one pass with three sorts, whose memory is the server's work_mem. $1 are the
// rules, $2 the degrees of confidence that are wanted.
func doublesSQL(t table) string {
	return strings.NewReplacer("{contacts}", t.name, "{crowd}", strconv.Itoa(crowd), "{most}", strconv.Itoa(maxGroup)).
		Replace(`
with parts as (
	select c.id, c.created_at, c.phone, lower(btrim(c.name)) as person, lower(btrim(c.company)) as firm,
		split_part(split_part(lower(c.email), '@', 1), '+', 1) as local, split_part(lower(c.email), '@', 2) as domain,
		(c.email is not null)::int4 + (c.phone is not null)::int4 + (c.name is not null)::int4
			+ (c.company is not null)::int4 + (select count(*) from jsonb_object_keys(c.metadata)) as filled
	from {contacts} c
), keys as (
	select p.id, p.created_at, p.filled, p.person,
		case when p.local <> '' and 'address' = any ($1::text[]) then case
			when p.domain in ('gmail.com', 'googlemail.com') then replace(p.local, '.', '') || '@gmail.com'
			else p.local || '@' || p.domain end::pg_catalog.text end as address,
		case when 'phone' = any ($1::text[]) and p.phone ~ '^[+0-9][-0-9 ()/.]{5,}$' then p.phone end as phone,
		case when 'name' = any ($1::text[]) and p.person <> '' and p.firm <> '' then p.person || chr(31) || p.firm end as name
	from parts p
), one as (
	select k.*, k.address is not null and count(*) over (partition by k.address) > 1 as by_address from keys k
), two as (
	select o.*, o.phone is not null and not o.by_address
		and count(*) over (partition by o.phone, o.by_address) > 1 as by_phone from one o
), three as (
	select t.*, t.name is not null and not t.by_address and not t.by_phone
		and count(*) over (partition by t.name, t.by_address or t.by_phone) > 1 as by_name from two t
), found as (
	select t.id, t.created_at, t.filled, t.person,
		case when t.by_address then 1 when t.by_phone then 2 else 3 end as rule,
		case when t.by_address then t.address when t.by_phone then t.phone else t.name end as key
	from three t where t.by_address or t.by_phone or t.by_name
), sized as (
	select f.*, count(*) over w as size, min(f.person) over w as least, max(f.person) over w as most,
		row_number() over (partition by f.rule, f.key order by f.filled desc, f.created_at, f.id) as rank
	from found f window w as (partition by f.rule, f.key)
), judged as (
	select s.*, case when s.size > {crowd} then 'low' when s.rule = 1 then 'high'
		when s.rule = 2 and s.least = s.most then 'high' else 'medium' end as confidence
	from sized s where s.size <= {most}
)
select dense_rank() over (order by j.rule, j.key collate "C") as grp,
	(array['address', 'phone', 'name'])[j.rule] as rule, j.confidence, j.rank, j.id
from judged j where j.confidence = any ($2::text[])`)
}

// args are $1 and $2 of doublesSQL.
func (o DoublesQuery) args() []any {
	rules, degrees := []string{}, []string{}
	for _, r := range Rules() {
		if len(o.Rules) == 0 || slices.Contains(o.Rules, r) {
			rules = append(rules, string(r))
		}
	}
	least := o.Least
	if least == "" {
		least = Medium
	}
	for _, c := range Confidences() {
		degrees = append(degrees, string(c))
		if c == least {
			break
		}
	}
	return []any{rules, degrees}
}

// Doubles gives the likely doubles, group by group, the one to be kept first. They are not
// held in memory.
func (r *Reader) Doubles(ctx context.Context, o DoublesQuery) iter.Seq2[Double, error] {
	return func(yield func(Double, error) bool) {
		t, err := r.contacts(doublesColumns...)
		if err != nil {
			yield(Double{}, err)
			return
		}
		rows, err := r.q.Query(ctx, "with d as materialized ("+doublesSQL(t)+") select "+contactColumns(t)+
			", d.grp, d.rule, d.confidence, d.rank = 1 from d join "+t.name+" c on c.id = d.id order by d.grp, d.rank",
			o.args()...)
		if err != nil {
			yield(Double{}, err)
			return
		}
		defer rows.Close()
		for rows.Next() {
			var d Double
			d.Contact, err = scanContact(beside{rows, []any{&d.Group, &d.Rule, &d.Confidence, &d.Keep}})
			if err != nil || !yield(d, nil) {
				break
			}
		}
		rows.Close()
		if err == nil {
			err = rows.Err()
		}
		if err != nil {
			yield(Double{}, fmt.Errorf("look for doubles: %w", err))
		}
	}
}

// beside scans more columns than are asked for.
type beside struct {
	pgx.CollectableRow

	more []any
}

func (r beside) Scan(dest ...any) error { return r.CollectableRow.Scan(append(dest, r.more...)...) }

// ownPath takes the tenant's schema off the path, or puts it back.
func (w *Writer) ownPath(ctx context.Context, own bool) error {
	var p db.Pipeline
	if own {
		p.OwnPath()
	} else {
		p.StandIn(w.t.o.Schema, w.t.o.Path)
	}
	return db.Plain(p.Run(ctx, w.q))
}
