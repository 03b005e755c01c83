package source

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// Kind says what the registry has to do to follow the application.
type Kind string

// Kinds of changes.
const (
	New     Kind = "new"     // a tenant that the registry does not know
	Changed Kind = "changed" // its name, display name, status or schema is another now
	Back    Kind = "back"    // it was gone, and the application names it again
	Lost    Kind = "gone"    // the application does not name it any more
	Waiting Kind = "waiting" // its schema is not there yet
	Refused Kind = "refused" // what the application says of it cannot be followed
)

// Change is one tenant in which the registry and the application differ.
type Change struct {
	Kind Kind
	// To is what the tenant is to be: its slug, display name, schema and status. Of a
	// Refused one, what is known.
	To   registry.Tenant
	From registry.Tenant // what the registry has, the zero Tenant for nothing
	Err  error           // why it is Refused
}

// Known is what the registry has, and which schemas the database has.
type Known struct {
	Tenants []registry.Tenant
	Invalid []registry.InvalidRow
	Exists  func(schema string) bool
	// Own is the schema of the registry, which is no tenant's.
	Own db.Schema
}

// Comparison is what Compare finds.
type Comparison struct {
	Changes []Change
	// Named counts the tenants that the application names, those that are Refused too.
	Named int
	// Living counts the tenants of the registry that were neither deleted nor gone.
	Living int
	// Odd are words for a status that are not known, in order; such a tenant is active.
	Odd []string
}

// Reasons why a row of the application is Refused.
var (
	// ErrRow says that a row alone, or several together, name no tenant.
	ErrRow = errors.New("the application does not name a tenant by it")
	// ErrTaken says that the registry has another tenant of that name.
	ErrTaken = errors.New("belongs to another tenant")
	// ErrDeleted says that the tenant was deleted by somebody while the application names it.
	ErrDeleted = errors.New("was deleted, and the application still names it")
)

// Compare says what the registry has to change so that it has what the application names.
// The order of the changes is one in which they can be made: who gives a name away comes
// before who takes it, and where names go round in a circle one of them is split in two,
// by way of a name that is the tenant's id.
func Compare(rows Rows, known Known) Comparison {
	c := comparing{known: known, hasStatus: rows.HasStatus, schemas: map[string]bool{}, odd: map[string]bool{},
		bySchema: map[string]registry.Tenant{}, bySlug: map[string]registry.Tenant{}, invalid: map[string]string{},
		moved: map[string]bool{}}
	for _, t := range known.Tenants {
		c.bySchema[t.Schema.String()], c.bySlug[t.Slug] = t, t
		if t.Status == registry.Active || t.Status == registry.Suspended {
			c.out.Living++
		}
	}
	for _, r := range known.Invalid {
		c.invalid[r.Schema], c.invalid[r.Slug] = r.Why, r.Why
	}
	named := c.agreed(c.readable(rows.All))
	for _, t := range named {
		c.follow(t)
	}
	c.lost()
	c.out.Changes = inOrder(c.out.Changes, known.Tenants)
	c.out.Odd = slices.Sorted(maps.Keys(c.odd))
	return c.out
}

// OnlyWaiting compares the rows that Differs has found to wait for their schemas. It is
// false where there is more to say of one of them. That no tenant of the registry has one
// of the names is for the caller to look at.
func OnlyWaiting(rows Rows, own db.Schema) (Comparison, bool) {
	c := Compare(rows, Known{Own: own, Exists: func(string) bool { return false }})
	return c, !slices.ContainsFunc(c.Changes, func(ch Change) bool { return ch.Kind != Waiting })
}

type comparing struct {
	known            Known
	hasStatus        bool
	bySchema, bySlug map[string]registry.Tenant
	invalid          map[string]string // why, by schema and by slug
	schemas          map[string]bool   // that the application names, whatever became of the row
	moved            map[string]bool   // schemas that tenants have left
	odd              map[string]bool
	out              Comparison
}

