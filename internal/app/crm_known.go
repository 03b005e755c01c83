package app

import (
	"container/list"
	"sync"
	"time"

	"github.com/crmctl/crmctl/internal/crm"
	"github.com/crmctl/crmctl/internal/registry"
)

// crmTenant is a tenant that was looked up.
type crmTenant struct {
	tenant registry.Tenant
	opened *crm.Tenant // nil in a state in which nothing is read
	at     time.Time   // when that began
}

// knownTenants keeps what was looked up, for so long and of so many tenants. It may be used
// by several goroutines at once.
type knownTenants struct {
	size  int
	age   time.Duration
	clock func() time.Time

	mu     sync.Mutex
	bySlug map[string]*list.Element
	used   *list.List // of *crmTenant, the one that was used last in front
	era    uint64     // grows with each change that was heard of
}

func newKnownTenants(size int, age time.Duration, clock func() time.Time) *knownTenants {
	return &knownTenants{size: size, age: age, clock: clock, bySlug: map[string]*list.Element{}, used: list.New()}
}

// get returns what is known of a tenant, nil for nothing.
func (k *knownTenants) get(slug string) *crmTenant {
	k.mu.Lock()
	defer k.mu.Unlock()
	e := k.bySlug[slug]
	if e == nil {
		return nil
	}
	t := of(e)
	// A clock that was set back makes nothing younger.
	if age := k.clock().Sub(t.at); age < 0 || age >= k.age {
		k.remove(e)
		return nil
	}
	k.used.MoveToFront(e)
	return t
}

// now returns what put has to be given for something that is looked up from now on.
func (k *knownTenants) now() uint64 {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.era
}

// put keeps a tenant, unless a change was heard of since the look-up began: it may be the
// tenant's, and the look-up older.
func (k *knownTenants) put(t *crmTenant, era uint64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if era != k.era {
		return
	}
	if e := k.bySlug[t.tenant.Slug]; e != nil {
		k.remove(e)
	}
	k.bySlug[t.tenant.Slug] = k.used.PushFront(t)
	if k.used.Len() > k.size {
		k.remove(k.used.Back())
	}
}

// forget forgets what get or put had, and nothing newer.
func (k *knownTenants) forget(t *crmTenant) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if e := k.bySlug[t.tenant.Slug]; e != nil && of(e) == t {
		k.remove(e)
	}
}

// changed forgets the tenant of an id, all for "".
func (k *knownTenants) changed(id string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.era++
	for _, e := range k.bySlug {
		if id == "" || of(e).tenant.ID == id {
			k.remove(e)
		}
	}
}

func (k *knownTenants) remove(e *list.Element) {
	delete(k.bySlug, of(e).tenant.Slug)
	k.used.Remove(e)
}

func of(e *list.Element) *crmTenant {
	t, _ := e.Value.(*crmTenant)
	return t
}
