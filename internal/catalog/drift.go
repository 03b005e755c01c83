package catalog

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/fleet"
)

// Tenant is one of the fleet to be compared.
type Tenant struct {
	Slug string
	Target

	// Version is what its schema is at: it is compared with the shape of that
	// version.
	Version int64
}

// DriftOptions say what to compare with, and how.
type DriftOptions struct {
	Options

	// Dial opens connections as the program does.
	Dial func(ctx context.Context) (*pgx.Conn, error)
	// Concurrency is the number of connections at the most; 0 means the default
	// of package fleet.
	Concurrency int
	// Expect returns the script that makes an empty schema one of a version. Its
	// error is that of the tenants at this version.
	Expect func(version int64) ([]db.Statement, error)
	// Others are tables of other programs: a schema that has one and is otherwise as
	// expected is clean.
	Others []string
	// Accepted has, by slug, the differences that are wanted.
	Accepted map[string][]Acceptance
	// Versions, if not nil, returns the versions that tenants are at now. A tenant
	// that differs is looked up once more: it may have been migrated meanwhile.
	Versions func(ctx context.Context, slugs []string) (map[string]int64, error)
	// Compared, if not nil, is called now and then, by several goroutines, with the
	// number of tenants read since the last call.
	Compared func(n int)
}

// Group is tenants of one version that have the same shape, which is not the
// expected one.
type Group struct {
	Version     int64
	Fingerprint Fingerprint
	Tenants     []Tenant
	Differences []Difference
	// All has what belongs to a table that is missing or extra as a whole too.
	All []Difference

	want, got *Shape
}

// Fix returns how to mend the group's tenants.
func (g Group) Fix() Fix { return Mend(g.want, g.got) }

// Unread is a tenant that was not compared, and why. The error wraps ErrNoSchema,
// ErrLocked or what Expect returned for its version.
type Unread struct {
	Tenant

	Err error
}

// Drift is what came out of a comparison.
type Drift struct {
	Tenants int // all that were to be compared
	Clean   int // those as they should be
	Wanted  int // those that differ in what is accepted alone
	// Expected has the fingerprint of each version that occurred.
	Expected map[int64]Fingerprint
	Groups   []Group          // the largest first
	Accepted []AcceptedTenant // those that differ in something that is accepted
	Missing  []Tenant         // their schemas are not there
	Unread   []Unread
}

// Differing returns the number of tenants in groups.
func (d Drift) Differing() int {
	n := 0
	for _, g := range d.Groups {
		n += len(g.Tenants)
	}
	return n
}