func (c *comparing) refuse(t registry.Tenant, kind, err error) {
	c.out.Changes = append(c.out.Changes, Change{Kind: Refused, To: t, From: c.bySchema[t.Schema.String()],
		Err: fmt.Errorf("%w: %w", kind, err)})
}

// readable returns the rows that name a tenant which is not gone. A row that cannot be
// read still names its schema: the tenant there is not gone.
func (c *comparing) readable(rows []Row) []registry.Tenant {
	var out []registry.Tenant
	for _, r := range rows {
		var t registry.Tenant
		var known bool
		if t.Status, known = StatusOf(r.Status); !known {
			c.odd[*r.Status] = true
		}
		if t.Status == registry.Gone {
			continue
		}
		c.out.Named++
		if r.Schema != nil {
			c.schemas[*r.Schema] = true
		}
		t.DisplayName = strings.Trim(text(r.DisplayName), " ")
		if err := c.read(&t, r); err != nil {
			if slug, slugErr := registry.Slug(t.Slug); slugErr == nil && r.Schema == nil {
				c.schemas[c.bySlug[slug].Schema.String()] = true // it is still named
			}
			c.refuse(t, ErrRow, err)
			continue
		}
		out = append(out, t)
	}
	return out
}

// read takes the names of a row.
func (c *comparing) read(t *registry.Tenant, r Row) (err error) {
	t.Slug = text(r.Slug)
	switch {
	case r.Schema == nil && r.Slug == nil:
		return errors.New("slug and schema are null")
	case r.Schema == nil:
		return errors.New("schema is null")
	}
	schema, schemaErr := db.RegisteredSchema(*r.Schema)
	t.Schema = schema
	switch {
	case r.Slug == nil:
		return fmt.Errorf("the slug of schema %q is null", *r.Schema)
	case schemaErr != nil:
		return schemaErr
	case schema == c.known.Own:
		return fmt.Errorf("schema %s is the registry's", schema)
	case db.IsPoolName(schema.String()):
		return fmt.Errorf("schema %s is one of the pool of schemas for new tenants", schema)
	}
	t.Slug, err = registry.Slug(*r.Slug)
	return err
}

