package doctor

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/crmctl/crmctl/internal/registry"
)

const (
	// A purge that takes longer was cut off, or waits for a lock for ever.
	purgePatience = time.Hour
	// A cron job that purges every night is not late before this.
	purgeGrace = 2 * 24 * time.Hour
)

func checkPurgeStuck(_ context.Context, x *examination) ([]Finding, error) {
	var out []Finding
	for _, t := range x.fleet.Tenants {
		if t.PurgeStartedAt != nil && x.o.now().Sub(*t.PurgeStartedAt) > purgePatience {
			out = append(out, Finding{Severity: Warning, Subject: t.Slug, Tenant: t.Slug,
				What:    "its purge began " + days(x.o.now().Sub(*t.PurgeStartedAt)) + " ago",
				Command: "crmctl tenant purge " + t.Slug})
		}
	}
	return out, nil
}

func checkPurgeOverdue(_ context.Context, x *examination) ([]Finding, error) {
	var out []Finding
	for _, t := range x.fleet.Tenants {
		if !t.deleted() || t.PurgeAfter == nil || t.PurgeStartedAt != nil || x.o.now().Sub(*t.PurgeAfter) < purgeGrace {
			continue
		}
		out = append(out, Finding{Severity: Warning, Subject: t.Slug, Tenant: t.Slug,
			What: "due for purge since " + days(x.o.now().Sub(*t.PurgeAfter)), Command: "crmctl tenant purge " + t.Slug})
	}
	return out, nil
}

// checkTransfers finds transfers that nobody is at, as far as can be seen from here: for as
// long as a purge may take.
func checkTransfers(ctx context.Context, x *examination) ([]Finding, error) {
	all, err := x.fleet.Registry.ListTransfers(ctx, x.conn, nil)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, t := range x.fleet.Tenants {
		move, known := all[t.ID]
		if !known || t.Status != registry.Leaving && t.Status != registry.Incoming ||
			x.o.now().Sub(move.StartedAt) < purgePatience {
			continue
		}
		f := Finding{Severity: Warning, Subject: t.Slug, Tenant: t.Slug,
			What: fmt.Sprintf("its transfer to database %s on %s:%d began %s ago", move.Database, move.Host, move.Port,
				days(x.o.now().Sub(move.StartedAt))),
			Command: "crmctl tenant transfer " + t.Slug + " --to-profile NAME, or with --abort"}
		if t.Status == registry.Incoming {
			f.What = strings.Replace(f.What, "transfer to", "transfer from", 1)
			f.Command = "there: " + f.Command
		}
		out = append(out, f)
	}
	return out, nil
}

// days returns "3 hours" or "12 days".
func days(d time.Duration) string {
	if d < 48*time.Hour {
		return plural(int(d/time.Hour), "hour")
	}
	return plural(int(d/(24*time.Hour)), "day")
}
