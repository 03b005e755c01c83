package stats

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/cluster"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// Mode is how sizes are found.
type Mode int

const (
	// Auto measures a fleet of up to exactUpTo tenants and estimates a larger one.
	Auto Mode = iota
	// Exact asks the server for the size of every relation's files: about a
	// millisecond a tenant.
	Exact
	// Estimate adds up the pages that pg_class tells of since each relation was
	// last vacuumed, analyzed or indexed: one query, whatever the fleet's size.
	Estimate
)

// exactUpTo is the size of a fleet that is measured within about half a second.
const exactUpTo = 500

// SizeOptions say whose sizes are wanted, and how they are found. The zero value
// means every tenant, and Auto.
type SizeOptions struct {
	Registry registry.Registry
	Mode     Mode
	Slugs    []string // nil = every tenant; empty but not nil = none
	Statuses []string // none = every status

	// NoGrowth leaves out the comparison with samples.
	NoGrowth bool

	// Timeout bounds the statement that finds the tenants where it is less than a minute, and
	// with it an estimate; 0 for none.
	Timeout time.Duration

	// Dial, if not nil, opens further connections to measure on. A server process
	// keeps in memory what it has looked at, 80 kB a tenant, so one connection is
	// used for a few hundred tenants only. Without Dial all is done on one.
	Dial func(ctx context.Context) (*pgx.Conn, error)
	// Measured, if not nil, is called now and then with the number of tenants
	// measured so far and of all to be measured.
	Measured func(done, total int)
}

// TenantSize is what one tenant takes.
type TenantSize struct {
	ID     string // uuid
	Slug   string
	Status string
	Known  bool   // false when the schema is gone; the sizes mean nothing then
	Exact  bool   // measured; false for an estimate
	Node   string // "host:port" where a cluster keeps it, "" here

	schema string

	TableBytes int64 // with TOAST, the index of TOAST, and the maps of free and visible pages
	IndexBytes int64
	Contacts   *int64  // rows of the table contacts, estimated; nil when unknown
	Growth     *Growth // nil when there is nothing to compare with
}

// TotalBytes is what pg_total_relation_size says, summed over the schema.
func (s TenantSize) TotalBytes() int64 { return s.TableBytes + s.IndexBytes }

// Growth is how much larger a tenant is than it was.
type Growth struct {
	Bytes int64     // less than 0 when it shrank
	Since time.Time // of the sample it is compared with: 30 days ago, or later where there is none so old
}

// Report is the answer of Sizes.
type Report struct {
	At      time.Time // when, by the server's clock
	Mode    Mode      // Exact or Estimate
	Tenants []TenantSize
	// History reports whether there is a sample to compare any of them with.
	History bool
	// Missing are the wanted slugs that the registry does not know.
	Missing []string
}

// Totals are sums over tenants.
type Totals struct {
	Tenants    int
	Unknown    int // of them without a size, which the sums leave out
	Estimated  int // of them estimated
	TableBytes int64
	IndexBytes int64
}

// TotalBytes is the sum over tables and indexes.
func (t Totals) TotalBytes() int64 { return t.TableBytes + t.IndexBytes }

// Sum adds tenants up.
func Sum(tenants []TenantSize) Totals {
	sum := Totals{Tenants: len(tenants)}
	for _, t := range tenants {
		switch {
		case !t.Known:
			sum.Unknown++
			continue
		case !t.Exact:
			sum.Estimated++
		}
		sum.TableBytes += t.TableBytes
		sum.IndexBytes += t.IndexBytes
	}
	return sum
}

// Top returns the n largest tenants and the sums over the rest; 0 means all.
func (r Report) Top(n int) (top []TenantSize, rest Totals) {
	if n <= 0 || n > len(r.Tenants) {
		n = len(r.Tenants)
	}
	return r.Tenants[:n], Sum(r.Tenants[n:])
}

