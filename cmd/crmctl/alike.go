package main

import (
	"errors"
	"fmt"
	"sync"

	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/db"
	"github.com/crmctl/crmctl/internal/registry"
)

// ownWords are the words that belong to one tenant in a text about it. Without a schema
// the usual one of its name is meant.
func ownWords(slug, schema string) []cli.OwnWord {
	const place = "<schema>"
	words := []cli.OwnWord{{Word: schema, Place: place}}
	if usual, err := db.SchemaForSlug(slug); err == nil && usual.String() != schema {
		words = append(words, cli.OwnWord{Word: usual.String(), Place: place})
	}
	return append(words, cli.OwnWord{Word: slug, Place: "<tenant>"})
}

// alikeTenants puts the rows of tenants together that differ in nothing else.
func alikeTenants[T any](of func(T) registry.Tenant) *cli.Alike[T] {
	return &cli.Alike[T]{Noun: "tenant", Own: func(row T) []cli.OwnWord {
		t := of(row)
		return ownWords(t.Slug, t.Schema.String())
	}}
}

// sameWide returns what was typed, to be pasted, so that it shows each row.
func (f *factory) sameWide() string {
	words := append([]string{}, f.args...)
	return f.withInput("crmctl " + cli.ShellWords(append(words, "-o", "wide")))
}

// toldAlike is how many tenants that fail for one reason are told in full while a run goes
// on. The next one says that the others are only counted.
const toldAlike = 3

// failureLog tells at once which tenant failed, and why. What many fail for is told of the
// first few: the others stand in the counts of the bar and of the lines, and at the end.
type failureLog struct {
	bar *cli.Progress

	mu   sync.Mutex
	told map[string]toldReason
}

type toldReason struct {
	first string // the tenant that it was told of first
	times int
}

func newFailureLog(bar *cli.Progress) *failureLog {
	return &failureLog{bar: bar, told: make(map[string]toldReason)}
}

// tell says that a tenant failed. tags follow the word: " sqlstate=42701".
func (l *failureLog) tell(slug, schema, tags, why string) {
	switch reason := l.count(slug, tags+cli.SetAside(why, ownWords(slug, schema))); {
	case reason.times <= toldAlike || l.bar.Console.Talks():
		l.bar.Failure("tenant=%s failed%s: %s", slug, tags, why)
	case reason.times == toldAlike+1:
		l.bar.Failure("tenant=%s failed%s: %s", slug, tags, reason.again())
	}
}

// count counts a tenant that failed for a reason.
func (l *failureLog) count(slug, key string) toldReason {
	l.mu.Lock()
	defer l.mu.Unlock()
	reason, known := l.told[key]
	if !known {
		reason.first = slug
	}
	reason.times++
	l.told[key] = reason
	return reason
}

// again is said in place of a reason that was told often enough.
func (r toldReason) again() string {
	return "as " + r.first + "; the next are only counted (-v)"
}

// say is tell for work that shows no line of its own for each tenant.
func (l *failureLog) say(f *factory, slug string, err error) {
	key := cli.SetAside(textOf(f.withTarget(err)), ownWords(slug, ""))
	switch reason := l.count(slug, key); {
	case reason.times <= toldAlike || f.Talks() || f.structured():
		f.sayTenant(slug, err)
	case reason.times == toldAlike+1:
		f.sayTenant(slug, errors.New(reason.again()))
	}
}

// tenantError is what went wrong with one tenant of several.
type tenantError struct {
	slug string
	err  error
}

// sayTenants says what failed for tenants of several. Where many failed for one reason it
// is said once; programs get a record for each.
func (f *factory) sayTenants(failed []tenantError) {
	if f.structured() {
		for _, t := range failed {
			f.sayTenant(t.slug, t.err)
		}
		return
	}
	left := len(failed)
	for i, g := range f.groupErrors(failed) {
		switch {
		case i == mostReasons:
			f.Say("crmctl: %s more failed, for other reasons (-o json tells each)", cli.Plural(left, "tenant"))
			return
		case cli.Many(len(g.slugs)):
			f.sayAlike(g)
		default:
			for k, slug := range g.slugs {
				f.sayTenant(slug, g.errs[k])
			}
		}
		left -= len(g.slugs)
	}
}

// mostReasons is how many reasons are told to people.
const mostReasons = 20

// errorGroup are tenants that failed for one reason.
type errorGroup struct {
	reason string
	slugs  []string
	errs   []error
}

// groupErrors puts those together that failed for one reason, in the order of the first.
func (f *factory) groupErrors(failed []tenantError) []*errorGroup {
	var groups []*errorGroup
	place := make(map[string]*errorGroup)
	for _, t := range failed {
		key := cli.SetAside(textOf(f.withTarget(t.err)), ownWords(t.slug, ""))
		g := place[key]
		if g == nil {
			g = &errorGroup{reason: key}
			place[key], groups = g, append(groups, g)
		}
		g.slugs, g.errs = append(g.slugs, t.slug), append(g.errs, t.err)
	}
	return groups
}

// sayAlike says once why many tenants failed.
func (f *factory) sayAlike(g *errorGroup) {
	f.Say("crmctl: %s: %s", cli.Plural(len(g.slugs), "tenant"), cli.Visible(g.reason))
	f.Say("%s", "  "+cli.Visible(fmt.Sprintf("%s (-o json tells each)", cli.FirstNames(g.slugs))))
}
