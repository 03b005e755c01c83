package source

import (
	"fmt"

	"github.com/crmctl/crmctl/internal/registry"
)

// inOrder puts changes into an order in which each name is free when it is taken, and
// refuses those whose name stays another's. tenants are those of the registry.
func inOrder(changes []Change, tenants []registry.Tenant) []Change {
	o := ordering{holds: map[string]string{}, wants: map[string][]int{}, gives: map[string]bool{}}
	for _, t := range tenants {
		o.holds[t.Slug] = t.Schema.String()
	}
	for _, ch := range changes {
		if !ch.takesName() {
			o.out = append(o.out, ch)
			continue
		}
		o.changes = append(o.changes, ch)
		o.gives[ch.From.Slug] = true // or "", which nobody wants
	}
	o.done = make([]bool, len(o.changes))
	for i := range o.changes {
		o.take(i)
	}
	// Every name that is wanted now is held: by a tenant that keeps it, or in a circle.
	for i, ch := range o.changes {
		if !o.done[i] && !o.gives[ch.To.Slug] {
			o.refuse(i)
		}
	}
	for i, ch := range o.changes {
		if !o.done[i] && ch.From.Slug != "" {
			o.setAside(i)
		}
	}
	return o.out
}

// takesName reports whether the change gives a tenant a slug.
func (ch Change) takesName() bool {
	return ch.Kind == New || (ch.Kind == Changed || ch.Kind == Back) && ch.From.Slug != ch.To.Slug
}

// ordering is what is known while changes are put into an order.
type ordering struct {
	changes []Change // that take a slug
	done    []bool
	holds   map[string]string // slug -> schema
	wants   map[string][]int  // slug that is held -> changes that wait for it
	gives   map[string]bool   // slugs that changes which are not done give away
	out     []Change
}

// take makes a change if its slug is free, and those that waited for the slug which that
// gives away. Otherwise it waits.
func (o *ordering) take(i int) {
	for next := []int{i}; len(next) > 0; {
		i, next = next[0], next[1:]
		ch := o.changes[i]
		if _, held := o.holds[ch.To.Slug]; held {
			o.wants[ch.To.Slug] = append(o.wants[ch.To.Slug], i)
			continue
		}
		o.done[i] = true
		delete(o.gives, ch.From.Slug)
		o.holds[ch.To.Slug] = ch.To.Schema.String()
		o.out = append(o.out, ch)
		next = append(next, o.free(ch.From.Slug)...)
	}
}

// free gives a slug away, and returns what waited for it.
func (o *ordering) free(slug string) []int {
	waiting := o.wants[slug]
	delete(o.holds, slug)
	delete(o.wants, slug)
	return waiting
}

// refuse refuses a change whose slug stays another's, and those that wait for the slug
// which it would have given away.
func (o *ordering) refuse(i int) {
	for next := []int{i}; len(next) > 0; {
		i, next = next[0], next[1:]
		ch := o.changes[i]
		o.done[i] = true
		delete(o.gives, ch.From.Slug)
		o.out = append(o.out, Change{Kind: Refused, To: ch.To, From: ch.From,
			Err: fmt.Errorf("%w: slug %q is that of schema %s", ErrTaken, ch.To.Slug, o.holds[ch.To.Slug])})
		next = append(next, o.wants[ch.From.Slug]...)
	}
}

// setAside opens a circle: one of its tenants has its id for a slug meanwhile.
func (o *ordering) setAside(i int) {
	ch := &o.changes[i]
	aside := *ch
	aside.To = aside.From
	aside.To.Slug = aside.From.ID
	o.out = append(o.out, aside)
	given := ch.From.Slug
	ch.From.Slug = aside.To.Slug
	for _, waiting := range o.free(given) {
		o.take(waiting)
	}
}