// Sizes returns what each tenant takes, the largest first, those of unknown size
// last. q must not be in a transaction. Estimates cost two round trips, exact
// sizes one more for a hundred tenants.
//
// The tables of a schema are measured in statements of at most chunkSize tenants
// each. A tenant whose table somebody has locked away, as a migration does, is
// estimated.
func Sizes(ctx context.Context, q db.Querier, o SizeOptions) (Report, error) {
	r := Report{Mode: o.Mode}
	var err error
	if o.Mode == Auto {
		if r.Mode, err = choose(ctx, q, o); err != nil {
			return Report{}, fmt.Errorf("count the tenants: %w", err)
		}
	}
	if r.Mode == Exact {
		r.At, r.Tenants, err = measure(ctx, q, o)
	} else {
		r.At, r.Tenants, err = estimate(ctx, q, o)
	}
	if err == nil {
		err = r.addNodes(ctx, q)
	}
	if err != nil {
		return Report{}, err
	}
	if !o.NoGrowth {
		if err := r.addGrowth(ctx, q, o); err != nil {
			return Report{}, err
		}
	}
	r.Missing = missing(o.Slugs, r.Tenants)
	slices.SortFunc(r.Tenants, func(a, b TenantSize) int {
		switch {
		case a.Known != b.Known && a.Known:
			return -1
		case a.Known != b.Known:
			return 1
		}
		return cmp.Or(cmp.Compare(b.TotalBytes(), a.TotalBytes()), cmp.Compare(a.Slug, b.Slug))
	})
	return r, nil
}

// addNodes replaces the sizes of tenants that stand on nodes of a cluster by what they
// take there. Where a node does not answer they are unknown.
func (r *Report) addNodes(ctx context.Context, q db.Querier) error {
	places, err := cluster.FindPlaces(ctx, q)
	if err != nil || len(places) == 0 {
		return err
	}
	sizes, err := cluster.Sizes(ctx, q)
	for i := range r.Tenants {
		t := &r.Tenants[i]
		place := places.Of(t.schema)
		if place.Kind != cluster.Distributed || !t.Known {
			continue
		}
		size, told := sizes[t.schema]
		t.Known, t.Exact, t.Node = told || place.Node == "", true, place.Node
		t.TableBytes, t.IndexBytes, t.Contacts = size.TableBytes, size.IndexBytes, nil
		if size.Contacts != nil {
			rows := int64(*size.Contacts)
			t.Contacts = countOrNil(&rows)
		}
	}
	return err
}

// selected is the condition that the options put on a tenant t; its
// parameters come from args.
const selected = `(not $1::bool or t.slug = any ($2::text[]))
	and (cardinality($3::text[]) = 0 or t.status = any ($3::text[]))`

func (o SizeOptions) args() []any {
	return []any{o.Slugs != nil, nonNil(o.Slugs), nonNil(o.Statuses)}
}

func choose(ctx context.Context, q db.Querier, o SizeOptions) (Mode, error) {
	if o.Slugs != nil && len(o.Slugs) <= exactUpTo {
		return Exact, nil
	}
	var n int64
	err := glance(ctx, q, func(p *db.Pipeline) {
		p.QueryRow([]any{&n}, `select count(*) from `+o.Registry.Tenants()+` t where `+selected, o.args()...)
	})
	if err != nil {
		return Auto, err
	}
	if n <= exactUpTo {
		return Exact, nil
	}
	return Estimate, nil
}

// missing returns the wanted slugs that are not among the tenants, in the order
// they were asked for.
func missing(wanted []string, tenants []TenantSize) []string {
	there := make(map[string]bool, len(tenants))
	for _, t := range tenants {
		there[t.Slug] = true
	}
	var out []string
	for _, slug := range wanted {
		if !there[slug] {
			out = append(out, slug)
			there[slug] = true
		}
	}
	return out
}

func nonNil(s []string) []string {
	if s == nil {
		return []string{}
	}
	return s
}
