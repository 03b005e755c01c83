package stats

import (
	"cmp"
	"slices"
	"time"
)

// TenantConnections are the connections of a tenant, or of all that are nobody's (Whose
// is Unknown) or several tenants' (Several).
type TenantConnections struct {
	Tenant string
	Whose  Whose // ByLocks, ByApplication or ByRole where a tenant is known: the most trusted of them

	Connections   int
	Active        int // a statement is under way
	Idle          int
	InTransaction int // idle in a transaction
	Hidden        int // the server keeps from this role what they do
	Waiting       int // for a lock

	Oldest             time.Duration // how long ago the first of them connected
	LongestIdle        time.Duration
	LongestTransaction time.Duration
}

func (c *TenantConnections) add(s Session) {
	c.Connections++
	switch {
	case s.Hidden:
		c.Hidden++
	case s.IsRunning():
		c.Active++
	case s.IsInTransaction():
		c.InTransaction++
	case s.State == "idle":
		c.Idle++
		c.LongestIdle = max(c.LongestIdle, s.InState)
	}
	if s.Waits {
		c.Waiting++
	}
	c.Oldest = max(c.Oldest, s.Started)
	c.LongestTransaction = max(c.LongestTransaction, s.InTransaction)
	if trust(s.Whose) < trust(c.Whose) {
		c.Whose = s.Whose
	}
}

func trust(w Whose) int {
	return slices.Index([]Whose{ByLocks, ByApplication, ByRole, Several, Unknown}, w)
}

// ByTenant counts the connections of each tenant, who has most first; those that are no
// single tenant's come last.
func (s Sessions) ByTenant() []TenantConnections {
	type key struct {
		tenant string
		whose  Whose
	}
	at := map[key]int{}
	var out []TenantConnections
	for _, one := range s.Sessions {
		if !one.IsClient() {
			continue
		}
		k := key{tenant: one.Tenant}
		if one.Tenant == "" {
			k.whose = one.Whose
		}
		i, found := at[k]
		if !found {
			i = len(out)
			at[k] = i
			out = append(out, TenantConnections{Tenant: one.Tenant, Whose: one.Whose})
		}
		out[i].add(one)
	}
	slices.SortFunc(out, func(a, b TenantConnections) int {
		return cmp.Or(cmp.Compare(nobody(a), nobody(b)), cmp.Compare(b.Connections, a.Connections),
			cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Whose, b.Whose))
	})
	return out
}

func nobody(c TenantConnections) int {
	if c.Tenant == "" {
		return 1
	}
	return 0
}

// Busy returns the clients that run a statement or have a transaction open, at least so
// long, the longest first.
func (s Sessions) Busy(least time.Duration) []Session {
	var out []Session
	for _, one := range s.Sessions {
		if one.IsClient() && (one.IsRunning() || one.IsInTransaction()) && one.For() >= least {
			out = append(out, one)
		}
	}
	slices.SortFunc(out, func(a, b Session) int {
		return cmp.Or(cmp.Compare(b.For(), a.For()), cmp.Compare(a.PID, b.PID))
	})
	return out
}

// For returns how long its statement has run, and for one without a statement how long
// its transaction has been open.
func (s Session) For() time.Duration {
	switch {
	case s.IsRunning():
		return s.InQuery
	case s.IsInTransaction():
		return s.InTransaction
	}
	return s.InState
}

// Of returns the sessions of the tenants that are chosen, without those that are no single
// tenant's.
func (s Sessions) Of(chosen func(slug string) bool) []Session {
	return slices.DeleteFunc(slices.Clone(s.Sessions), func(one Session) bool {
		return one.Tenant == "" || !chosen(one.Tenant)
	})
}