func text(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// agreed returns each tenant once. Rows that say the same are one; rows that give one
// schema two names, or one name two schemas, are none of them followed.
func (c *comparing) agreed(rows []registry.Tenant) []registry.Tenant {
	bySchema, bySlug := map[string][]string{}, map[string][]string{}
	first := map[[2]string]int{}
	var once []registry.Tenant
	for _, t := range rows {
		key := [2]string{t.Slug, t.Schema.String()}
		if i, twice := first[key]; twice {
			if t.Status == registry.Active {
				once[i].Status = registry.Active
			}
			once[i].DisplayName = cmp.Or(once[i].DisplayName, t.DisplayName)
			continue
		}
		first[key] = len(once)
		once = append(once, t)
		bySchema[key[1]], bySlug[key[0]] = append(bySchema[key[1]], key[0]), append(bySlug[key[0]], key[1])
	}
	return slices.DeleteFunc(once, func(t registry.Tenant) bool {
		slugs, schemas := bySchema[t.Schema.String()], bySlug[t.Slug]
		switch {
		case len(slugs) > 1:
			c.refuse(t, ErrRow, fmt.Errorf("schema %s is named for %s", t.Schema, strings.Join(slugs, ", ")))
		case len(schemas) > 1:
			c.refuse(t, ErrRow, fmt.Errorf("slug %q is named for the schemas %s", t.Slug, strings.Join(schemas, ", ")))
		default:
			return false
		}
		return true
	})
}

// follow decides about one tenant that the application names.
func (c *comparing) follow(t registry.Tenant) {
	from, registered := c.bySchema[t.Schema.String()]
	if why := cmp.Or(c.invalid[t.Schema.String()], c.invalid[t.Slug]); why != "" {
		c.refuse(t, registry.ErrInvalidRow, errors.New(why))
		return
	}
	if !registered {
		c.take(t)
		return
	}
	to := from
	to.Slug = t.Slug
	if t.DisplayName != "" {
		to.DisplayName = t.DisplayName
	}
	kind := Changed
	switch {
	case from.Status == registry.Deleted:
		c.refuse(t, ErrDeleted, fmt.Errorf("schema %s is kept until it is purged", from.Schema))
		return
	case from.Status == registry.Gone:
		kind = Back
		to.Status = c.returned(t, from)
	case c.hasStatus:
		to.Status = t.Status
	}
	c.change(kind, from, to)
}

// returned is the status of a tenant that is named again.
func (c *comparing) returned(t, from registry.Tenant) registry.Status {
	if !c.hasStatus && from.DeletedFrom != "" {
		return from.DeletedFrom
	}
	return t.Status
}

// take decides about a schema that the registry does not know.
func (c *comparing) take(t registry.Tenant) {
	holder, held := c.bySlug[t.Slug]
	switch {
	case !c.known.Exists(t.Schema.String()):
		c.out.Changes = append(c.out.Changes, Change{Kind: Waiting, To: t})
	case !held, c.schemas[holder.Schema.String()]: // who holds it has another name now, or is refused itself
		c.out.Changes = append(c.out.Changes, Change{Kind: New, To: t})
	case holder.Status == registry.Deleted:
		c.refuse(t, ErrTaken, fmt.Errorf("slug %q is that of a tenant that was deleted", t.Slug))
	case c.known.Exists(holder.Schema.String()):
		c.refuse(t, ErrTaken, fmt.Errorf("slug %q is that of schema %s, which is still there", t.Slug, holder.Schema))
	default: // the schema has another name now
		to := holder
		to.Schema, to.DisplayName = t.Schema, cmp.Or(t.DisplayName, holder.DisplayName)
		kind := Changed
		if holder.Status == registry.Gone {
			kind, to.Status = Back, c.returned(t, holder)
		} else if c.hasStatus {
			to.Status = t.Status
		}
		c.moved[holder.Schema.String()] = true
		c.change(kind, holder, to)
	}
}

func (c *comparing) change(kind Kind, from, to registry.Tenant) {
	if kind == Back {
		to.DeletedFrom = ""
	}
	if kind == Back || from.Slug != to.Slug || from.DisplayName != to.DisplayName || from.Status != to.Status ||
		from.Schema != to.Schema {
		c.out.Changes = append(c.out.Changes, Change{Kind: kind, To: to, From: from})
	}
}

// lost adds the tenants that the application does not name.
func (c *comparing) lost() {
	for _, t := range c.known.Tenants {
		if t.Status != registry.Active && t.Status != registry.Suspended || c.schemas[t.Schema.String()] ||
			c.moved[t.Schema.String()] {
			continue
		}
		to := t
		to.Status, to.DeletedFrom = registry.Gone, t.Status
		c.out.Changes = append(c.out.Changes, Change{Kind: Lost, To: to, From: t})
	}
}

// MayLose is how many tenants may be gone at once: one, or one in twenty.
func MayLose(living int) int { return max(1, living/20) }

// LossError says that more tenants would be gone at once than may be.
type LossError struct {
	Gone, Living int
	May          int
	Empty        bool // the application names no tenant at all
}

// Error gives the numbers.
func (e *LossError) Error() string {
	if e.Empty {
		return fmt.Sprintf("the query for the tenants names none, and the registry has %d: nothing was changed", e.Living)
	}
	return fmt.Sprintf("%d of %d tenants would be gone at once, and at most %d may: nothing was changed", e.Gone,
		e.Living, e.May)
}

// CheckLoss returns a *LossError where more tenants than may would be gone, or all.
func (c Comparison) CheckLoss(may int) error {
	lost := 0
	for _, ch := range c.Changes {
		if ch.Kind == Lost {
			lost++
		}
	}
	empty := c.Named == 0 && lost > 0
	if empty || lost > may {
		return &LossError{Gone: lost, Living: c.Living, May: may, Empty: empty}
	}
	return nil
}