// Compare reads the fingerprints of tenants, a hundred in a statement, and
// compares each with the shape of its version. Of those that differ in the same
// way one shape is read.
func Compare(ctx context.Context, tenants []Tenant, o DriftOptions) (Drift, error) {
	c := comparison{DriftOptions: o, expected: map[int64]*Shape{}, prints: map[int64]Fingerprint{},
		refused: map[int64]error{}}
	conn, err := o.Dial(ctx)
	if err != nil {
		return Drift{}, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	c.conn = conn
	drift := Drift{Tenants: len(tenants), Expected: c.prints}
	if err := c.expect(ctx, tenants); err != nil {
		return drift, err
	}
	readings, err := c.read(ctx, tenants)
	if err != nil {
		return drift, err
	}
	tenants = slices.Clone(tenants)
	if err := c.again(ctx, tenants, readings); err != nil {
		return drift, err
	}
	err = c.explain(ctx, &drift, c.sort(&drift, tenants, readings))
	return drift, err
}

// comparison is one call of Compare.
type comparison struct {
	DriftOptions

	conn     *pgx.Conn
	expected map[int64]*Shape
	prints   map[int64]Fingerprint // of expected
	refused  map[int64]error       // what Expect returned
}

// expect builds the shapes of the versions that occur.
func (c *comparison) expect(ctx context.Context, tenants []Tenant) error {
	for _, t := range tenants {
		if c.expected[t.Version] != nil || c.refused[t.Version] != nil {
			continue
		}
		script, err := c.Expect(t.Version)
		if err != nil {
			c.refused[t.Version] = err
			continue
		}
		if c.expected[t.Version], err = Build(ctx, c.conn, script, c.Options); err != nil {
			return fmt.Errorf("version %d: %w", t.Version, err)
		}
		c.prints[t.Version] = c.expected[t.Version].Fingerprint()
	}
	return nil
}

// read fingerprints the tenants over several connections.
func (c *comparison) read(ctx context.Context, tenants []Tenant) ([]Reading, error) {
	readings := make([]Reading, len(tenants))
	chunks := (len(tenants) + chunkSize - 1) / chunkSize
	// A backend keeps what it has looked at; fleet counts in items, which are
	// chunks here.
	run := fleet.Options{Concurrency: c.Concurrency, Weight: chunkSize, RecycleAfter: max(1,
		fleet.DefaultRecycleAfter/chunkSize)}
	results, err := fleet.Run(ctx, c.Dial, chunks, run, func(ctx context.Context, conn *pgx.Conn, i int) error {
		chunk := tenants[i*chunkSize : min((i+1)*chunkSize, len(tenants))]
		targets := make([]Target, len(chunk))
		for j, t := range chunk {
			targets[j] = t.Target
		}
		got, err := Fingerprints(ctx, conn, targets, c.Options)
		if err == nil {
			copy(readings[i*chunkSize:], got)
			if c.Compared != nil {
				c.Compared(len(chunk))
			}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	for _, r := range results {
		if r.State != fleet.Done {
			return nil, r.Err
		}
	}
	return readings, nil
}

// differs reports whether a tenant that was read is not as it should be.
func (c *comparison) differs(t Tenant, r Reading) bool {
	want, known := c.prints[t.Version]
	return known && r.Err == nil && r.Fingerprint != want
}

// again takes a second look at tenants that differ and are at another version
// now: they were migrated while they were read.
func (c *comparison) again(ctx context.Context, tenants []Tenant, readings []Reading) error {
	if c.Versions == nil {
		return nil
	}
	var slugs []string
	for i, t := range tenants {
		if c.differs(t, readings[i]) {
			slugs = append(slugs, t.Slug)
		}
	}
	if len(slugs) == 0 {
		return nil
	}
	versions, err := c.Versions(ctx, slugs)
	if err != nil {
		return err
	}
	var moved []int
	var late []Tenant
	for i, t := range tenants {
		if v, ok := versions[t.Slug]; ok && v != t.Version && c.differs(t, readings[i]) {
			tenants[i].Version = v
			moved, late = append(moved, i), append(late, tenants[i])
		}
	}
	if len(moved) == 0 {
		return nil
	}
	if err := c.expect(ctx, late); err != nil {
		return err
	}
	fresh, err := c.read(ctx, late)
	for j, i := range moved {
		if err == nil {
			readings[i] = fresh[j]
		}
	}
	return err
}

// shapeKey tells groups apart.
type shapeKey struct {
	version     int64
	fingerprint Fingerprint
}

// sort puts every tenant where it belongs.
func (c *comparison) sort(drift *Drift, tenants []Tenant, readings []Reading) map[shapeKey][]Tenant {
	groups := map[shapeKey][]Tenant{}
	for i, t := range tenants {
		r := readings[i]
		switch {
		case errors.Is(r.Err, ErrNoSchema):
			drift.Missing = append(drift.Missing, t)
		case r.Err != nil:
			drift.Unread = append(drift.Unread, Unread{t, r.Err})
		case c.refused[t.Version] != nil:
			drift.Unread = append(drift.Unread, Unread{t, c.refused[t.Version]})
		case c.differs(t, r):
			k := shapeKey{t.Version, r.Fingerprint}
			groups[k] = append(groups[k], t)
		default:
			drift.Clean++
		}
	}
	return groups
}

// explain reads one shape of each group and says how it differs.
func (c *comparison) explain(ctx context.Context, drift *Drift, groups map[shapeKey][]Tenant) error {
	for k, tenants := range groups {
		got, err := c.representative(ctx, k, tenants)
		switch {
		case errors.Is(err, ErrLocked), errors.Is(err, ErrChanging):
			for _, t := range tenants {
				drift.Unread = append(drift.Unread, Unread{t, err})
			}
			continue
		case err != nil:
			return err
		}
		c.split(drift, k, tenants, c.expected[k.version], got)
	}
	slices.SortFunc(drift.Accepted, func(a, b AcceptedTenant) int { return cmp.Compare(a.Slug, b.Slug) })
	slices.SortFunc(drift.Groups, func(a, b Group) int {
		return cmp.Or(cmp.Compare(len(b.Tenants), len(a.Tenants)), cmp.Compare(a.Tenants[0].Slug, b.Tenants[0].Slug))
	})
	return nil
}

// ours leaves out what is extra and another program's: its tables, and the sequences of
// their numbers.
func (c *comparison) ours(differences []Difference) []Difference {
	if len(c.Others) == 0 {
		return differences
	}
	others := func(name string) bool {
		name = name[strings.LastIndexByte(name, ' ')+1:] // the owner of "table x"
		return slices.ContainsFunc(c.Others, func(table string) bool {
			return name == table || strings.HasPrefix(name, table+"_") && strings.HasSuffix(name, "_seq")
		})
	}
	return slices.DeleteFunc(differences, func(d Difference) bool {
		return d.Change == Extra && (others(d.Object.Name) || others(d.Object.Parent))
	})
}

// representative reads the shape of a group from the first of its tenants that
// still has it and is not locked.
func (c *comparison) representative(ctx context.Context, k shapeKey, tenants []Tenant) (*Shape, error) {
	const tries = 5
	failed := ErrChanging
	for _, t := range tenants[:min(tries, len(tenants))] {
		shape, err := Read(ctx, c.conn, t.Target, c.Options)
		switch {
		case err == nil && shape.Fingerprint() == k.fingerprint:
			return shape, nil
		case err == nil, errors.Is(err, ErrChanging), errors.Is(err, ErrNoSchema):
		case errors.Is(err, ErrLocked):
			failed = err
		default:
			return nil, err
		}
	}
	return nil, failed
}
