package app

import (
	"testing"
	"time"

	"github.com/crmctl/crmctl/internal/registry"
)

// What is known is bounded in age and number, and a look-up that is older than a change that
// was heard of is not kept.
func TestKnownTenants(t *testing.T) {
	t.Parallel()
	now := time.Unix(1000, 0)
	k := newKnownTenants(2, time.Minute, func() time.Time { return now })
	keep := func(slug string) *crmTenant {
		era := k.now()
		one := &crmTenant{tenant: registry.Tenant{ID: "id of " + slug, Slug: slug}, at: now}
		k.put(one, era)
		return one
	}
	a, b := keep("a"), keep("b")
	if k.get("a") != a || k.get("b") != b || k.get("c") != nil {
		t.Error("not what was kept")
	}
	k.get("a")
	c := keep("c")
	if k.get("a") != a || k.get("b") != nil || k.get("c") != c {
		t.Error("the one that was not used for longest stays")
	}
	now = now.Add(time.Minute - 1)
	if k.get("a") != a {
		t.Error("too old already")
	}
	now = now.Add(1)
	if k.get("a") != nil {
		t.Error("too old still")
	}
	keep("a")
	now = now.Add(-time.Hour)
	if k.get("a") != nil {
		t.Error("the clock was set back")
	}
	keep("a")
	c = keep("c")
	k.changed("id of a")
	if k.get("a") != nil || k.get("c") != c {
		t.Error("one was changed")
	}
	k.changed("")
	if k.get("c") != nil {
		t.Error("anything may have changed")
	}
	older, era := &crmTenant{tenant: registry.Tenant{Slug: "a"}, at: now}, k.now()
	k.changed("id of b")
	k.put(older, era)
	if k.get("a") != nil {
		t.Error("looked up before a change")
	}
	a = keep("a")
	k.forget(older)
	if k.get("a") != a {
		t.Error("something newer was forgotten")
	}
	k.forget(a)
	if k.get("a") != nil {
		t.Error("not forgotten")
	}
}
