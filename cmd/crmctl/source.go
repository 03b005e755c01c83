package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"

	"github.com/crmctl/crmctl/internal/app"
	"github.com/crmctl/crmctl/internal/cli"
	"github.com/crmctl/crmctl/internal/config"
	"github.com/crmctl/crmctl/internal/registry"
	"github.com/crmctl/crmctl/internal/source"
)

// syncCommand takes in what the application has made.
const syncCommand = "crmctl tenant sync"

// takeIn is app.TakeIn.
func (f *factory) takeIn(ctx context.Context, conn *pgx.Conn, matters func(slug string) bool, dryRun bool) error {
	a, err := f.app()
	if err != nil {
		return err
	}
	return a.TakeIn(ctx, conn, matters, dryRun)
}

// noticeSource says what differs between the registry and what the application names.
func (f *factory) noticeSource(n app.Notice) {
	switch n := n.(type) {
	case app.TookIn:
		f.tookIn(n)
	case app.Differing:
		f.Note("crmctl: note: the application's tenants are not those of the registry: %s; take them in: %s",
			sourceCounts(n.Result.Tenants, false), syncCommand)
	case app.SourceUnread:
		f.Note("crmctl: warning: it is not known whether the application has other tenants: %s",
			cli.Visible(f.redact(textOf(n.Err))))
	case app.OddWords:
		f.Note("crmctl: note: not a known status, so taken for active: %s", cli.Visible(strings.Join(n.Words, ", ")))
	case app.LeftGone:
		f.Note("crmctl: note: left alone, since the application does not name %s any more: %s",
			map[bool]string{true: "it", false: "them"}[len(n.Slugs) == 1], someNames(n.Slugs))
	}
}

// tookIn says what was taken in before the work. A tenant that the work is about and that
// could not be taken in makes the exit code 3.
func (f *factory) tookIn(n app.TookIn) {
	var told []app.Synced
	var failed []tenantError
	for _, t := range n.Result.Tenants {
		if syncFailed(t) && n.Matters(t.To.Slug) {
			f.skippedRows++
			failed = append(failed, tenantError{t.To.Slug, fmt.Errorf("not taken in from the application: %w", t.Err)})
			continue
		}
		told = append(told, t)
	}
	f.sayTenants(failed)
	if len(told) > 0 {
		f.Note("crmctl: note: taken in from the application: %s", sourceCounts(told, true))
	}
}

// syncFailed reports whether a tenant is not as the application has it, and should be.
func syncFailed(t app.Synced) bool { return t.Err != nil }

// sourceCounts returns "2 new (acme, globex), 1 gone (initech)".
func sourceCounts(tenants []app.Synced, done bool) string {
	names := map[source.Kind][]string{}
	for _, t := range tenants {
		names[t.Kind] = append(names[t.Kind], syncName(t))
	}
	var parts []string
	for _, k := range []source.Kind{source.New, source.Back, source.Changed, source.Lost, source.Waiting, source.Refused} {
		if len(names[k]) == 0 {
			continue
		}
		word := string(k)
		if done && k == source.New {
			word = "adopted"
		}
		if k == source.Waiting {
			word = "without a schema yet"
		}
		parts = append(parts, fmt.Sprintf("%s %s (%s)", cli.HumanCount(int64(len(names[k]))), word, someNames(names[k])))
	}
	return strings.Join(parts, ", ")
}

// syncName is how a tenant is called: as the registry has it, or as the application does.
func syncName(t app.Synced) string {
	for _, name := range []string{t.From.Slug, t.To.Slug, t.To.Schema.String()} {
		if name != "" {
			return name
		}
	}
	return "?"
}

// someNames joins a few names, and says how many there are besides.
func someNames(names []string) string {
	const most = 5
	shown := slices.Clone(names[:min(len(names), most)])
	text := cli.Visible(strings.Join(shown, ", "))
	if more := len(names) - len(shown); more > 0 {
		text += fmt.Sprintf(" and %s more", cli.HumanCount(int64(more)))
	}
	return text
}

// keepNamed takes the tenants out of a purge that the application still names: somebody
// works with them.
func (f *factory) keepNamed(ctx context.Context, conn *pgx.Conn, due []registry.Tenant) ([]registry.Tenant, error) {
	a, err := f.app()
	if err != nil || len(due) == 0 {
		return due, err
	}
	named, err := a.StillNamed(ctx, conn)
	if err != nil {
		return nil, err
	}
	var left []tenantError
	due = slices.DeleteFunc(due, func(t registry.Tenant) bool {
		if named(t) {
			f.skippedRows++
			left = append(left, tenantError{t.Slug, errors.New("the application still names it: it is not purged")})
		}
		return named(t)
	})
	f.sayTenants(left)
	return due, nil
}

// explainUnknown says how a tenant comes to be known that the application has made.
func (f *factory) explainUnknown() []cli.Hint {
	cfg, err := f.config()
	if err != nil || cfg.TenantsQuery == "" {
		return nil
	}
	return []cli.Hint{{Label: "if the application has made it", Command: syncCommand}}
}

// explainSource says what leads on where the application names the tenants.
func (f *factory) explainSource(err error) []cli.Hint {
	_, sourced := errors.AsType[*app.SourcedError](err)
	loss, lost := errors.AsType[*source.LossError](err)
	if !sourced && !lost && !errors.Is(err, app.ErrNoSource) && !errors.Is(err, source.ErrQuery) {
		return nil
	}
	cfg, cfgErr := f.config()
	if cfgErr != nil {
		return nil
	}
	origin := cfg.Setting(config.KeyTenantsQuery).Origin
	switch {
	case sourced:
		return []cli.Hint{
			{Label: "do it in the application, then", Command: syncCommand},
			{Label: "for both to do it", Command: config.KeyTenantsWrites + ": true, beside tenants_query (" + origin + ")"},
		}
	case lost:
		return []cli.Hint{
			{Label: "look at them", Command: syncCommand + " --dry-run --max-gone 100%"},
			{Label: "if that is right", Command: fmt.Sprintf("%s --max-gone %d", syncCommand, loss.Gone)},
		}
	case errors.Is(err, app.ErrNoSource):
		return []cli.Hint{{Label: "write it", Command: "tenants_query in crmctl.yaml (crmctl help configuration)"}}
	case errors.Is(err, source.ErrQuery):
		return []cli.Hint{{Label: "it stands in", Command: origin}}
	}
	return nil
}
