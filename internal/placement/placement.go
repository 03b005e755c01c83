package placement

import (
	"cmp"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"

	"github.com/crmctl/crmctl/internal/registry"
)

// Seen is what one registry says.
type Seen struct {
	registry.Side // of the database; Profile may be ""

	Tenants   []registry.Tenant
	Transfers map[string]registry.Transfer // by the tenant's id
}

// Tenant is where a tenant lives.
type Tenant struct {
	registry.Tenant

	Database int // its index in Placement.Databases
}

// Placement is where all tenants live.
type Placement struct {
	Databases []registry.Side
	Tenants   []Tenant // by their names
}

// Away is a tenant that has gone to a database which was not looked at.
type Away struct {
	Slug string
	To   registry.Side
}

// TwiceError says that two databases have a tenant, or tenants of one name.
type TwiceError struct {
	What  string // `tenant "acme"`
	Where [2]registry.Side
}

// Error names both.
func (e *TwiceError) Error() string {
	return fmt.Sprintf("%s is both in %s and in %s", e.What, Name(e.Where[0]), Name(e.Where[1]))
}

// Name returns what a database is called in a message.
func Name(s registry.Side) string {
	place := Address(s) + "/" + s.Database
	if s.Profile != "" {
		return "profile " + s.Profile + " (" + place + ")"
	}
	return place
}

// Address returns "host:port", or the directory of a socket.
func Address(s registry.Side) string {
	if local(s.Host) {
		return s.Host
	}
	return net.JoinHostPort(s.Host, strconv.Itoa(s.Port))
}

// local reports whether a host is a socket on this machine.
func local(host string) bool {
	return host == "" || strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@")
}

// Find decides where each tenant lives. Deleted ones live nowhere. The error is a *TwiceError.
func Find(seen []Seen) (p Placement, away []Away, err error) {
	type move struct{ tenant, transfer string }
	moved := map[move]bool{}
	living := map[string]bool{} // ids
	for i, s := range seen {
		p.Databases = append(p.Databases, s.Side)
		for _, t := range s.Tenants {
			switch t.Status {
			case registry.Deleted, registry.Incoming:
			case registry.Moved:
				moved[move{t.ID, s.Transfers[t.ID].ID}] = true
			default:
				p.Tenants = append(p.Tenants, Tenant{t, i})
				living[t.ID] = true
			}
		}
	}
	for i, s := range seen {
		for _, t := range s.Tenants { // changed hands, and not opened yet
			if t.Status == registry.Incoming && moved[move{t.ID, s.Transfers[t.ID].ID}] {
				p.Tenants = append(p.Tenants, Tenant{t, i})
				living[t.ID] = true
			}
		}
	}
	for _, s := range seen {
		for _, t := range s.Tenants {
			if t.Status == registry.Moved && !living[t.ID] {
				away = append(away, Away{Slug: t.Slug, To: s.Transfers[t.ID].Side})
			}
		}
	}
	slices.SortStableFunc(p.Tenants, func(a, b Tenant) int { return cmp.Compare(a.Slug, b.Slug) })
	slices.SortFunc(away, func(a, b Away) int { return cmp.Compare(a.Slug, b.Slug) })
	err = p.refuseTwice()
	return p, away, err
}

func (p *Placement) refuseTwice() error {
	at := make(map[string]int, len(p.Tenants))
	for _, t := range p.Tenants {
		if other, twice := at[t.ID]; twice {
			return p.twice("tenant", t.Slug, other, t.Database)
		}
		at[t.ID] = t.Database
	}
	for i, t := range p.Tenants[:max(0, len(p.Tenants)-1)] {
		if next := p.Tenants[i+1]; next.Slug == t.Slug {
			return p.twice("a tenant", t.Slug, t.Database, next.Database)
		}
	}
	return nil
}

func (p *Placement) twice(what, name string, one, other int) error {
	return &TwiceError{What: fmt.Sprintf("%s %q", what, name), Where: [2]registry.Side{p.Databases[one],
		p.Databases[other]}}
}

// ReachBy replaces the address of the database of a profile, for a router that knows it by
// another, and reports whether there is one.
func (p *Placement) ReachBy(profile, host string, port int) bool {
	for i := range p.Databases {
		if p.Databases[i].Profile == profile {
			p.Databases[i].Host, p.Databases[i].Port = host, port
			return true
		}
	}
	return false
}
